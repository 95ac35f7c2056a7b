"""Seals anew what is sealed under a collection's key itself, when that gets a new version: little, beside the records.

It is the collection's own row, what it learned from itself, and the settings that go with it. A setting that this
release does not know is never passed over: then the rotation fails, and the old version is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from lookalike.errors import TamperedData
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter, collection_setting
from security import sealed_pending as pending
from security.collection_keys import HISTORY
from security.elsewhere import EXPORTED
from security.envelope import MAGIC as ENVELOPE
from security.envelope import Context, key_id_of, open_sealed, seal
from security.holds import HOLD, HOLDS
from security.keys import KeyRing
from security.sealed_probe_days import PROBES
from security.sealed_retention import RETENTION
from security.sealed_rows import micros
from security.sealed_unknowns import CROPS, ROWS, UNKNOWN, UNKNOWN_CROP

BATCH = 100

_TYPES = {
    EXPORTED: "exported",
    PROBES: "probes",
    ROWS: UNKNOWN,
    CROPS: UNKNOWN_CROP,
    pending.ROWS: pending.PENDING,
    pending.FACES: pending.PENDING_FACE,
    HOLDS: HOLD,
    RETENTION: RETENTION,
}
"""How the names of a collection's sealed settings begin → what they are sealed as; the rest is the record."""


def reseal(rows: Rows, keyring: KeyRing, row_of: Callable[[RowReader], CollectionRow]) -> None:
    """Bring all that is sealed under a collection's key to the newest version in its row, some at a time.

    row_of: the collection's row as a transaction sees it. Raises: TamperedData.
    """
    row = row_of(rows.read())
    prefix = collection_setting(row.id)
    names = [name for name, held in rows.read().settings(prefix).items() if _is_of_key(name.removeprefix(prefix), held)]

    def some(tx: RowWriter, batch: list[str]) -> None:
        owner = row_of(tx)
        for name in batch:
            held = tx.get_setting(name)
            if held is not None:
                fresh = _resealed(keyring, owner, held, _context_of(keyring, row.id, name.removeprefix(prefix)))
                if fresh != held:
                    tx.put_setting(name, fresh)

    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        rows.write(partial(some, batch=batch))
    rows.write(lambda tx: _reseal_row(tx, keyring, row_of(tx)))


def needed(rows: RowReader, row: CollectionRow, newest: bytes) -> bool:
    """Whether anything that is sealed under the collection's key is not sealed by the version of this id."""
    prefix = collection_setting(row.id)
    settings = rows.settings(prefix).items()
    sealed = [held for name, held in settings if _is_of_key(name.removeprefix(prefix), held)]
    return any(key_id_of(held) != newest for held in [row.payload, *rows.calibrations(row.id).values(), *sealed])


def _reseal_row(tx: RowWriter, keyring: KeyRing, row: CollectionRow) -> None:
    context = keyring.context("collection", collection=row.id, version=micros(row.created_at))
    payload = _resealed(keyring, row, row.payload, context)
    if payload != row.payload:
        tx.put_collection(replace(row, payload=payload))
    for space, held in tx.calibrations(row.id).items():
        fresh = _resealed(keyring, row, held, keyring.context("calibration", collection=row.id))
        if fresh != held:
            tx.put_calibration(row.id, space, fresh)


def _resealed(keyring: KeyRing, row: CollectionRow, held: bytes, context: Context) -> bytes:
    """The same under the newest version in the row; as it is where it is that already."""
    keys, id = keyring.keys_in(row), key_id_of(held)
    if id == keys.newest.id:
        return held
    if id not in keys.by_id:
        raise TamperedData("something of a collection is sealed by a key that it does not have, or has no longer")
    return seal(keys.newest, open_sealed(keys.by_id[id], held, context), context)


def _is_of_key(name: str, held: bytes) -> bool:
    """Whether a setting of a collection is sealed under its key. Raises: TamperedData for one that is not known."""
    if name == HISTORY or not held.startswith(ENVELOPE):
        return False
    if not any(name.startswith(kind) for kind in _TYPES):
        raise TamperedData("a collection has a sealed setting that this release does not know: rotate with a newer one")
    return True


def _context_of(keyring: KeyRing, collection_id: str, name: str) -> Context:
    kind = next(kind for kind in _TYPES if name.startswith(kind))
    return keyring.context(_TYPES[kind], collection=collection_id, record=name.removeprefix(kind))
