"""The tables of a PostgreSQL database, format 1: random ids, HMACs, sealed bytes, sizes and times, no plaintext.

Invariants: `turn` has one row; who locks it is the only writer, so that the numbers in it are given in the order of
commits and never twice; `counts` is kept in the same transaction as the rows it counts; the audit table takes new
entries at its end and refuses everything else. Text is compared by its bytes. Sealed bytes do not compress, so
PostgreSQL is told not to try.
"""

from __future__ import annotations

FORMAT = 1
"""The version of the tables that this release writes; `turn.format` in the database."""

SCHEMA = "lookalike"
"""The schema that holds them, so that they may share a database with others."""

CREATE = """
CREATE TABLE turn (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    format integer NOT NULL,
    seq    bigint NOT NULL,
    number bigint NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE settings (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE collections (
    id          text COLLATE "C" PRIMARY KEY,
    lookup      bytea NOT NULL UNIQUE,
    wrapped_key bytea NOT NULL,
    payload     bytea NOT NULL,
    created_at  double precision NOT NULL
);

CREATE TABLE counts (
    collection_id text COLLATE "C" PRIMARY KEY REFERENCES collections (id) ON DELETE CASCADE,
    subjects      bigint NOT NULL CHECK (subjects >= 0),
    samples       bigint NOT NULL CHECK (samples >= 0)
) WITH (fillfactor = 50);

CREATE TABLE subjects (
    key           text COLLATE "C" PRIMARY KEY,
    collection_id text COLLATE "C" NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    lookup        bytea NOT NULL,
    wrapped_key   bytea NOT NULL,
    payload       bytea NOT NULL,
    created_at    double precision NOT NULL,
    updated_at    double precision NOT NULL,
    UNIQUE (collection_id, lookup)
);
CREATE INDEX subjects_in_order ON subjects (collection_id, key);

CREATE TABLE samples (
    number        bigint PRIMARY KEY,
    id            text COLLATE "C" NOT NULL UNIQUE,
    collection_id text COLLATE "C" NOT NULL,
    subject_key   text COLLATE "C" NOT NULL REFERENCES subjects (key) ON DELETE CASCADE,
    payload       bytea NOT NULL,
    created_at    double precision NOT NULL,
    space         text COLLATE "C" NOT NULL
);
CREATE INDEX samples_of_subject ON samples (subject_key, number);
CREATE INDEX samples_in_order ON samples (collection_id, number);

CREATE TABLE blobs (
    sample_number bigint NOT NULL REFERENCES samples (number) ON DELETE CASCADE,
    kind          text COLLATE "C" NOT NULL,
    payload       bytea NOT NULL,
    PRIMARY KEY (sample_number, kind)
);

CREATE TABLE templates (
    sample_number bigint NOT NULL REFERENCES samples (number) ON DELETE CASCADE,
    space         text COLLATE "C" NOT NULL,
    payload       bytea NOT NULL,
    PRIMARY KEY (sample_number, space)
);

ALTER TABLE collections ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE subjects ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE samples ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE blobs ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE templates ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE TABLE calibrations (
    collection_id text COLLATE "C" NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
    space         text COLLATE "C" NOT NULL,
    payload       bytea NOT NULL,
    PRIMARY KEY (collection_id, space)
);

CREATE TABLE changes (
    seq           bigint PRIMARY KEY,
    op            text NOT NULL CHECK (op IN ('put', 'delete')),
    collection_id text COLLATE "C" NOT NULL,
    subject_key   text COLLATE "C",
    number        bigint
);

CREATE TABLE jobs (
    id            text COLLATE "C" PRIMARY KEY,
    collection_id text COLLATE "C" REFERENCES collections (id) ON DELETE CASCADE,
    state         text NOT NULL,
    created_at    double precision NOT NULL,
    updated_at    double precision NOT NULL,
    leased_until  double precision NOT NULL,
    payload       bytea NOT NULL
);
CREATE INDEX jobs_by_age ON jobs (created_at, id);
CREATE INDEX jobs_of_collection ON jobs (collection_id);

CREATE TABLE api_keys (
    id      text COLLATE "C" PRIMARY KEY,
    lookup  bytea NOT NULL UNIQUE,
    payload bytea NOT NULL
);

CREATE TABLE idempotent (
    lookup bytea PRIMARY KEY,
    digest bytea NOT NULL,
    answer bytea NOT NULL,
    at     double precision NOT NULL
);
CREATE INDEX idempotent_by_age ON idempotent (at);

CREATE TABLE audit (
    seq     bigint PRIMARY KEY,
    at      double precision NOT NULL,
    chain   bytea NOT NULL CHECK (length(chain) = 32),
    payload bytea NOT NULL
);
CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.seq > (SELECT coalesce(max(seq), NEW.seq - 1) FROM audit) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the audit log only grows' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_only_grows BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
CREATE TRIGGER audit_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows();
"""

ERASED_FROM = ("subjects", "samples", "blobs", "templates", "collections", "settings", "jobs")
"""The tables that an erasure may leave dead rows in."""
