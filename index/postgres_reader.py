"""Reads ciphertext rows from PostgreSQL; each call is one statement, so each sees one committed state.

No call's cost grows with the collection, but for those that look for samples without a template: every look-up goes by
a key, every list is a page, counts are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from psycopg.abc import Params
from psycopg.rows import args_row

from index.postgres_connection import LONG_S, PATIENCE_S, PatientConnection, translated_errors
from index.postgres_sessions import Sessions
from lookalike.domain import Change, Op
from lookalike.ports import AuditRow, CollectionRow, JobRow, SampleRow, SubjectRow

T = TypeVar("T")

_COLLECTION = "SELECT id, lookup, wrapped_key, payload, created_at FROM collections"
_SUBJECT = "SELECT key, collection_id, lookup, wrapped_key, payload, created_at, updated_at FROM subjects"
_SAMPLE = "SELECT id, number, collection_id, subject_key, payload, created_at, space FROM samples"
_LACKING = (
    "FROM samples s WHERE s.collection_id = %(collection)s AND s.number > %(after)s AND s.space <> ALL (%(spaces)s)"
    " AND NOT EXISTS (SELECT 1 FROM templates t WHERE t.sample_number = s.number AND t.space = ANY (%(spaces)s))"
)
_LACKING_PAGE = (
    "SELECT s.id, s.number, s.collection_id, s.subject_key, s.payload, s.created_at, s.space "
    f"{_LACKING} ORDER BY s.collection_id, s.number LIMIT %(limit)s"
)
_JOB = "SELECT id, collection_id, state, created_at, updated_at, leased_until, payload FROM jobs"
_AUDIT = "SELECT seq, at, chain, payload FROM audit"
_LAST_CHARACTER = "\U0010ffff"


class Ask(Protocol):
    """Runs one statement and makes an object of each row's columns. patience_s: how long to wait for the answer."""

    def __call__(self, make: Callable[..., T], sql: str, values: Params, patience_s: float = PATIENCE_S) -> list[T]: ...


def ask(connection: PatientConnection, make: Callable[..., T], sql: str, values: Params, patience_s: float) -> list[T]:
    """The rows of one statement. Raises: psycopg.Error."""
    with connection.patient_for(patience_s), connection.cursor(binary=True, row_factory=args_row(make)) as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description is not None else []


def asking(sessions: Sessions) -> Ask:
    """Asks on whatever connection is free; each statement sees the newest committed state."""

    def run(make: Callable[..., T], sql: str, values: Params, patience_s: float = PATIENCE_S) -> list[T]:
        return sessions.read(lambda connection: ask(connection, make, sql, values, patience_s))

    return run


def asking_on(connection: PatientConnection) -> Ask:
    """Asks on this one connection, within the transaction that is open on it."""

    def run(make: Callable[..., T], sql: str, values: Params, patience_s: float = PATIENCE_S) -> list[T]:
        with translated_errors():
            return ask(connection, make, sql, values, patience_s)

    return run


