"""The ports Rows, RowReader and RowWriter in memory: a transaction that raises leaves nothing behind.

Its tables are open to tests, which play the attacker who can write to the disk.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lookalike.domain import Change, Op
from lookalike.errors import Conflict
from lookalike.jobs import latest_lease
from lookalike.ports import (
    AuditRow,
    CollectionRow,
    JobRow,
    RowReader,
    RowWriter,
    SampleRow,
    SubjectRow,
    collection_setting,
)

T = TypeVar("T")


@dataclass
class Tables:
    settings: dict[str, bytes] = field(default_factory=dict)
    collections: dict[str, CollectionRow] = field(default_factory=dict)
    subjects: dict[str, SubjectRow] = field(default_factory=dict)
    samples: dict[int, SampleRow] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    api_keys: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    audit: list[AuditRow] = field(default_factory=list)
    idempotent: dict[bytes, tuple[bytes, bytes, float]] = field(default_factory=dict)
    calibrations: dict[tuple[str, str], bytes] = field(default_factory=dict)
    templates: dict[tuple[int, str], bytes] = field(default_factory=dict)
    jobs: dict[str, JobRow] = field(default_factory=dict)
    last_number: int = 0
    skipped: int = 0


class MemoryRows:
    def __init__(self) -> None:
        self.tables = Tables()
        self.scrubbed = 0
        self._lock = threading.RLock()

    def read(self) -> RowReader:
        return _Cursor(self)

    def write(self, work: Callable[[RowWriter], T]) -> T:
        with self._lock:
            draft = copy.deepcopy(self.tables)  # nobody reads what is not committed
            done = work(_Cursor(self, draft))
            self.tables = draft
            return done

    @contextmanager
    def snapshot(self) -> Iterator[RowReader]:
        frozen = MemoryRows()
        frozen.tables = self.tables
        yield frozen.read()

    def scrub(self) -> bool:
        self.scrubbed += 1
        return True

    def close(self) -> None:
        self.tables = Tables()


class _Cursor:
    def __init__(self, rows: MemoryRows, draft: Tables | None = None) -> None:
        self._rows = rows
        self._draft = draft

    @property
    def _t(self) -> Tables:
        return self._rows.tables if self._draft is None else self._draft

    def get_setting(self, name: str) -> bytes | None:
        return self._t.settings.get(name)

    def settings(self, prefix: str) -> dict[str, bytes]:
        return {name: value for name, value in sorted(self._t.settings.items()) if name.startswith(prefix)}

    def count_settings(self, prefix: str) -> int:
        return len(self.settings(prefix))

    def last_seq(self) -> int:
        return self._t.changes[-1].seq if self._t.changes else 0

    def changes(self, after: int, limit: int) -> list[Change]:
        return [change for change in self._t.changes if change.seq > after][:limit]

    def collections(self) -> list[CollectionRow]:
        return sorted(self._t.collections.values(), key=lambda row: (row.created_at, row.id))

    def collection_by_lookup(self, lookup: bytes) -> CollectionRow | None:
        return next((row for row in self._t.collections.values() if row.lookup == lookup), None)

    def subject_by_lookup(self, collection_id: str, lookup: bytes) -> SubjectRow | None:
        held = self._t.subjects.values()
        return next((r for r in held if r.collection_id == collection_id and r.lookup == lookup), None)

    def subjects(self, keys: Sequence[str]) -> list[SubjectRow]:
        return [self._t.subjects[key] for key in keys if key in self._t.subjects]

    def subjects_page(self, collection_id: str, after_key: str, limit: int) -> list[SubjectRow]:
        held = (r for r in self._t.subjects.values() if r.collection_id == collection_id and r.key > after_key)
        return sorted(held, key=lambda row: row.key)[:limit]

    def count(self, collection_id: str) -> tuple[int, int]:
        def held(rows: Mapping[object, SubjectRow] | Mapping[object, SampleRow]) -> int:
            return sum(row.collection_id == collection_id for row in rows.values())

        return held(self._t.subjects), held(self._t.samples)

    def count_wrapped(self, collection_id: str, start: int, size: int) -> dict[bytes, int]:
        held = (r for r in self._t.subjects.values() if r.collection_id == collection_id)
        return dict(Counter(row.wrapped_key[start : start + size] for row in held))

    def samples_of(self, subject_key: str) -> list[SampleRow]:
        return [row for _, row in sorted(self._t.samples.items()) if row.subject_key == subject_key]

    def samples_page(self, collection_id: str, after_number: int, limit: int) -> list[SampleRow]:
        held = sorted(self._t.samples.items())
        return [row for n, row in held if row.collection_id == collection_id and n > after_number][:limit]

    def samples_numbered(self, numbers: Sequence[int]) -> list[SampleRow]:
        return [self._t.samples[n] for n in numbers if n in self._t.samples]

    def sample_by_id(self, id: str) -> SampleRow | None:
        return next((row for row in self._t.samples.values() if row.id == id), None)

    def blob(self, sample_id: str, kind: str) -> bytes | None:
        return self._t.blobs.get((sample_id, kind))

    def api_keys(self) -> list[tuple[str, bytes, bytes]]:
        return [(id, *held) for id, held in sorted(self._t.api_keys.items())]

    def api_key_by_lookup(self, lookup: bytes) -> tuple[str, bytes, bytes] | None:
        return next((row for row in self.api_keys() if row[1] == lookup), None)

    def audit_page(self, after_seq: int, limit: int) -> list[AuditRow]:
        return [row for row in self._t.audit if row.seq > after_seq][:limit]

    def audit_tail(self) -> AuditRow | None:
        return self._t.audit[-1] if self._t.audit else None

    def idempotent(self, lookup: bytes) -> tuple[bytes, bytes] | None:
        held = self._t.idempotent.get(lookup)
        return held[:2] if held is not None else None

    def calibration(self, collection_id: str, space: str) -> bytes | None:
        return self._t.calibrations.get((collection_id, space))

    def calibrations(self, collection_id: str) -> dict[str, bytes]:
        return {space: held for (id, space), held in sorted(self._t.calibrations.items()) if id == collection_id}

    def last_number(self) -> int:
        return self._t.last_number

    def blobs_of(self, numbers: Sequence[int]) -> list[tuple[int, str, bytes]]:
        named = {self._t.samples[n].id: n for n in numbers if n in self._t.samples}
        return [(named[id], kind, blob) for (id, kind), blob in sorted(self._t.blobs.items()) if id in named]

    def templates_of(self, numbers: Sequence[int]) -> list[tuple[int, str, bytes]]:
        return [(n, space, held) for (n, space), held in sorted(self._t.templates.items()) if n in numbers]

    def templates(self, numbers: Sequence[int], space: str) -> dict[int, bytes]:
        return {n: self._t.templates[n, space] for n in numbers if (n, space) in self._t.templates}

    def _lacking(self, collection_id: str, spaces: Sequence[str]) -> list[SampleRow]:
        held = (row for _, row in sorted(self._t.samples.items()) if row.collection_id == collection_id)
        return [
            row
            for row in held
            if row.space not in spaces and not any((row.number, s) in self._t.templates for s in spaces)
        ]

    def samples_lacking(
        self, collection_id: str, spaces: Sequence[str], after_number: int, limit: int
    ) -> list[SampleRow]:
        return [row for row in self._lacking(collection_id, spaces) if row.number > after_number][:limit]

    def count_lacking(self, collection_id: str, spaces: Sequence[str]) -> int:
        return len(self._lacking(collection_id, spaces))

    def jobs(self, limit: int) -> list[JobRow]:
        return sorted(self._t.jobs.values(), key=lambda row: (row.created_at, row.id), reverse=True)[:limit]

    def job(self, id: str) -> JobRow | None:
        return self._t.jobs.get(id)

    # ------------------------------------------------------------------------------------------- writing

    def _log(self, op: Op, collection_id: str, subject_key: str | None = None, number: int | None = None) -> None:
        self._t.changes.append(
            Change(max(self.last_seq(), self._t.skipped) + 1, op, collection_id, subject_key, number)
        )

    def put_setting(self, name: str, value: bytes) -> None:
        self._t.settings[name] = value

    def delete_setting(self, name: str) -> bool:
        return self._t.settings.pop(name, None) is not None

    def put_collection(self, row: CollectionRow) -> None:
        self._t.collections[row.id] = row
        self._log(Op.PUT, row.id)

    def delete_collection(self, collection_id: str) -> None:
        for key in [k for k, row in self._t.subjects.items() if row.collection_id == collection_id]:
            self.delete_subject(key)
        for held in [key for key in self._t.calibrations if key[0] == collection_id]:
            del self._t.calibrations[held]
        for name in self.settings(collection_setting(collection_id)):
            self.delete_setting(name)
        self._t.jobs = {id: row for id, row in self._t.jobs.items() if row.collection_id != collection_id}
        if self._t.collections.pop(collection_id, None) is not None:
            self._log(Op.DELETE, collection_id)

    def put_subject(self, row: SubjectRow) -> None:
        self._t.subjects[row.key] = row
        self._log(Op.PUT, row.collection_id, row.key)

    def rewrap_subjects(self, rewrapped: Sequence[tuple[str, bytes, bytes]]) -> int:
        held = [entry for entry in rewrapped if self._wrapped(entry[0]) == entry[1]]
        for key, _, new in held:
            self._t.subjects[key] = replace(self._t.subjects[key], wrapped_key=new)
        return len(held)

    def _wrapped(self, key: str) -> bytes | None:
        row = self._t.subjects.get(key)
        return row.wrapped_key if row is not None else None

    def delete_subject(self, key: str) -> list[int]:
        row = self._t.subjects.pop(key, None)
        if row is None:
            return []
        numbers = [n for n, sample in sorted(self._t.samples.items()) if sample.subject_key == key]
        for number in numbers:
            self.delete_sample(self._t.samples[number].id)
        self._log(Op.DELETE, row.collection_id, key)
        return numbers

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
        there = self.sample_by_id(id)
        if there is not None:
            if there.subject_key != subject_key:
                raise Conflict("a sample of this id belongs to another subject")
            return there.number
        self._t.last_number += 1
        number = self._t.last_number
        self._t.samples[number] = SampleRow(id, number, collection_id, subject_key, payload, created_at, space)
        self._t.blobs.update({(id, kind): blob for kind, blob in blobs.items()})
        self._log(Op.PUT, collection_id, subject_key, number)
        return number

    def delete_sample(self, id: str) -> int | None:
        row = self.sample_by_id(id)
        if row is None:
            return None
        del self._t.samples[row.number]
        for held in [key for key in self._t.blobs if key[0] == id]:
            del self._t.blobs[held]
        for template in [key for key in self._t.templates if key[0] == row.number]:
            del self._t.templates[template]
        self._log(Op.DELETE, row.collection_id, row.subject_key, row.number)
        return row.number

    def put_api_key(self, id: str, lookup: bytes, payload: bytes) -> None:
        self._t.api_keys[id] = (lookup, payload)

    def delete_api_key(self, id: str) -> bool:
        return self._t.api_keys.pop(id, None) is not None

    def append_audit(self, row: AuditRow) -> None:
        self._t.audit.append(row)

    def put_idempotent(self, lookup: bytes, digest: bytes, answer: bytes, at: float) -> None:
        self._t.idempotent[lookup] = (digest, answer, at)

    def forget_idempotent(self, before: float) -> int:
        old = [lookup for lookup, held in self._t.idempotent.items() if held[2] < before]
        for lookup in old:
            del self._t.idempotent[lookup]
        return len(old)

    def put_calibration(self, collection_id: str, space: str, payload: bytes) -> None:
        self._t.calibrations[collection_id, space] = payload
        self._log(Op.PUT, collection_id)

    def put_template(self, number: int, space: str, payload: bytes) -> bool:
        row = self._t.samples.get(number)
        if row is None:
            return False
        self._t.templates[number, space] = payload
        self._log(Op.PUT, row.collection_id, row.subject_key, number)
        return True

    def settle_sample(self, number: int, space: str, payload: bytes) -> bool:
        row = self._t.samples.get(number)
        self._t.templates.pop((number, space), None)
        if row is None:
            return False
        self._t.samples[number] = replace(row, space=space, payload=payload)
        return True

    def drop_templates(self, collection_id: str, space: str, after_number: int, limit: int) -> int | None:
        mine = sorted(n for n, row in self._t.samples.items() if row.collection_id == collection_id)
        page = [n for n in mine if n > after_number][:limit]
        for number in page:
            self._t.templates.pop((number, space), None)
        return page[-1] if page else None

    def put_job(self, row: JobRow) -> None:
        self._t.jobs[row.id] = row

    def claim_job(self, now: float, until: float) -> JobRow | None:
        for row in sorted(self._t.jobs.values(), key=lambda row: (row.created_at, row.id)):
            if row.state in ("queued", "running") and not now < row.leased_until <= latest_lease(now, until):
                self._t.jobs[row.id] = replace(row, state="running", updated_at=now, leased_until=until)
                return self._t.jobs[row.id]
        return None

    def delete_jobs(self, before: float) -> int:
        ended = [r.id for r in self._t.jobs.values() if r.state not in ("queued", "running") and r.updated_at < before]
        for id in ended:
            del self._t.jobs[id]
        return len(ended)

    def skip_to(self, number: int, seq: int) -> None:
        self._t.last_number = max(self._t.last_number, number)
        self._t.skipped = max(self._t.skipped, seq)
