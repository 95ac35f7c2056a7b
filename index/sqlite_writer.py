"""Writes ciphertext rows to SQLite within the transaction that the commit queue has opened.

Each put or delete of a record appends to the change sequence in the same transaction. Writers of all processes take
turns, so sequence numbers grow in the order of commits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from index.sqlite_connection import translated_errors
from index.sqlite_reader import SqliteReader, Value
from lookalike.domain import Op
from lookalike.errors import Conflict
from lookalike.jobs import latest_lease
from lookalike.ports import AuditRow, CollectionRow, JobRow, SubjectRow, collection_setting

_NUMBERS = (
    "SELECT number FROM samples INDEXED BY samples_in_order WHERE collection_id = ? AND number > ?"
    " ORDER BY number LIMIT ?"
)


class SqliteWriter(SqliteReader):
    """The port RowWriter; it reads its own writes."""

    def _run(self, sql: str, *values: Value) -> int:
        """Execute one statement; how many rows it changed."""
        connection = self._connect()
        with translated_errors(connection):
            connection.execute(sql, values)
            return connection.changes()

    def _log(self, op: Op, collection_id: str, subject_key: str | None = None, number: int | None = None) -> None:
        self._run(
            "INSERT INTO changes (op, collection_id, subject_key, number) VALUES (?, ?, ?, ?)",
            op.value,
            collection_id,
            subject_key,
            number,
        )

    def _tally(self, collection_id: str, subjects: int, samples: int) -> None:
        self._run(
            "UPDATE collections SET subjects = subjects + ?, samples = samples + ? WHERE id = ?",
            subjects,
            samples,
            collection_id,
        )

    def put_setting(self, name: str, value: bytes) -> None:
        self._run(
            "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name,
            value,
        )

    def delete_setting(self, name: str) -> bool:
        return self._run("DELETE FROM settings WHERE name = ?", name) > 0

    # ---------------------------------------------------------------------------------------- collections

    def put_collection(self, row: CollectionRow) -> None:
        self._run(
            "INSERT INTO collections (id, lookup, wrapped_key, payload, created_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET lookup = excluded.lookup, wrapped_key = excluded.wrapped_key,"
            " payload = excluded.payload, created_at = excluded.created_at",
            row.id,
            row.lookup,
            row.wrapped_key,
            row.payload,
            row.created_at,
        )
        self._log(Op.PUT, row.id)

    def delete_collection(self, collection_id: str) -> None:
        for name in self.settings(collection_setting(collection_id)):
            self.delete_setting(name)
        if self._run("DELETE FROM collections WHERE id = ?", collection_id):
            self._log(Op.DELETE, collection_id)

    def put_calibration(self, collection_id: str, space: str, payload: bytes) -> None:
        self._run(
            "INSERT INTO calibrations (collection_id, space, payload) VALUES (?, ?, ?)"
            " ON CONFLICT (collection_id, space) DO UPDATE SET payload = excluded.payload",
            collection_id,
            space,
            payload,
        )
        self._log(Op.PUT, collection_id)

    # ------------------------------------------------------------------------------------------- subjects

    def put_subject(self, row: SubjectRow) -> None:
        is_new = self._one("SELECT 1 FROM subjects WHERE key = ?", row.key) is None
        changed = self._run(
            "INSERT INTO subjects (key, collection_id, lookup, wrapped_key, payload, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET lookup = excluded.lookup,"
            " wrapped_key = excluded.wrapped_key, payload = excluded.payload, created_at = excluded.created_at,"
            " updated_at = excluded.updated_at WHERE collection_id = excluded.collection_id",
            row.key,
            row.collection_id,
            row.lookup,
            row.wrapped_key,
            row.payload,
            row.created_at,
            row.updated_at,
        )
        if not changed:
            raise Conflict("a subject cannot move to another collection")
        if is_new:
            self._tally(row.collection_id, 1, 0)
        self._log(Op.PUT, row.collection_id, row.key)

    def rewrap_subjects(self, rewrapped: Sequence[tuple[str, bytes, bytes]]) -> int:
        sql = "UPDATE subjects SET wrapped_key = ? WHERE key = ? AND wrapped_key = ?"
        return sum(self._run(sql, new, key, old) for key, old, new in rewrapped)

    def delete_subject(self, key: str) -> list[int]:
        found = self._one("SELECT collection_id FROM subjects WHERE key = ?", key)
        if found is None:
            return []
        collection_id = cast(str, found[0])
        rows = self._all("SELECT number FROM samples WHERE subject_key = ? ORDER BY number", key)
        numbers = [cast(int, number) for (number,) in rows]
        self._run("DELETE FROM subjects WHERE key = ?", key)
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
        if (there := self._one("SELECT number, subject_key FROM samples WHERE id = ?", id)) is not None:
            if there[1] != subject_key:
                raise Conflict("a sample of this id belongs to another subject")
            return cast(int, there[0])
        self._run(
            "INSERT INTO samples (id, collection_id, subject_key, payload, created_at, space)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            id,
            collection_id,
            subject_key,
            payload,
            created_at,
            space,
        )
        number = self._connect().last_insert_rowid()
        for kind, blob in blobs.items():
            self._run("INSERT INTO blobs (sample_number, kind, payload) VALUES (?, ?, ?)", number, kind, blob)
        self._tally(collection_id, 0, 1)
        self._log(Op.PUT, collection_id, subject_key, number)
        return number

    def put_template(self, number: int, space: str, payload: bytes) -> bool:
        found = self._one("SELECT collection_id, subject_key FROM samples WHERE number = ?", number)
        if found is None:
            return False
        self._run(
            "INSERT INTO templates (sample_number, space, payload) VALUES (?, ?, ?)"
            " ON CONFLICT (sample_number, space) DO UPDATE SET payload = excluded.payload",
            number,
            space,
            payload,
        )
        self._log(Op.PUT, cast(str, found[0]), cast(str, found[1]), number)
        return True

    def settle_sample(self, number: int, space: str, payload: bytes) -> bool:
        self._run("DELETE FROM templates WHERE sample_number = ? AND space = ?", number, space)
        return self._run("UPDATE samples SET space = ?, payload = ? WHERE number = ?", space, payload, number) > 0

    def drop_templates(self, collection_id: str, space: str, after_number: int, limit: int) -> int | None:
        rows = self._all(_NUMBERS, collection_id, after_number, limit)
        numbers = [cast(int, number) for (number,) in rows]
        if not numbers:
            return None
        self._run(
            "DELETE FROM templates WHERE sample_number IN (SELECT value FROM json_each(?)) AND space = ?",
            json.dumps(numbers),
            space,
        )
        return numbers[-1]

    def delete_sample(self, id: str) -> int | None:
        found = self._one("SELECT number, collection_id, subject_key FROM samples WHERE id = ?", id)
        if found is None:
            return None
        number, collection_id, subject_key = cast("tuple[int, str, str]", found)
        self._run("DELETE FROM samples WHERE number = ?", number)
        self._tally(collection_id, 0, -1)
        self._log(Op.DELETE, collection_id, subject_key, number)
        return number

    # ------------------------------------------------------------------- keys, audit, remembered answers

    def put_api_key(self, id: str, lookup: bytes, payload: bytes) -> None:
        self._run(
            "INSERT INTO api_keys (id, lookup, payload) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET lookup = excluded.lookup, payload = excluded.payload",
            id,
            lookup,
            payload,
        )

    def delete_api_key(self, id: str) -> bool:
        return self._run("DELETE FROM api_keys WHERE id = ?", id) > 0

    def append_audit(self, row: AuditRow) -> None:
        self._run(
            "INSERT INTO audit (seq, at, chain, payload) VALUES (?, ?, ?, ?)", row.seq, row.at, row.chain, row.payload
        )

    def put_idempotent(self, lookup: bytes, digest: bytes, answer: bytes, at: float) -> None:
        self._run(
            "INSERT INTO idempotent (lookup, digest, answer, at) VALUES (?, ?, ?, ?) ON CONFLICT (lookup)"
            " DO UPDATE SET digest = excluded.digest, answer = excluded.answer, at = excluded.at",
            lookup,
            digest,
            answer,
            at,
        )

    def forget_idempotent(self, before: float) -> int:
        return self._run("DELETE FROM idempotent WHERE at < ?", before)

    # ---------------------------------------------------------------------------------------------- jobs

    def put_job(self, row: JobRow) -> None:
        self._run(
            "INSERT INTO jobs (id, collection_id, state, created_at, updated_at, leased_until, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state,"
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
        found = self._one(
            "SELECT id FROM jobs WHERE state IN ('queued', 'running') AND (leased_until <= ? OR leased_until > ?)"
            " ORDER BY created_at, id LIMIT 1",
            now,
            latest_lease(now, until),
        )
        if found is None:
            return None
        id = cast(str, found[0])
        self._run("UPDATE jobs SET state = 'running', updated_at = ?, leased_until = ? WHERE id = ?", now, until, id)
        return self.job(id)

    def delete_jobs(self, before: float) -> int:
        return self._run("DELETE FROM jobs WHERE state NOT IN ('queued', 'running') AND updated_at < ?", before)

    def skip_to(self, number: int, seq: int) -> None:
        for table, given in (("samples", number), ("changes", seq)):
            self._run(
                "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, 0 WHERE NOT EXISTS (SELECT 1 FROM"
                " sqlite_sequence WHERE name = ?1)",
                table,
            )
            self._run("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", given, table)