class PostgresReader:
    """The port RowReader over what `ask` is answered. Thread-safe if `ask` is."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def _all(self, make: Callable[..., T], sql: str, *values: object) -> list[T]:
        return self._ask(make, sql, values)

    def _one(self, make: Callable[..., T], sql: str, *values: object) -> T | None:
        rows = self._ask(make, sql, values)
        return rows[0] if rows else None

    def get_setting(self, name: str) -> bytes | None:
        return self._one(_value, "SELECT value FROM settings WHERE name = %s", name)

    def settings(self, prefix: str) -> dict[str, bytes]:
        rows = self._all(
            _pair,
            "SELECT name, value FROM settings WHERE name >= %s AND name < %s ORDER BY name",
            prefix,
            prefix + _LAST_CHARACTER,
        )
        return dict(rows)

    def count_settings(self, prefix: str) -> int:
        names = (prefix, prefix + _LAST_CHARACTER)
        return self._one(int, "SELECT count(*) FROM settings WHERE name >= %s AND name < %s", *names) or 0

    # -------------------------------------------------------------------------------------------- changes

    def last_seq(self) -> int:
        return self._one(int, "SELECT coalesce(max(seq), 0) FROM changes") or 0

    def changes(self, after: int, limit: int) -> list[Change]:
        return self._all(
            _change,
            "SELECT seq, op, collection_id, subject_key, number FROM changes WHERE seq > %s ORDER BY seq LIMIT %s",
            after,
            limit,
        )

    # ---------------------------------------------------------------------------------------- collections

    def collections(self) -> list[CollectionRow]:
        return self._all(CollectionRow, f"{_COLLECTION} ORDER BY created_at, id")

    def collection_by_lookup(self, lookup: bytes) -> CollectionRow | None:
        return self._one(CollectionRow, f"{_COLLECTION} WHERE lookup = %s", lookup)

    def count(self, collection_id: str) -> tuple[int, int]:
        return self._one(_pair, "SELECT subjects, samples FROM counts WHERE collection_id = %s", collection_id) or (
            0,
            0,
        )

    def count_wrapped(self, collection_id: str, start: int, size: int) -> dict[bytes, int]:
        sql = (
            "SELECT substr(wrapped_key, %s::integer, %s::integer) AS part, count(*) FROM subjects"
            " WHERE collection_id = %s GROUP BY part"
        )
        return dict(self._ask(_pair, sql, (start + 1, size, collection_id), LONG_S))

    def calibration(self, collection_id: str, space: str) -> bytes | None:
        sql = "SELECT payload FROM calibrations WHERE collection_id = %s AND space = %s"
        return self._one(_value, sql, collection_id, space)

    def calibrations(self, collection_id: str) -> dict[str, bytes]:
        sql = "SELECT space, payload FROM calibrations WHERE collection_id = %s ORDER BY space"
        return dict(self._all(_pair, sql, collection_id))

    # ------------------------------------------------------------------------------------------- subjects

    def subject_by_lookup(self, collection_id: str, lookup: bytes) -> SubjectRow | None:
        return self._one(SubjectRow, f"{_SUBJECT} WHERE collection_id = %s AND lookup = %s", collection_id, lookup)

    def subjects(self, keys: Sequence[str]) -> list[SubjectRow]:
        return self._all(SubjectRow, f"{_SUBJECT} WHERE key = ANY (%s::text[])", list(keys))

    def subjects_page(self, collection_id: str, after_key: str, limit: int) -> list[SubjectRow]:
        return self._all(
            SubjectRow,
            f"{_SUBJECT} WHERE collection_id = %s AND key > %s ORDER BY collection_id, key LIMIT %s",
            collection_id,
            after_key,
            limit,
        )

    # -------------------------------------------------------------------------------------------- samples

    def samples_of(self, subject_key: str) -> list[SampleRow]:
        return self._all(SampleRow, f"{_SAMPLE} WHERE subject_key = %s ORDER BY subject_key, number", subject_key)

    def samples_page(self, collection_id: str, after_number: int, limit: int) -> list[SampleRow]:
        return self._all(
            SampleRow,
            f"{_SAMPLE} WHERE collection_id = %s AND number > %s ORDER BY collection_id, number LIMIT %s",
            collection_id,
            after_number,
            limit,
        )

    def samples_numbered(self, numbers: Sequence[int]) -> list[SampleRow]:
        return self._all(
            SampleRow, f"{_SAMPLE} WHERE number = ANY (%s::bigint[]) ORDER BY number", [int(n) for n in numbers]
        )

    def templates(self, numbers: Sequence[int], space: str) -> dict[int, bytes]:
        rows = self._all(
            _pair,
            "SELECT sample_number, payload FROM templates WHERE sample_number = ANY (%s::bigint[]) AND space = %s",
            [int(n) for n in numbers],
            space,
        )
        return dict(rows)

    def samples_lacking(
        self, collection_id: str, spaces: Sequence[str], after_number: int, limit: int
    ) -> list[SampleRow]:
        values = {"collection": collection_id, "spaces": list(spaces), "after": after_number, "limit": limit}
        return self._ask(SampleRow, _LACKING_PAGE, values, LONG_S)

    def count_lacking(self, collection_id: str, spaces: Sequence[str]) -> int:
        values = {"collection": collection_id, "spaces": list(spaces), "after": 0}
        return self._ask(int, f"SELECT count(*) {_LACKING}", values, LONG_S)[0]

    def sample_by_id(self, id: str) -> SampleRow | None:
        return self._one(SampleRow, f"{_SAMPLE} WHERE id = %s", id)

    def last_number(self) -> int:
        return self._one(int, "SELECT number FROM turn") or 0

    def blobs_of(self, numbers: Sequence[int]) -> list[tuple[int, str, bytes]]:
        sql = "SELECT sample_number, kind, payload FROM blobs WHERE sample_number = ANY (%s::bigint[])"
        return self._all(_triple, sql, [int(n) for n in numbers])

    def templates_of(self, numbers: Sequence[int]) -> list[tuple[int, str, bytes]]:
        sql = "SELECT sample_number, space, payload FROM templates WHERE sample_number = ANY (%s::bigint[])"
        return self._all(_triple, sql, [int(n) for n in numbers])

    def blob(self, sample_id: str, kind: str) -> bytes | None:
        return self._one(
            _value,
            "SELECT b.payload FROM samples s JOIN blobs b ON b.sample_number = s.number"
            " WHERE s.id = %s AND b.kind = %s",
            sample_id,
            kind,
        )

    # ------------------------------------------------------------------- keys, audit, remembered answers

    def api_keys(self) -> list[tuple[str, bytes, bytes]]:
        return self._all(_triple, "SELECT id, lookup, payload FROM api_keys ORDER BY id")

    def api_key_by_lookup(self, lookup: bytes) -> tuple[str, bytes, bytes] | None:
        return self._one(_triple, "SELECT id, lookup, payload FROM api_keys WHERE lookup = %s", lookup)

    def audit_page(self, after_seq: int, limit: int) -> list[AuditRow]:
        return self._all(AuditRow, f"{_AUDIT} WHERE seq > %s ORDER BY seq LIMIT %s", after_seq, limit)

    def audit_tail(self) -> AuditRow | None:
        return self._one(AuditRow, f"{_AUDIT} ORDER BY seq DESC LIMIT 1")

    def idempotent(self, lookup: bytes) -> tuple[bytes, bytes] | None:
        return self._one(_pair, "SELECT digest, answer FROM idempotent WHERE lookup = %s", lookup)

    # ---------------------------------------------------------------------------------------------- jobs

    def jobs(self, limit: int) -> list[JobRow]:
        return self._all(JobRow, f"{_JOB} ORDER BY created_at DESC, id DESC LIMIT %s", limit)

    def job(self, id: str) -> JobRow | None:
        return self._one(JobRow, f"{_JOB} WHERE id = %s", id)


A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


def _value(value: T) -> T:
    return value


def _pair(first: A, second: B) -> tuple[A, B]:
    return first, second


def _triple(first: A, second: B, third: C) -> tuple[A, B, C]:
    return first, second, third


def _change(seq: int, op: str, collection_id: str, subject_key: str | None, number: int | None) -> Change:
    return Change(seq, Op(op), collection_id, subject_key, number)
