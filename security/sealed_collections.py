"""Collections in domain values, over rows that hold ciphertext only: made, changed, deleted, and what they learned.

Invariants: every write commits with its audit entry in one transaction; sealing happens before the transaction, and if
a key has changed by then the write is prepared again; nothing is opened that was not asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from lookalike.domain import (
    AuditEntry,
    Collection,
    Receipt,
)
from lookalike.errors import (
    CollectionExists,
    CollectionNotFound,
)
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter
from security.audit import SealedAuditLog
from security.collection_keys import forget_due
from security.cursors import Cursors
from security.elsewhere import elsewhere
from security.erasure import Erasure
from security.holds import require_none
from security.keys import KeyRing, until_unmoved
from security.ledger_copy import Ledger
from security.sealed_rows import RowSealer


class SealedCollections:
    """The part of the port Records that is about collections. Thread-safe; several processes may share the rows."""

    def __init__(
        self,
        rows: Rows,
        keyring: KeyRing,
        audit: SealedAuditLog,
        clock: Callable[[], float] = time.time,
        ledger: Ledger | None = None,
    ) -> None:
        """ledger: where erasures are entered; by default one that has no copy outside the data folder."""
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        self._sealer = RowSealer(keyring)
        self._cursors = Cursors(keyring)
        self._ledger = ledger or Ledger(rows, keyring, audit)
        self._erasure = Erasure(rows, keyring, audit, self._ledger)

    def create_collection(self, collection: Collection, entry: AuditEntry) -> None:
        note = self._audit.prepare(entry)

        def attempt() -> None:
            row = self._sealer.new_collection(collection)

            def create(rows: RowWriter) -> None:
                if rows.collection_by_lookup(row.lookup) is not None:
                    raise CollectionExists("there is a collection of this name already")
                self._keyring.root.require_current(rows, row.wrapped_key)
                rows.put_collection(row)
                note(rows)

            self._rows.write(create)

        try:
            until_unmoved(attempt)
        except BaseException:
            self._keyring.forget_collection(collection.id)
            raise

    def collection(self, name: str) -> Collection:
        row = self._rows.read().collection_by_lookup(self._sealer.collection_lookup(name))
        if row is None:
            raise CollectionNotFound("there is no such collection")
        return self._sealer.open_collection(row)

    def collections(self) -> list[Collection]:
        found = [self._sealer.open_collection(row) for row in self._rows.read().collections()]
        return sorted(found, key=lambda collection: collection.name)

    def change_collection(
        self, collection: Collection, change: Callable[[Collection], Collection], entry: AuditEntry
    ) -> Collection:
        note = self._audit.prepare(entry)

        def update(rows: RowWriter) -> Collection:
            row = self._row_of(rows, collection)
            changed = change(self._sealer.open_collection(row))
            rows.put_collection(replace(row, payload=self._sealer.changed_collection(row, changed)))
            note(rows)
            return changed

        return self._rows.write(update)

    def delete_collection(self, collection: Collection, entry: AuditEntry) -> Receipt:
        def delete(rows: RowWriter) -> Receipt:
            self._row_of(rows, collection)
            require_none(rows, collection.id)
            subjects, samples = rows.count(collection.id)
            facts_elsewhere, pending = elsewhere(rows, self._sealer, collection, collection.created_at)
            rows.delete_collection(collection.id)
            forget_due(rows, collection.id)
            facts: dict[str, str | int] = {
                "kind": "collection",
                "collection": collection.id,
                "subjects": subjects,
                "samples": samples,
                **facts_elsewhere,
            }
            return replace(self._erasure.sign(rows, entry, facts, self._clock()), pending=pending)

        receipt = self._rows.write(delete)
        self._keyring.forget_collection(collection.id)
        return self._erasure.finish(receipt)

    def count(self, collection: Collection) -> tuple[int, int]:
        return self._rows.read().count(collection.id)

    def _row_of(self, rows: RowReader, collection: Collection) -> CollectionRow:
        """Raises: CollectionNotFound if it is gone, even if another of its name came after it."""
        row = rows.collection_by_lookup(self._sealer.collection_lookup(collection.name))
        if row is None or row.id != collection.id:
            raise CollectionNotFound("there is no such collection")
        return row

    def calibration(self, collection: Collection) -> str | None:
        payload = self._rows.read().calibration(collection.id, names_of_space(collection)[-1])
        return self._sealer.open_calibration(collection, payload) if payload is not None else None

    def put_calibration(self, collection: Collection, calibration: str, entry: AuditEntry) -> None:
        note = self._audit.prepare(entry)

        def put(rows: RowWriter) -> None:
            payload = self._sealer.seal_calibration(self._row_of(rows, collection), calibration)
            rows.put_calibration(collection.id, names_of_space(collection)[-1], payload)
            note(rows)

        self._rows.write(put)


def names_of_space(collection: Collection) -> list[str]:
    """What rows in the collection's space say of theirs; the last is what calibrations learned there go by."""
    return [collection.space.key] if collection.space != collection.origin else [collection.space.key, ""]
