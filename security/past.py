"""What the records descend from: each restore from a backup begins an epoch and leaves behind what came after it.

A restore is a signed line of the erasure ledger, so nobody can claim one to explain entries away that they removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from lookalike.errors import TamperedData
from lookalike.ports import RowReader, RowWriter
from security.keys import EPOCH_SETTING, KeyRing
from security.ledger import Line, read_line

_RESTORES = "restore/"


@dataclass(frozen=True, slots=True)
class Past:
    """reach: epoch that the records descend from → the last of its audit entries that they hold; None for the present.

    left: epochs that were begun from the same deployment and are not among them.
    """

    reach: Mapping[str, int | None]
    left: frozenset[str]

    def holds(self, epoch: str, seq: int) -> bool:
        """Whether the records hold what was audit entry `seq` of that epoch. Raises: TamperedData."""
        if epoch in self.left:
            return False
        if epoch not in self.reach:
            raise TamperedData("an audit checkpoint is of a copy of this deployment that these records do not know")
        last = self.reach[epoch]
        return last is None or seq <= last


def restores_in(rows: RowReader) -> tuple[bytes, ...]:
    """The lines of the restores that these records have seen."""
    return tuple(rows.settings(_RESTORES).values())


def read_past(rows: RowReader, keyring: KeyRing) -> Past:
    """Raises: TamperedData."""
    return past_by(rows, keyring.epoch, keyring.deployment, keyring.public_key)


def past_by(rows: RowReader, epoch: str, deployment: str, public_key: bytes) -> Past:
    """The past of records, by a public key alone. epoch: the present one. Raises: TamperedData."""
    return past_of(epoch, [read_line(text, deployment, public_key)[0] for text in restores_in(rows)])


def past_of(epoch: str, restores: Iterable[Line]) -> Past:
    """epoch: the present one. Raises: TamperedData where its restore is not among them."""
    begun = {str(line.facts["epoch"]): line for line in restores}
    reach: dict[str, int | None] = {epoch: None}
    while epoch:
        line = begun.get(epoch)
        if line is None or str(line.facts["before"]) in reach:
            raise TamperedData("the restore that these records say they come from is not on record")
        epoch = str(line.facts["before"])
        reach[epoch] = int(line.facts["audit_seq"])
    for later, earlier in pairwise(list(reach)):
        bound, last = reach[later], reach[earlier]
        if bound is not None and last is not None:
            reach[earlier] = min(bound, last)
    return Past(reach, frozenset(begun) - frozenset(reach))


def keep_restore(rows: RowWriter, line: Line) -> None:
    """Remember a restore's line, so that checkpoints of its epoch are understood."""
    rows.put_setting(_RESTORES + str(line.facts["epoch"]), line.text)


def begin_epoch(rows: RowWriter, epoch: str) -> None:
    """From now on the records are of this epoch."""
    rows.put_setting(EPOCH_SETTING, epoch.encode("ascii"))
