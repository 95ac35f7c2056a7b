"""Moves the root from one place to another while services run: all that it wraps is wrapped anew in one transaction.

A kill before the commit leaves the old root in force, after it the new one; what was made of the new root before, such
as a key file, is taken up by the next try. Services that run follow by a handover (root.py) for some minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lookalike.domain import AuditEntry
from lookalike.errors import Conflict, TamperedData
from lookalike.ports import Rows, RowWriter
from security.audit import SealedAuditLog
from security.envelope import key_id_of, open_sealed, seal
from security.erasure import scrub
from security.keys import KEY_NAMES, KeyRing
from security.root import HANDOVER, PROBE_SETTING, Root
from security.root_key import NewRoot, RootFacts, kept_settings, root_facts

HANDOVER_S = 600.0


@dataclass(frozen=True, slots=True)
class Moved:
    """before: where the root came from; collections: whose keys were wrapped anew; until: handed over, None if not."""

    before: RootFacts
    root_id: str
    collections: int
    until: float | None


def move_root(
    rows: Rows, keyring: KeyRing, audit: SealedAuditLog, new: NewRoot, entry: AuditEntry, *, until: float | None
) -> Moved:
    """Put another root in force. until: how long services that run may follow, seconds since 1970; None for not at all.

    Raises: Conflict if somebody else moved it meanwhile, or it is the root already.
    """
    before, old = root_facts(rows.read()), keyring.root

    def work(tx: RowWriter) -> int:
        probe = tx.get_setting(PROBE_SETTING)
        if probe is None or key_id_of(probe) != old.id:
            raise Conflict("the root was moved by somebody else meanwhile: look at `lookalike keys status`")
        if new.key.id == old.id:
            raise Conflict("this is the root key already: name another one")
        for name in KEY_NAMES:
            _rewrap_setting(tx, keyring, old, new, name)
        collections = tx.collections()
        for row in collections:
            context = keyring.context("collection-key", collection=row.id)
            tx.put_collection(replace(row, wrapped_key=seal(new.key, old.open(row.wrapped_key, context), context)))
        _keep(tx, new.kept)
        if until is None:
            for name in tx.settings(HANDOVER):
                tx.delete_setting(name)
        else:
            old.hand_over(tx, keyring.deployment, new.key, until)
        details = {**entry.details, "collections": len(collections), "root": new.key.id.hex()}
        audit.prepare(replace(entry, details=details))(tx)
        return len(collections)

    count = rows.write(work)
    old.replace(new.key)
    scrub(rows)
    return Moved(before, new.key.id.hex(), count, until)


def _rewrap_setting(tx: RowWriter, keyring: KeyRing, old: Root, new: NewRoot, name: str) -> None:
    held, context = tx.get_setting(f"key.{name}"), keyring.context("deployment-key", record=name)
    if held is None:
        raise TamperedData(f"the {name} key of this data folder is gone")
    plain = old.open(held, context)
    fresh = seal(new.key, plain, context)
    if open_sealed(new.key, fresh, context) != plain:
        raise TamperedData("a key does not come back as it was wrapped")
    tx.put_setting(f"key.{name}", fresh)


def _keep(tx: RowWriter, kept: Mapping[str, bytes]) -> None:
    """What the root in force keeps beside the data, and nothing of another."""
    for name in kept_settings():
        if name not in kept:
            tx.delete_setting(name)
    for name, value in kept.items():
        tx.put_setting(name, value)
