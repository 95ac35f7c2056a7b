"""The tables of the data folder's database, format 2: random ids, HMACs, sealed bytes, sizes and times, no plaintext.

Invariants: a sample's number and a change's sequence are AUTOINCREMENT keys, so they are never given twice, not even
after a delete; `collections.subjects` and `.samples` are counters kept in the same transaction as the rows they
count; the audit table takes new entries at its end and refuses everything else.
"""

from __future__ import annotations

FORMAT = 2
"""The version of the data folder's format that this release writes; also `PRAGMA user_version`."""

_CALIBRATIONS = """
CREATE TABLE calibrations (
    collection_id TEXT NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    space         TEXT NOT NULL,
    payload       BLOB NOT NULL,
    PRIMARY KEY (collection_id, space)
) STRICT, WITHOUT ROWID;
"""

_SINCE_2 = """
CREATE TABLE templates (
    sample_number INTEGER NOT NULL REFERENCES samples (number) ON DELETE CASCADE,
    space         TEXT NOT NULL,
    payload       BLOB NOT NULL,
    PRIMARY KEY (sample_number, space)
) STRICT;

CREATE TABLE jobs (
    id            TEXT PRIMARY KEY,
    collection_id TEXT REFERENCES collections (id) ON DELETE CASCADE,
    state         TEXT NOT NULL,
    created_at    REAL NOT NULL,
    updated_at    REAL NOT NULL,
    leased_until  REAL NOT NULL,
    payload       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_by_age ON jobs (created_at, id);
"""

CREATE = (
    """
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE collections (
    id          TEXT PRIMARY KEY,
    lookup      BLOB NOT NULL UNIQUE,
    wrapped_key BLOB NOT NULL,
    payload     BLOB NOT NULL,
    created_at  REAL NOT NULL,
    subjects    INTEGER NOT NULL DEFAULT 0 CHECK (subjects >= 0),
    samples     INTEGER NOT NULL DEFAULT 0 CHECK (samples >= 0)
) STRICT;

CREATE TABLE subjects (
    key           TEXT PRIMARY KEY,
    collection_id TEXT NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    lookup        BLOB NOT NULL,
    wrapped_key   BLOB NOT NULL,
    payload       BLOB NOT NULL,
    created_at    REAL NOT NULL,
    updated_at    REAL NOT NULL,
    UNIQUE (collection_id, lookup)
) STRICT;
CREATE INDEX subjects_in_order ON subjects (collection_id, key);

CREATE TABLE samples (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    collection_id TEXT NOT NULL,
    subject_key   TEXT NOT NULL REFERENCES subjects (key) ON DELETE CASCADE,
    payload       BLOB NOT NULL,
    created_at    REAL NOT NULL,
    space         TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX samples_of_subject ON samples (subject_key);
CREATE INDEX samples_in_order ON samples (collection_id);

CREATE TABLE blobs (
    sample_number INTEGER NOT NULL REFERENCES samples (number) ON DELETE CASCADE,
    kind          TEXT NOT NULL,
    payload       BLOB NOT NULL,
    PRIMARY KEY (sample_number, kind)
) STRICT;

CREATE TABLE changes (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    op            TEXT NOT NULL CHECK (op IN ('put', 'delete')),
    collection_id TEXT NOT NULL,
    subject_key   TEXT,
    number        INTEGER
) STRICT;
"""
    + _CALIBRATIONS
    + _SINCE_2
    + """
CREATE TABLE api_keys (
    id      TEXT PRIMARY KEY,
    lookup  BLOB NOT NULL UNIQUE,
    payload BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotent (
    lookup BLOB PRIMARY KEY,
    digest BLOB NOT NULL,
    answer BLOB NOT NULL,
    at     REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotent_by_age ON idempotent (at);

CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY,
    at      REAL NOT NULL,
    chain   BLOB NOT NULL CHECK (length(chain) = 32),
    payload BLOB NOT NULL
) STRICT;
CREATE TRIGGER audit_only_grows BEFORE INSERT ON audit
    WHEN NEW.seq <= (SELECT coalesce(max(seq), NEW.seq - 1) FROM audit)
    BEGIN SELECT raise(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit
    BEGIN SELECT raise(ABORT, 'the audit log only grows'); END;
CREATE TRIGGER audit_never_shrinks BEFORE DELETE ON audit
    BEGIN SELECT raise(ABORT, 'the audit log only grows'); END;
"""
)

FROM_1_TO_2 = (
    """
ALTER TABLE samples ADD COLUMN space TEXT NOT NULL DEFAULT '';
ALTER TABLE calibrations RENAME TO calibrations_1;
"""
    + _CALIBRATIONS
    + """
INSERT INTO calibrations (collection_id, space, payload) SELECT collection_id, '', payload FROM calibrations_1;
DROP TABLE calibrations_1;
"""
    + _SINCE_2
)
"""Samples name the space of their vectors, templates in other spaces stand beside them; jobs."""
