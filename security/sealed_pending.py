"""Identifications that wait for two people, sealed under their collection's key, as settings that go with it.

In the clear stand the collection's random id and a random id for each: not who searched, whom it may be, nor when. A
row and a face are bound to their id, so that none can take another's place. They are left out of backups, whose ledger
tells nothing of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence

from lookalike.domain import AuditEntry, Collection
from lookalike.errors import CollectionNotFound, Conflict, TamperedData
from lookalike.four_eyes import Pending, PendingState, Suspect, Verdict
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter, collection_setting
from security.audit import SealedAuditLog
from security.collection_keys import mark_due
from security.erasure import scrub
from security.keys import KeyRing
from security.sealed_codec import canonical
from security.sealed_rows import RowSealer

ROWS, FACES = "pending/", "pending-faces/"
"""Begin, within a collection's own settings, the names of those that hold a row or a face; its id follows."""

PENDING, PENDING_FACE = "pending", "pending face"
"""What they are sealed as."""


class SealedPending:
    """The port PendingStore."""

    def __init__(
        self, rows: Rows, keyring: KeyRing, audit: SealedAuditLog, clock: Callable[[], float] = time.time
    ) -> None:
        self._rows = rows
        self._audit = audit
        self._clock = clock
        self._sealer = RowSealer(keyring)

    def put(
        self, collection: Collection, rows: Sequence[Pending], faces: Mapping[str, bytes], entry: AuditEntry
    ) -> None:
        note = self._audit.prepare(entry)

        def write(tx: RowWriter) -> None:
            owner = self._owner(tx, collection)
            if self._sealer.open_collection(owner).four_eyes_days is None:
                raise CollectionNotFound("the collection's rules were changed meanwhile: ask again")
            keys = {suspect.subject_key for row in rows for suspect in row.suspects}
            if len(tx.subjects(sorted(keys))) < len(keys):
                raise Conflict("somebody who was found was erased meanwhile: ask again")
            for row in rows:
                self._put(tx, owner, row)
            for id, face in faces.items():
                sealed = self._sealer.seal_of(owner, PENDING_FACE, face, id)
                tx.put_setting(collection_setting(collection.id, FACES + id), sealed)
            note(tx)

        self._rows.write(write)

    def rows(self, collection: Collection) -> list[Pending]:
        prefix = collection_setting(collection.id, ROWS)
        held = self._rows.read().settings(prefix)
        return [self._open(collection, name.removeprefix(prefix), held[name]) for name in held]

    def one(self, collection: Collection, id: str) -> Pending | None:
        held = self._rows.read().get_setting(collection_setting(collection.id, ROWS + id))
        return None if held is None else self._open(collection, id, held)

    def face(self, collection: Collection, id: str) -> bytes | None:
        held = self._rows.read().get_setting(collection_setting(collection.id, FACES + id))
        return None if held is None else self._sealer.open_of(collection, PENDING_FACE, held, id)

    def change(
        self, collection: Collection, id: str, change: Callable[[Pending], Pending], entry: AuditEntry
    ) -> Pending | None:
        note = self._audit.prepare(entry)

        def write(tx: RowWriter) -> Pending | None:
            owner = self._owner(tx, collection)
            held = tx.get_setting(collection_setting(collection.id, ROWS + id))
            if held is None:
                return None
            after = change(self._open(collection, id, held))
            self._put(tx, owner, after)
            if after.state is not PendingState.PENDING and tx.delete_setting(
                collection_setting(collection.id, FACES + id)
            ):
                mark_due(tx, collection.id, self._clock())
            note(tx)
            return after

        return self._rows.write(write)

    def drop(self, collection: Collection, ids: Sequence[str], entry: AuditEntry | None) -> None:
        note = None if entry is None else self._audit.prepare(entry)

        def write(tx: RowWriter) -> None:
            gone = [
                tx.delete_setting(collection_setting(collection.id, kind + id)) for kind in (ROWS, FACES) for id in ids
            ]
            if any(gone):
                mark_due(tx, collection.id, self._clock())
            if note is not None:
                note(tx)

        self._rows.write(write)
        scrub(self._rows)

    def _owner(self, rows: RowReader, collection: Collection) -> CollectionRow:
        row = rows.collection_by_lookup(self._sealer.collection_lookup(collection.name))
        if row is None or row.id != collection.id:
            raise CollectionNotFound("there is no such collection")
        return row

    def _put(self, tx: RowWriter, owner: CollectionRow, row: Pending) -> None:
        sealed = self._sealer.seal_of(owner, PENDING, encode(row), row.id)
        tx.put_setting(collection_setting(owner.id, ROWS + row.id), sealed)

    def _open(self, collection: Collection, id: str, payload: bytes) -> Pending:
        return decode(id, self._sealer.open_of(collection, PENDING, payload, id))


def of_pending(setting: str) -> bool:
    """Whether a setting of this name is part of what is kept here."""
    return any(f"/{kind}" in setting for kind in (ROWS, FACES))


def encode(row: Pending) -> bytes:
    """JSON."""
    return canonical(
        {
            "v": 1,
            "at": [row.created_at, row.decided_at],
            "days": row.days,
            "by": row.asked_by,
            "state": row.state.value,
            "suspects": [[s.subject_key, s.sample_id, float(s.similarity), s.fpir] for s in row.suspects],
            "verdicts": [[verdict.principal, verdict.subject_key] for verdict in row.verdicts],
        }
    )


def decode(id: str, data: bytes) -> Pending:
    """The row. Raises: TamperedData for a layout that this version does not write."""
    held = json.loads(data)
    if held["v"] != 1:
        raise TamperedData("a pending identification has another layout than this version writes")
    created, decided = held["at"]
    return Pending(
        id,
        created,
        held["days"],
        held["by"],
        tuple(Suspect(*suspect) for suspect in held["suspects"]),
        tuple(Verdict(*verdict) for verdict in held["verdicts"]),
        PendingState(held["state"]),
        decided,
    )
