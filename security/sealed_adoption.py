"""Takes a collection of another deployment in: new keys, the same ids, and each batch whole or not at all.

That an export was begun or taken in stands sealed among the deployment's settings, under a keyed hash of its id, and
stays after its collection is deleted: so the same file, put back later, does not bring back whom an erasure took away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from lookalike.domain import AuditEntry, Collection, NewSample, Subject
from lookalike.errors import CollectionExists, CollectionNotFound, Conflict
from lookalike.exports import ExportHead
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter, collection_setting
from security.audit import SealedAuditLog
from security.elsewhere import EXPORTED
from security.envelope import open_sealed, seal
from security.key_wrap import wrapping_key_id
from security.keys import KeyRing, until_unmoved
from security.sealed_codec import canonical
from security.sealed_rows import RowSealer

ADOPTED = "adoption/"
"""Begins the name of each setting that says which export came here."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an export that came here. done: it was taken in whole.

    origin: the random id of the collection that it was made of, collection: of the one that it became.
    """

    origin: str
    collection: str
    done: bool


class SealedAdoption:
    """The port Adoption over rows that hold ciphertext only."""

    def __init__(self, rows: Rows, keyring: KeyRing, audit: SealedAuditLog) -> None:
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._sealer = RowSealer(keyring)
        self._sealing = keyring.derived_key("adoptions")

    def begin(self, head: ExportHead, collection: Collection, entry: AuditEntry, *, again: bool) -> Collection:
        here = {row.id: self._sealer.open_collection(row) for row in self._rows.read().collections()}
        known = self._known()
        unfinished = known.get(head.id)
        if unfinished is not None and not unfinished.done and (there := here.get(unfinished.collection)) is not None:
            if there.name != collection.name or there.space != collection.space:
                raise Conflict(f"an import of this export is unfinished as {there.name!r}: finish or delete that first")
            return there
        copies = {head.origin, *(other.collection for other in known.values() if other.origin == head.origin)}
        for id in sorted(copies & here.keys()):
            raise Conflict(f"the collection of this export is here already, as {here[id].name!r}")
        if unfinished is not None and not again:
            raise Conflict("this export was taken in before: whoever was erased since would come back with it")
        note = self._audit.prepare(replace(entry, details={**entry.details, "begun": 1}))

        def attempt() -> None:
            row = self._sealer.new_collection(collection)

            def create(rows: RowWriter) -> None:
                for name in (collection.name, collection.name.rpartition(".")[0]):
                    if rows.collection_by_lookup(self._sealer.collection_lookup(name)) is not None:
                        raise CollectionExists("there is a collection of this name already: name another one")
                self._keyring.root.require_current(rows, row.wrapped_key)
                rows.put_collection(row)
                self._put_known(rows, head.id, Known(head.origin, collection.id, done=False))
                note(rows)

            self._rows.write(create)

        try:
            until_unmoved(attempt)
        except BaseException:
            self._keyring.forget_collection(collection.id)
            raise
        return collection

    def adopt(self, collection: Collection, subject: Subject, samples: Sequence[tuple[NewSample, float]]) -> int:
        return until_unmoved(lambda: self._adopt(collection, subject, samples))

    def _adopt(self, collection: Collection, subject: Subject, samples: Sequence[tuple[NewSample, float]]) -> int:
        lookup = self._sealer.subject_lookup(collection, subject.id)
        there = self._rows.read().subject_by_lookup(collection.id, lookup)
        if there is None:
            row, key, _ = self._sealer.new_subject(collection, subject, subject.created_at)
        else:
            row, key = there, self._sealer.subject_key(there)
        sealed = [(self._sealer.seal_sample(collection, row.key, key, new, at), at) for new, at in samples]

        def put(rows: RowWriter) -> int:
            if there is None:
                self._keyring.require_newest(self._row_of(rows, collection), wrapping_key_id(row.wrapped_key))
                rows.put_subject(row)
            added = 0
            for sample, at in sealed:
                before = rows.sample_by_id(sample.new.id)
                if before is not None and before.subject_key != row.key:
                    raise Conflict("a sample of this export is in another collection here: an export is for elsewhere")
                if before is None:
                    rows.add_sample(
                        sample.new.id, collection.id, row.key, sample.payload, at, sample.blobs, sample.space
                    )
                    added += 1
            return added

        return self._rows.write(put)

    def finish(self, head: ExportHead, collection: Collection, name: str, entry: AuditEntry) -> Collection:
        note, whole = self._audit.prepare(entry), replace(collection, name=name)
        lookup = self._sealer.collection_lookup(name)

        def put(rows: RowWriter) -> None:
            row = self._row_of(rows, collection)
            if rows.collection_by_lookup(lookup) is not None:
                raise CollectionExists("there is a collection of this name already: name another one")
            rows.put_collection(replace(row, lookup=lookup, payload=self._sealer.changed_collection(row, whole)))
            self._put_known(rows, head.id, Known(head.origin, collection.id, done=True))
            note(rows)

        self._rows.write(put)
        return whole

    def note_export(self, collection: Collection, export: str, recipient: str, at: float, entry: AuditEntry) -> None:
        note = self._audit.prepare(entry)
        held = canonical({"recipient": recipient, "at": at})

        def put(rows: RowWriter) -> None:
            sealed = self._sealer.seal_of(self._row_of(rows, collection), "exported", held, export)
            rows.put_setting(collection_setting(collection.id, EXPORTED + export), sealed)
            note(rows)

        self._rows.write(put)

    def _row_of(self, rows: RowReader, collection: Collection) -> CollectionRow:
        row = rows.collection_by_lookup(self._sealer.collection_lookup(collection.name))
        if row is None or row.id != collection.id:
            raise CollectionNotFound("the collection was deleted meanwhile")
        return row

    # ------------------------------------------------------------------------------------------- known ones

    def _known(self) -> dict[str, Known]:
        """By the export's id."""
        found = {}
        for name, sealed in self._rows.read().settings(ADOPTED).items():
            held = json.loads(open_sealed(self._sealing, sealed, self._keyring.context("adoption", record=name)))
            found[held["export"]] = Known(held["origin"], held["collection"], held["done"])
        return found

    def _put_known(self, rows: RowWriter, export: str, known: Known) -> None:
        name = ADOPTED + self._keyring.lookup("adoption", export.encode())[:16].hex()
        held = canonical({"export": export, **asdict(known)})
        rows.put_setting(name, seal(self._sealing, held, self._keyring.context("adoption", record=name)))
