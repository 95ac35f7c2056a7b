"""Reads ciphertext rows from SQLite; each call is one statement, so each sees one committed state.

No call's cost grows with the collection: every look-up goes by a key, every list is a page, counts are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import cast

import apsw

from index.sqlite_connection import translated_errors
from lookalike.domain import Change, Op
from lookalike.ports import AuditRow, CollectionRow, JobRow, SampleRow, SubjectRow

Value = str | bytes | int | float | None

_COLLECTION = "SELECT id, lookup, wrapped_key, payload, created_at FROM collections"
_SUBJECT = "SELECT key, collection_id, lookup, wrapped_key, payload, created_at, updated_at FROM subjects"
_SAMPLE = "SELECT id, number, collection_id, subject_key, payload, created_at, space FROM samples"
_SUBJECTS_OF_KEYS = f"{_SUBJECT} WHERE key IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants only
_SAMPLES_NUMBERED = f"{_SAMPLE} WHERE number IN (SELECT value FROM json_each(?)) ORDER BY number"  # noqa: S608 - same
_LACKING = (
    "FROM samples s WHERE s.collection_id = ?1 AND s.number > ?2 AND s.space NOT IN (SELECT value FROM json_each(?3))"
    " AND NOT EXISTS (SELECT 1 FROM templates t WHERE t.sample_number = s.number"
    " AND t.space IN (SELECT value FROM json_each(?3)))"
)
_LACKING_PAGE = (
    "SELECT s.id, s.number, s.collection_id, s.subject_key, s.payload, s.created_at, s.space "
    f"{_LACKING} ORDER BY s.number LIMIT ?4"
)
_TEMPLATES = (
    "SELECT sample_number, payload FROM templates WHERE sample_number IN (SELECT value FROM json_each(?)) AND space = ?"
)
_BLOBS = "SELECT sample_number, kind, payload FROM blobs WHERE sample_number IN (SELECT value FROM json_each(?))"
_ALL_TEMPLATES = (
    "SELECT sample_number, space, payload FROM templates WHERE sample_number IN (SELECT value FROM json_each(?))"
)
_JOB = "SELECT id, collection_id, state, created_at, updated_at, leased_until, payload FROM jobs"
_AUDIT = "SELECT seq, at, chain, payload FROM audit"


class SqliteReader:
    """The port RowReader over whatever connection `connect` gives to the calling thread."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect

    def _all(self, sql: str, *values: Value) -> list[tuple[Value, ...]]:
        connection = self._connect()
        with translated_errors(connection):
            return cast("list[tuple[Value, ...]]", connection.execute(sql, values).fetchall())

    def _one(self, sql: str, *values: Value) -> tuple[Value, ...] | None:
        rows = self._all(sql, *values)
        return rows[0] if rows else None

    def get_setting(self, name: str) -> bytes | None:
        row = self._one("SELECT value FROM settings WHERE name = ?", name)
        return None if row is None else cast(bytes, row[0])

    def settings(self, prefix: str) -> dict[str, bytes]:
        # Names are ordered by their bytes, and U+10FFFF has the greatest of all characters.
        rows = self._all(
            "SELECT name, value FROM settings WHERE name >= ?1 AND name < ?1 || char(1114111) ORDER BY name", prefix
        )
        return dict(cast("list[tuple[str, bytes]]", rows))

    def count_settings(self, prefix: str) -> int:
        row = self._one("SELECT count(*) FROM settings WHERE name >= ?1 AND name < ?1 || char(1114111)", prefix)
        return cast(int, row[0]) if row else 0

    # -------------------------------------------------------------------------------------------- changes

    def last_seq(self) -> int:
        row = self._one("SELECT coalesce(max(seq), 0) FROM changes")
        return cast(int, row[0]) if row else 0

    def changes(self, after: int, limit: int) -> list[Change]:
        rows = self._all(
            "SELECT seq, op, collection_id, subject_key, number FROM changes WHERE seq > ? ORDER BY seq LIMIT ?",
            after,
            limit,
        )
        return [
            Change(cast(int, seq), Op(cast(str, op)), cast(str, collection), cast(str | None, key), cast(int | None, n))
            for seq, op, collection, key, n in rows
        ]

    # ---------------------------------------------------------------------------------------- collections

    def collections(self) -> list[CollectionRow]:
        return [_collection(row) for row in self._all(f"{_COLLECTION} ORDER BY created_at, id")]

    def collection_by_lookup(self, lookup: bytes) -> CollectionRow | None:
        row = self._one(f"{_COLLECTION} WHERE lookup = ?", lookup)
        return None if row is None else _collection(row)

    def count(self, collection_id: str) -> tuple[int, int]:
        row = self._one("SELECT subjects, samples FROM collections WHERE id = ?", collection_id)
        return (0, 0) if row is None else (cast(int, row[0]), cast(int, row[1]))

    def count_wrapped(self, collection_id: str, start: int, size: int) -> dict[bytes, int]:
        rows = self._all(
            "SELECT substr(wrapped_key, ?, ?) AS part, count(*) FROM subjects INDEXED BY subjects_in_order"
            " WHERE collection_id = ? GROUP BY part",
            start + 1,
            size,
            collection_id,
        )
        return dict(cast("list[tuple[bytes, int]]", rows))

    def calibration(self, collection_id: str, space: str) -> bytes | None:
        row = self._one("SELECT payload FROM calibrations WHERE collection_id = ? AND space = ?", collection_id, space)
        return None if row is None else cast(bytes, row[0])

    def calibrations(self, collection_id: str) -> dict[str, bytes]:
        rows = self._all(
            "SELECT space, payload FROM calibrations WHERE collection_id = ? ORDER BY space", collection_id
        )
        return dict(cast("list[tuple[str, bytes]]", rows))

    # ------------------------------------------------------------------------------------------- subjects

    def subject_by_lookup(self, collection_id: str, lookup: bytes) -> SubjectRow | None:
        row = self._one(f"{_SUBJECT} WHERE collection_id = ? AND lookup = ?", collection_id, lookup)
        return None if row is None else _subject(row)

    def subjects(self, keys: Sequence[str]) -> list[SubjectRow]:
        rows = self._all(_SUBJECTS_OF_KEYS, json.dumps(list(keys)))
        return [_subject(row) for row in rows]

    def subjects_page(self, collection_id: str, after_key: str, limit: int) -> list[SubjectRow]:
        rows = self._all(
            f"{_SUBJECT} INDEXED BY subjects_in_order WHERE collection_id = ? AND key > ? ORDER BY key LIMIT ?",
            collection_id,
            after_key,
            limit,
        )
        return [_subject(row) for row in rows]

    # -------------------------------------------------------------------------------------------- samples

    def samples_of(self, subject_key: str) -> list[SampleRow]:
        return [_sample(row) for row in self._all(f"{_SAMPLE} WHERE subject_key = ? ORDER BY number", subject_key)]

    def samples_page(self, collection_id: str, after_number: int, limit: int) -> list[SampleRow]:
        rows = self._all(
            f"{_SAMPLE} INDEXED BY samples_in_order WHERE collection_id = ? AND number > ? ORDER BY number LIMIT ?",
            collection_id,
            after_number,
            limit,
        )
        return [_sample(row) for row in rows]

    def samples_numbered(self, numbers: Sequence[int]) -> list[SampleRow]:
        rows = self._all(_SAMPLES_NUMBERED, json.dumps([int(number) for number in numbers]))
        return [_sample(row) for row in rows]

    def templates(self, numbers: Sequence[int], space: str) -> dict[int, bytes]:
        rows = self._all(_TEMPLATES, json.dumps([int(number) for number in numbers]), space)
        return dict(cast("list[tuple[int, bytes]]", rows))

    def samples_lacking(
        self, collection_id: str, spaces: Sequence[str], after_number: int, limit: int
    ) -> list[SampleRow]:
        rows = self._all(_LACKING_PAGE, collection_id, after_number, json.dumps(list(spaces)), limit)
        return [_sample(row) for row in rows]

    def count_lacking(self, collection_id: str, spaces: Sequence[str]) -> int:
        row = self._one(f"SELECT count(*) {_LACKING}", collection_id, 0, json.dumps(list(spaces)))
        return cast(int, row[0]) if row else 0

    def sample_by_id(self, id: str) -> SampleRow | None:
        row = self._one(f"{_SAMPLE} WHERE id = ?", id)
        return None if row is None else _sample(row)

    def blob(self, sample_id: str, kind: str) -> bytes | None:
        row = self._one(
            "SELECT b.payload FROM blobs b JOIN samples s ON s.number = b.sample_number WHERE s.id = ? AND b.kind = ?",
            sample_id,
            kind,
        )
        return None if row is None else cast(bytes, row[0])

    def last_number(self) -> int:
        row = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'samples'")
        return cast(int, row[0]) if row else 0

    def blobs_of(self, numbers: Sequence[int]) -> list[tuple[int, str, bytes]]:
        rows = self._all(_BLOBS, json.dumps([int(number) for number in numbers]))
        return cast("list[tuple[int, str, bytes]]", rows)

    def templates_of(self, numbers: Sequence[int]) -> list[tuple[int, str, bytes]]:
        rows = self._all(_ALL_TEMPLATES, json.dumps([int(number) for number in numbers]))
        return cast("list[tuple[int, str, bytes]]", rows)

    # ------------------------------------------------------------------- keys, audit, remembered answers

    def api_keys(self) -> list[tuple[str, bytes, bytes]]:
        rows = self._all("SELECT id, lookup, payload FROM api_keys ORDER BY id")
        return [cast("tuple[str, bytes, bytes]", row) for row in rows]

    def api_key_by_lookup(self, lookup: bytes) -> tuple[str, bytes, bytes] | None:
        row = self._one("SELECT id, lookup, payload FROM api_keys WHERE lookup = ?", lookup)
        return cast("tuple[str, bytes, bytes] | None", row)

    def audit_page(self, after_seq: int, limit: int) -> list[AuditRow]:
        return [_audit(row) for row in self._all(f"{_AUDIT} WHERE seq > ? ORDER BY seq LIMIT ?", after_seq, limit)]

    def audit_tail(self) -> AuditRow | None:
        row = self._one(f"{_AUDIT} ORDER BY seq DESC LIMIT 1")
        return None if row is None else _audit(row)

    def idempotent(self, lookup: bytes) -> tuple[bytes, bytes] | None:
        row = self._one("SELECT digest, answer FROM idempotent WHERE lookup = ?", lookup)
        return cast("tuple[bytes, bytes] | None", row)

    # ---------------------------------------------------------------------------------------------- jobs

    def jobs(self, limit: int) -> list[JobRow]:
        return [_job(row) for row in self._all(f"{_JOB} ORDER BY created_at DESC, id DESC LIMIT ?", limit)]

    def job(self, id: str) -> JobRow | None:
        row = self._one(f"{_JOB} WHERE id = ?", id)
        return None if row is None else _job(row)


def _collection(row: tuple[Value, ...]) -> CollectionRow:
    return CollectionRow(*cast("tuple[str, bytes, bytes, bytes, float]", row))


def _subject(row: tuple[Value, ...]) -> SubjectRow:
    return SubjectRow(*cast("tuple[str, str, bytes, bytes, bytes, float, float]", row))


def _sample(row: tuple[Value, ...]) -> SampleRow:
    return SampleRow(*cast("tuple[str, int, str, str, bytes, float, str]", row))


def _job(row: tuple[Value, ...]) -> JobRow:
    return JobRow(*cast("tuple[str, str | None, str, float, float, float, bytes]", row))


def _audit(row: tuple[Value, ...]) -> AuditRow:
    return AuditRow(*cast("tuple[int, float, bytes, bytes]", row))
