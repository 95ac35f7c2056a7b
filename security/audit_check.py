"""Checks an audit log from its first entry on, by rows alone: order, chain, tree, and signed checkpoints of it.

No key is needed: the deployment's id and its public key stand in the clear. A log that was cut, reordered, or rewritten
and signed anew with the deployment's own key is found out by a checkpoint that was kept elsewhere, since nobody can
make another log with the same root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from lookalike.errors import TamperedData
from lookalike.ports import AuditRow, RowReader
from security.audit_tree import chained, entry_leaf, genesis, rows_after
from security.checkpoints import CHECKPOINT_SETTING, Checkpoint, read_checkpoint
from security.keys import EPOCH_SETTING
from security.merkle import Frontier
from security.past import past_by
from security.root import DEPLOYMENT_SETTING


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a verification found. entries: how many were read; broken_at, reason: the first break, None if sound.

    checkpoints: how many signed ones the log agreed with; covered: the last entry that one of them covers; lost: how
    many are of entries that a restore from a backup left behind; root: of the tree over all entries, hex.
    """

    entries: int
    broken_at: int | None
    reason: str | None
    checkpoints: int = 0
    covered: int = 0
    lost: int = 0
    root: str = ""

    @property
    def sound(self) -> bool:
        return self.broken_at is None


def verify_chain(
    rows: Iterable[AuditRow],
    deployment: str,
    checkpoints: Iterable[Checkpoint] = (),
    open_entry: Callable[[AuditRow], object] | None = None,
) -> AuditReport:
    """Check a log from its first entry. open_entry: also opens each, where the key is at hand."""
    expected: dict[int, set[tuple[bytes, bytes | None]]] = {}
    for checkpoint in checkpoints:
        expected.setdefault(checkpoint.seq, set()).add((checkpoint.chain, checkpoint.root))
    before, tree, agreed, covered = genesis(deployment), Frontier(), 0, 0

    def broken(seq: int, reason: str) -> AuditReport:
        return AuditReport(tree.size, seq, reason, agreed, covered)

    for row in rows:
        seq = tree.size + 1
        if row.seq != seq:
            return broken(seq, "an entry is missing or out of order")
        if row.chain != chained(before, seq, row.at, row.payload):
            return broken(seq, "an entry was changed, or one before it was")
        if open_entry is not None:
            try:
                open_entry(row)
            except TamperedData:
                return broken(seq, "an entry does not open: it was not written by this deployment")
        tree.add(entry_leaf(seq, row.at, row.payload))
        before = row.chain
        for chain, root in expected.get(seq, ()):
            if chain != row.chain or root not in (None, tree.root()):
                return broken(seq, "the log differs from a signed checkpoint: it was rewritten")
            agreed, covered = agreed + 1, seq
    last = max(expected, default=0)
    if last > tree.size:
        return broken(tree.size + 1, f"the end of the log was removed: a signed checkpoint covers {last} entries")
    return AuditReport(tree.size, None, None, agreed, covered, root=tree.root().hex())


def verify_rows(
    reader: RowReader, public_key: bytes, lines: Iterable[bytes], open_entry: Callable[[AuditRow], object] | None = None
) -> AuditReport:
    """Check the log that a reader sees against the checkpoint beside it, and others that were kept elsewhere.

    Raises: TamperedData for a checkpoint that this key did not sign, or records that are of no deployment.
    """
    named, kept = reader.get_setting(DEPLOYMENT_SETTING), reader.get_setting(CHECKPOINT_SETTING)
    if named is None:
        raise TamperedData("these records are of no deployment")
    deployment, epoch = named.decode("ascii"), (reader.get_setting(EPOCH_SETTING) or b"").decode("ascii")
    every = [*([kept] if kept is not None else []), *lines]
    checkpoints = [read_checkpoint(line, deployment, public_key) for line in every]
    past = past_by(reader, epoch, deployment, public_key)
    held = [checkpoint for checkpoint in checkpoints if past.holds(checkpoint.epoch, checkpoint.seq)]
    report = verify_chain(rows_after(reader, 0), deployment, held, open_entry)
    return replace(report, lost=len(checkpoints) - len(held))
