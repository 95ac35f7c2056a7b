"""What is known of copies that an erasure cannot reach: collections sent to others, and backups made meanwhile."""

from __future__ import annotations

import json
import struct

from lookalike.domain import Collection, Copy
from lookalike.ports import RowReader, RowWriter, collection_setting
from security.sealed_rows import RowSealer

EXPORTED = "exported/"
"""Begins, within a collection's own settings, the name of each that says where a copy went."""

EXPORTS, BACKUPS = "exports", "backups"
"""In a receipt's `pending`: copies with others, and sealed backups, hold what was erased until they are gone."""

_LAST_BACKUP = "backup.last"
_TIME = struct.Struct(">d")


def note_backup(rows: RowWriter, at: float) -> None:
    """Remember that a backup is being made. at: seconds since 1970."""
    rows.put_setting(_LAST_BACKUP, _TIME.pack(at))


def backed_up_at(rows: RowReader) -> float:
    """When the last backup was begun, 0 where there was none."""
    held = rows.get_setting(_LAST_BACKUP)
    return float(_TIME.unpack(held)[0]) if held is not None else 0.0


def copies_of(rows: RowReader, sealer: RowSealer, collection: Collection, since: float) -> list[Copy]:
    """Copies that went to others and may hold somebody known since then, oldest first."""
    prefix, found = collection_setting(collection.id, EXPORTED), []
    for name, sealed in rows.settings(prefix).items():
        export = name.removeprefix(prefix)
        held = json.loads(sealer.open_of(collection, "exported", sealed, export))
        if held["at"] >= since:
            found.append(Copy(export, held["recipient"], held["at"]))
    return sorted(found, key=lambda copy: (copy.at, copy.export))


def elsewhere(
    rows: RowReader, sealer: RowSealer, collection: Collection, since: float
) -> tuple[dict[str, str | int], tuple[str, ...]]:
    """For a receipt of somebody known since then: what goes into its body, and what is pending.

    exported: export and recipient's key, parted by semicolons; backed_up_until: when the last backup that may hold it
    was begun, seconds since 1970.
    """
    facts: dict[str, str | int] = {}
    if copies := copies_of(rows, sealer, collection, since):
        facts["exported"] = "; ".join(f"{copy.export} to {copy.recipient}" for copy in copies)
    if (last := backed_up_at(rows)) >= since and last:
        facts["backed_up_until"] = int(last)
    pending = ((EXPORTS,) if copies else ()) + ((BACKUPS,) if "backed_up_until" in facts else ())
    return facts, pending
