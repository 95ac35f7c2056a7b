"""Writes ciphertext rows to PostgreSQL within the transaction that the commit queue has opened.

A call is one statement or none. What is added to the change sequence, to the counts of collections and to the audit log
is gathered, and written once for the whole transaction: the process that has the turn is the only writer, so it gives
numbers from memory, and they grow in the order of commits without a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from index.postgres_connection import LONG_S
from index.postgres_reader import Ask, PostgresReader
from lookalike.domain import Change, Op
from lookalike.errors import Conflict
from lookalike.jobs import latest_lease
from lookalike.ports import AuditRow, CollectionRow, JobRow, SubjectRow, collection_setting

Statement = tuple[str, list[object]]

_LOG = (
    "INSERT INTO changes (seq, op, collection_id, subject_key, number)"
    " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[])"
)
_COUNT = (
    "UPDATE counts c SET subjects = c.subjects + t.subjects, samples = c.samples + t.samples"
    " FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS t (id, subjects, samples) WHERE c.collection_id = t.id"
)
_TURN = "UPDATE turn SET seq = %s, number = %s"
_AUDIT = (
    "INSERT INTO audit (seq, at, chain, payload)"
    " SELECT * FROM unnest(%s::bigint[], %s::double precision[], %s::bytea[], %s::bytea[])"
)


@dataclass(slots=True)
class Gathered:
    """What an open transaction has yet to write, and what it knows already. seq, number: the last ones given.

    tallies: by collection, what to add to its numbers of subjects and samples; tail: the audit log's end; collections:
    rows by their lookup, which nobody else can change meanwhile.
    """

    seq: int = 0
    number: int = 0
    tail: AuditRow | None = None
    changes: list[Change] = field(default_factory=list)
    tallies: dict[str, tuple[int, int]] = field(default_factory=dict)
    audit: list[AuditRow] = field(default_factory=list)
    collections: dict[bytes, CollectionRow | None] = field(default_factory=dict)

    def copy(self) -> Gathered:
        return replace(
            self,
            changes=list(self.changes),
            tallies=dict(self.tallies),
            audit=list(self.audit),
            collections=dict(self.collections),
        )

    def statements(self) -> list[Statement]:
        """What writes it."""
        found: list[Statement] = []
        if self.changes:
            steps = [(c.seq, c.op.value, c.collection_id, c.subject_key, c.number) for c in self.changes]
            found += [(_LOG, _columns(steps)), (_TURN, [self.seq, self.number])]
        if self.tallies:
            found.append((_COUNT, _columns([(id, *tally) for id, tally in self.tallies.items()])))
        if self.audit:
            found.append((_AUDIT, _columns([(row.seq, row.at, row.chain, row.payload) for row in self.audit])))
        return found

    def forget_written(self) -> None:
        self.changes, self.tallies, self.audit = [], {}, []


def _columns(rows: Sequence[tuple[object, ...]]) -> list[object]:
    return [list(column) for column in zip(*rows, strict=True)]


class PostgresWriter(PostgresReader):
    """The port RowWriter; it reads its own writes. gathered: set anew by whoever opens a transaction."""

    def __init__(self, ask: Ask) -> None:
        super().__init__(ask)
        self.gathered = Gathered()

    def _flush(self) -> None:
        for sql, values in self.gathered.statements():
            self._run(sql, *values)
        self.gathered.forget_written()

    def _run(self, sql: str, *values: object) -> None:
        self._ask(_nothing, sql, values)

    def _log(self, op: Op, collection_id: str, subject_key: str | None = None, number: int | None = None) -> None:
        self.gathered.seq += 1
        self.gathered.changes.append(Change(self.gathered.seq, op, collection_id, subject_key, number))

    def _tally(self, collection_id: str, subjects: int, samples: int) -> None:
        before = self.gathered.tallies.get(collection_id, (0, 0))
        self.gathered.tallies[collection_id] = before[0] + subjects, before[1] + samples

    # -------------------------------------------------------------- reading what was gathered and is known

    def last_seq(self) -> int:
        return self.gathered.seq

    def last_number(self) -> int:
        return self.gathered.number

    def changes(self, after: int, limit: int) -> list[Change]:
        self._flush()
        return super().changes(after, limit)

    def count(self, collection_id: str) -> tuple[int, int]:
        kept, more = super().count(collection_id), self.gathered.tallies.get(collection_id, (0, 0))
        return kept[0] + more[0], kept[1] + more[1]

    def collection_by_lookup(self, lookup: bytes) -> CollectionRow | None:
        known = self.gathered.collections
        if lookup not in known:
            known[lookup] = super().collection_by_lookup(lookup)
        return known[lookup]

    def audit_tail(self) -> AuditRow | None:
        return self.gathered.tail

    def audit_page(self, after_seq: int, limit: int) -> list[AuditRow]:
        self._flush()
        return super().audit_page(after_seq, limit)

    # ------------------------------------------------------------------------------------------- settings

    def put_setting(self, name: str, value: bytes) -> None:
        self._run(
            "INSERT INTO settings (name, value) VALUES (%s, %s)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name,
            value,
        )

    def delete_setting(self, name: str) -> bool:
        return bool(self._all(str, "DELETE FROM settings WHERE name = %s RETURNING name", name))

    # ---------------------------------------------------------------------------------------- collections

    def put_collection(self, row: CollectionRow) -> None:
        self._run(
            "WITH put AS (INSERT INTO collections (id, lookup, wrapped_key, payload, created_at)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET lookup = excluded.lookup,"
            " wrapped_key = excluded.wrapped_key, payload = excluded.payload, created_at = excluded.created_at"
            " RETURNING id) INSERT INTO counts (collection_id, subjects, samples) SELECT id, 0, 0 FROM put"
            " ON CONFLICT (collection_id) DO NOTHING",
            row.id,
            row.lookup,
            row.wrapped_key,
            row.payload,
            row.created_at,
        )
        self.gathered.collections.clear()
        self._log(Op.PUT, row.id)

    def delete_collection(self, collection_id: str) -> None:
        for name in self.settings(collection_setting(collection_id)):
            self.delete_setting(name)
        sql = "DELETE FROM collections WHERE id = %s RETURNING id"
        if self._ask(str, sql, (collection_id,), LONG_S):
            self.gathered.tallies.pop(collection_id, None)
            self.gathered.collections.clear()
            self._log(Op.DELETE, collection_id)

    def put_calibration(self, collection_id: str, space: str, payload: bytes) -> None:
        self._run(
            "INSERT INTO calibrations (collection_id, space, payload) VALUES (%s, %s, %s)"
            " ON CONFLICT (collection_id, space) DO UPDATE SET payload = excluded.payload",
            collection_id,
            space,
            payload,
        )
        self._log(Op.PUT, collection_id)

    # ------------------------------------------------------------------------------------------- subjects

    def put_subject(self, row: SubjectRow) -> None:
        found = self._all(
            _was_there,
            "WITH there AS (SELECT 1 FROM subjects WHERE key = %s), put AS ("
            "INSERT INTO subjects (key, collection_id, lookup, wrapped_key, payload, created_at, updated_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (key) DO UPDATE SET lookup = excluded.lookup,"
            " wrapped_key = excluded.wrapped_key, payload = excluded.payload, created_at = excluded.created_at,"
            " updated_at = excluded.updated_at WHERE subjects.collection_id = excluded.collection_id RETURNING key)"
            " SELECT EXISTS (SELECT 1 FROM there) FROM put",
            row.key,
            row.key,
            row.collection_id,
            row.lookup,
            row.wrapped_key,
            row.payload,
            row.created_at,
            row.updated_at,
        )
        if not found:
            raise Conflict("a subject cannot move to another collection")
        if not found[0]:
            self._tally(row.collection_id, 1, 0)
        self._log(Op.PUT, row.collection_id, row.key)

    def rewrap_subjects(self, rewrapped: Sequence[tuple[str, bytes, bytes]]) -> int:
        if not rewrapped:
            return 0
        sql = (
            "UPDATE subjects s SET wrapped_key = t.new FROM unnest(%s::text[], %s::bytea[], %s::bytea[])"
            " AS t (key, old, new) WHERE s.key = t.key AND s.wrapped_key = t.old RETURNING s.key"
        )
        return len(self._ask(str, sql, _columns(rewrapped), LONG_S))

    def delete_subject(self, key: str) -> list[int]:
        found = self._one(
            _collection_and_numbers,
            "WITH gone AS (DELETE FROM subjects WHERE key = %s RETURNING collection_id) SELECT collection_id,"
            " ARRAY(SELECT number FROM samples WHERE subject_key = %s ORDER BY subject_key, number) FROM gone",
            key,
            key,
        )
        if found is None:
            return []
        collection_id, numbers = found
        self._tally(collection_id, -1, -len(numbers))
        for number in numbers:
            self._log(Op.DELETE, collection_id, key, number)
        self._log(Op.DELETE, collection_id, key)
        return numbers

    # -------------------------------------------------------------------------------------------- samples

    def add_sample(
        self,
        id: str,
        collection_id: str,
        subject_key: str,
        payload: bytes,
        created_at: float,
        blobs: Mapping[str, bytes],
        space: str = "",
    ) -> int:
        number = self.gathered.number + 1
        there = self._one(
            _number_and_key,
            "WITH there AS (SELECT number, subject_key FROM samples WHERE id = %s), put AS ("
            "INSERT INTO samples (number, id, collection_id, subject_key, payload, created_at, space)"
            " SELECT %s, %s, %s, %s, %s, %s, %s WHERE NOT EXISTS (SELECT 1 FROM there) RETURNING number), pictures AS ("
            "INSERT INTO blobs (sample_number, kind, payload) SELECT number, kind, picture"
            " FROM put, unnest(%s::text[], %s::bytea[]) AS t (kind, picture))"
            " SELECT number, subject_key FROM there",
            id,
            number,
            id,
            collection_id,
            subject_key,
            payload,
            created_at,
            space,
            list(blobs.keys()),
            list(blobs.values()),
        )
        if there is not None:
            if there[1] != subject_key:
                raise Conflict("a sample of this id belongs to another subject")
            return there[0]
        self.gathered.number = number
        self._tally(collection_id, 0, 1)
        self._log(Op.PUT, collection_id, subject_key, number)
        return number

    def put_template(self, number: int, space: str, payload: bytes) -> bool:
        owner = self._one(
            _two,
            "WITH owner AS (SELECT number, collection_id, subject_key FROM samples WHERE number = %s), put AS ("
            "INSERT INTO templates (sample_number, space, payload) SELECT number, %s, %s FROM owner"
            " ON CONFLICT (sample_number, space) DO UPDATE SET payload = excluded.payload)"
            " SELECT collection_id, subject_key FROM owner",
            number,
            space,
            payload,
        )
        if owner is None:
            return False
        self._log(Op.PUT, owner[0], owner[1], number)
        return True

    def settle_sample(self, number: int, space: str, payload: bytes) -> bool:
        settled = self._all(
            int,
            "WITH gone AS (DELETE FROM templates WHERE sample_number = %s AND space = %s)"
            " UPDATE samples SET space = %s, payload = %s WHERE number = %s RETURNING number",
            number,
            space,
            space,
            payload,
            number,
        )
        return bool(settled)

    def drop_templates(self, collection_id: str, space: str, after_number: int, limit: int) -> int | None:
        numbers = self._ask(
            int,
            "SELECT number FROM samples WHERE collection_id = %s AND number > %s ORDER BY number LIMIT %s",
            (collection_id, after_number, limit),
        )
        if not numbers:
            return None
        self._run("DELETE FROM templates WHERE sample_number = ANY(%s) AND space = %s", numbers, space)
        return numbers[-1]

    def delete_sample(self, id: str) -> int | None:
        found = self._one(_three, "DELETE FROM samples WHERE id = %s RETURNING number, collection_id, subject_key", id)
        if found is None:
            return None
        number, collection_id, subject_key = found
        self._tally(collection_id, 0, -1)
        self._log(Op.DELETE, collection_id, subject_key, number)
        return number

    # ------------------------------------------------------------------- keys, audit, remembered answers

    def put_api_key(self, id: str, lookup: bytes, payload: bytes) -> None:
        self._run(
            "INSERT INTO api_keys (id, lookup, payload) VALUES (%s, %s, %s)"
            " ON CONFLICT (id) DO UPDATE SET lookup = excluded.lookup, payload = excluded.payload",
            id,
            lookup,
            payload,
        )

    def delete_api_key(self, id: str) -> bool:
        return bool(self._all(str, "DELETE FROM api_keys WHERE id = %s RETURNING id", id))

    def append_audit(self, row: AuditRow) -> None:
        if self.gathered.tail is not None and row.seq <= self.gathered.tail.seq:
            raise Conflict("the audit log only grows")
        self.gathered.audit.append(row)
        self.gathered.tail = row

    def put_idempotent(self, lookup: bytes, digest: bytes, answer: bytes, at: float) -> None:
        self._run(
            "INSERT INTO idempotent (lookup, digest, answer, at) VALUES (%s, %s, %s, %s) ON CONFLICT (lookup)"
            " DO UPDATE SET digest = excluded.digest, answer = excluded.answer, at = excluded.at",
            lookup,
            digest,
            answer,
            at,
        )

    def forget_idempotent(self, before: float) -> int:
        return len(self._all(float, "DELETE FROM idempotent WHERE at < %s RETURNING at", before))

    # ---------------------------------------------------------------------------------------------- jobs

    def put_job(self, row: JobRow) -> None:
        self._run(
            "INSERT INTO jobs (id, collection_id, state, created_at, updated_at, leased_until, payload)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
            " updated_at = excluded.updated_at, leased_until = excluded.leased_until, payload = excluded.payload",
            row.id,
            row.collection_id,
            row.state,
            row.created_at,
            row.updated_at,
            row.leased_until,
            row.payload,
        )

    def claim_job(self, now: float, until: float) -> JobRow | None:
        return self._one(
            JobRow,
            "UPDATE jobs SET state = 'running', updated_at = %s, leased_until = %s WHERE id = (SELECT id FROM jobs"
            " WHERE state IN ('queued', 'running') AND (leased_until <= %s OR leased_until > %s)"
            " ORDER BY created_at, id LIMIT 1)"
            " RETURNING id, collection_id, state, created_at, updated_at, leased_until, payload",
            now,
            until,
            now,
            latest_lease(now, until),
        )

    def delete_jobs(self, before: float) -> int:
        sql = "DELETE FROM jobs WHERE state NOT IN ('queued', 'running') AND updated_at < %s RETURNING id"
        return len(self._all(str, sql, before))

    def skip_to(self, number: int, seq: int) -> None:
        self.gathered.number, self.gathered.seq = max(number, self.gathered.number), max(seq, self.gathered.seq)
        self._run(_TURN, self.gathered.seq, self.gathered.number)


def _nothing(*columns: object) -> None:
    return None


def _was_there(there: bool) -> bool:
    return there


def _two(first: str, second: str) -> tuple[str, str]:
    return first, second


def _three(number: int, collection_id: str, subject_key: str) -> tuple[int, str, str]:
    return number, collection_id, subject_key


def _number_and_key(number: int, subject_key: str) -> tuple[int, str]:
    return number, subject_key


def _collection_and_numbers(collection_id: str, numbers: list[int]) -> tuple[str, list[int]]:
    return collection_id, numbers
