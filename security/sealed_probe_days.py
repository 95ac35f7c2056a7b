"""Counts of probes and their baselines, sealed under their collection's key, as settings that go with the collection.

In the clear stand the collection's random id, 16 hex characters for the space, and the day. They hold no ids, so
erasing a subject leaves them as they are; deleting the collection takes them along.
"""

from __future__ import annotations

from collections.abc import Mapping

from lookalike.domain import AuditEntry, Collection
from lookalike.drift import Baseline
from lookalike.errors import CollectionNotFound
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter, collection_setting
from lookalike.probe_counts import Counts
from security.audit import SealedAuditLog
from security.keys import KeyRing
from security.sealed_rows import RowSealer

PROBES = "probes/"
"""Begins, within a collection's own settings, the names of these; a space and what it is of follow."""

_BASELINE = "baseline"


class SealedProbeDays:
    """The port ProbeDays."""

    def __init__(self, rows: Rows, keyring: KeyRing, audit: SealedAuditLog) -> None:
        self._rows = rows
        self._audit = audit
        self._sealer = RowSealer(keyring)

    def add(self, collection: Collection, space: str, days: Mapping[str, Counts]) -> None:
        def write(rows: RowWriter) -> None:
            row = self._require(rows, collection)
            for day, counts in days.items():
                there = rows.get_setting(_name(collection, space, day))
                held = counts if there is None else counts + self._open_counts(collection, space, day, there)
                self._put(rows, row, space, day, held.to_json())

        self._rows.write(write)

    def days(self, collection: Collection, space: str, first: str) -> dict[str, Counts]:
        prefix = _name(collection, space, "")
        found = self._rows.read().settings(prefix)
        days = {name.removeprefix(prefix): payload for name, payload in found.items()}
        wanted = (day for day in days if day != _BASELINE and day >= first)
        return {day: self._open_counts(collection, space, day, days[day]) for day in wanted}

    def baseline(self, collection: Collection, space: str) -> Baseline | None:
        payload = self._rows.read().get_setting(_name(collection, space, _BASELINE))
        return None if payload is None else Baseline.from_json(self._open(collection, space, _BASELINE, payload))

    def put_baseline(self, collection: Collection, space: str, baseline: Baseline, entry: AuditEntry | None) -> None:
        note = self._audit.prepare(entry) if entry is not None else None

        def write(rows: RowWriter) -> None:
            self._put(rows, self._require(rows, collection), space, _BASELINE, baseline.to_json())
            if note is not None:
                note(rows)

        self._rows.write(write)

    def forget(self, collection: Collection, before: str) -> int:
        prefix = collection_setting(collection.id, PROBES)

        def past(rows: RowReader) -> list[str]:
            held = ((name, name.rpartition("/")[2]) for name in rows.settings(prefix))
            return [name for name, day in held if day != _BASELINE and day < before]

        if not past(self._rows.read()):
            return 0
        return self._rows.write(lambda rows: sum(rows.delete_setting(name) for name in past(rows)))

    def _require(self, rows: RowReader, collection: Collection) -> CollectionRow:
        row = rows.collection_by_lookup(self._sealer.collection_lookup(collection.name))
        if row is None or row.id != collection.id:
            raise CollectionNotFound("there is no such collection")
        return row

    def _put(self, rows: RowWriter, row: CollectionRow, space: str, what: str, text: str) -> None:
        sealed = self._sealer.seal_of(row, "probes", text.encode(), f"{space}/{what}")
        rows.put_setting(collection_setting(row.id, f"{PROBES}{space}/{what}"), sealed)

    def _open(self, collection: Collection, space: str, what: str, payload: bytes) -> str:
        return self._sealer.open_of(collection, "probes", payload, f"{space}/{what}").decode()

    def _open_counts(self, collection: Collection, space: str, day: str, payload: bytes) -> Counts:
        return Counts.from_json(self._open(collection, space, day, payload))


def _name(collection: Collection, space: str, what: str) -> str:
    return collection_setting(collection.id, f"{PROBES}{space}/{what}")
