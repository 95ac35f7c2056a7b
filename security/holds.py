"""Legal holds, as settings that go with their collection, so that a transaction that erases can tell by their names.

In the clear stand the collection's and the hold's random ids and the held subject's random key; why, by whom and since
when is sealed under the collection's key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from lookalike.domain import AuditEntry, Collection
from lookalike.errors import CollectionNotFound, HoldNotFound, LegalHold, SubjectNotFound
from lookalike.holds import Hold
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter, collection_setting
from security.audit import SealedAuditLog
from security.keys import KeyRing
from security.sealed_codec import canonical
from security.sealed_rows import RowSealer

HOLDS = "hold/"
"""Begins, within a collection's own settings, the name of each hold; `ALL` or a subject's key follows, then its id."""

HOLD = "hold"
"""What a hold is sealed as; its record is what follows `HOLDS` in its name."""

ALL = "all"


def require_free(rows: RowReader, collection_id: str, subject_key: str) -> None:
    """Raises: LegalHold if the subject is held, or its collection."""
    if any(rows.settings(collection_setting(collection_id, f"{HOLDS}{which}/")) for which in (ALL, subject_key)):
        raise LegalHold("a legal hold is on: nothing is erased or overwritten until it is lifted")


def require_none(rows: RowReader, collection_id: str) -> None:
    """Raises: LegalHold if anything of the collection is held."""
    if held := held_keys(rows, collection_id):
        what = "the collection" if ALL in held else f"{len(held)} of its subjects"
        raise LegalHold(f"a legal hold is on {what}: it is not deleted until that is lifted")


def held_keys(rows: RowReader, collection_id: str) -> set[str]:
    """What is held in a collection: keys of subjects that are there, and `ALL`.

    A backup can bring back a hold that was lifted since of a subject that was erased after that.
    """
    prefix = collection_setting(collection_id, HOLDS)
    found = {name.removeprefix(prefix).partition("/")[0] for name in rows.settings(prefix)}
    there = {row.key for row in rows.subjects(sorted(found - {ALL}))}
    return there | (found & {ALL})


class SealedHolds:
    """The port HoldStore."""

    def __init__(self, rows: Rows, keyring: KeyRing, audit: SealedAuditLog) -> None:
        self._rows = rows
        self._audit = audit
        self._sealer = RowSealer(keyring)

    def put(self, collection: Collection, hold: Hold, entry: AuditEntry) -> None:
        held = canonical({"reason": hold.reason, "by": hold.by, "at": hold.at})
        note = self._audit.prepare(entry)

        def write(rows: RowWriter) -> None:
            owner = self._require(rows, collection)
            key = ALL
            if hold.subject is not None:
                row = rows.subject_by_lookup(collection.id, self._sealer.subject_lookup(collection, hold.subject))
                if row is None:
                    raise SubjectNotFound("there is no such subject")
                key = row.key
            name = f"{key}/{hold.id}"
            sealed = self._sealer.seal_of(owner, HOLD, held, name)
            rows.put_setting(collection_setting(collection.id, HOLDS + name), sealed)
            note(rows)

        self._rows.write(write)

    def lift(self, collection: Collection, id: str, entry: AuditEntry) -> None:
        note = self._audit.prepare(entry)

        def write(rows: RowWriter) -> None:
            self._require(rows, collection)
            found = [name for name in rows.settings(collection_setting(collection.id, HOLDS)) if _id_of(name) == id]
            if not found:
                raise HoldNotFound("there is no such hold, or no longer")
            for name in found:
                rows.delete_setting(name)
            note(rows)

        self._rows.write(write)

    def holds(self, collection: Collection) -> Sequence[Hold]:
        reader, prefix = self._rows.read(), collection_setting(collection.id, HOLDS)
        held = {name.removeprefix(prefix): sealed for name, sealed in reader.settings(prefix).items()}
        keys = {name.partition("/")[0] for name in held} - {ALL}
        names = {row.key: self._sealer.open_subject(row).id for row in reader.subjects(sorted(keys))}
        found = []
        for name, sealed in held.items():
            key, _, id = name.partition("/")
            if key == ALL or key in names:
                said = json.loads(self._sealer.open_of(collection, HOLD, sealed, name))
                found.append(Hold(id, names.get(key), said["reason"], said["by"], said["at"]))
        return sorted(found, key=lambda hold: (hold.at, hold.id))

    def _require(self, rows: RowReader, collection: Collection) -> CollectionRow:
        """The collection's row. Raises: CollectionNotFound if it is gone."""
        row = rows.collection_by_lookup(self._sealer.collection_lookup(collection.name))
        if row is None or row.id != collection.id:
            raise CollectionNotFound("there is no such collection")
        return row


def _id_of(name: str) -> str:
    return name.rpartition("/")[2]
