"""The audit log's Merkle tree: its leaves, what is kept of it beside the log, and proofs made from that.

    leaf of an entry = SHA-256(0x00 | number 8, big-endian | time 8, IEEE 754 big-endian | sealed entry)

Nothing is written for the tree when an entry is appended. Where a checkpoint is signed, the frontier kept with the one
before is grown by the entries since, and the roots of perfect subtrees from 256 leaves on are kept as settings, so that
a proof in a log of millions reads some hundred rows. All of it is derived: the rows and the chain over them say what
it must be, and a damaged tree is made anew from them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from lookalike.errors import TamperedData
from lookalike.ports import AuditRow, RowReader, RowWriter
from security.checkpoints import Checkpoint
from security.merkle import (
    Done,
    Frontier,
    consistency_proof,
    decode_frontier,
    inclusion_proof,
    leaf_hash,
    node_hash,
    subtree,
)

TREE_SETTING = "audit.tree"
"""The frontier of the entries that the checkpoint beside the log covers."""

NODES = "audit.node/"
KEPT_FROM_LEVEL = 8
PAGE = 1000
_PLACE = struct.Struct(">Qd")


def genesis(deployment: str) -> bytes:
    """The chain value before the first entry."""
    return hashlib.sha256(b"\x03" + deployment.encode("ascii")).digest()


def chained(before: bytes, seq: int, at: float, payload: bytes) -> bytes:
    """The chain value of an entry. before: of the entry before it."""
    leaf = hashlib.sha256(b"\x00" + payload).digest()
    return hashlib.sha256(b"\x02" + before + _PLACE.pack(seq, at) + leaf).digest()


def entry_leaf(seq: int, at: float, payload: bytes) -> bytes:
    """The leaf that stands for an entry in the tree."""
    return leaf_hash(_PLACE.pack(seq, at) + payload)


def rows_after(reader: RowReader, seq: int) -> Iterator[AuditRow]:
    """Every entry after this one, in order."""
    while page := reader.audit_page(seq, PAGE):
        yield from page
        seq = page[-1].seq


class LogTree:
    """The tree over the rows that a reader sees."""

    def __init__(self, reader: RowReader, deployment: str) -> None:
        self._reader = reader
        self._deployment = deployment

    def kept(self, checkpoint: Checkpoint | None) -> Frontier | None:
        """The frontier beside the log, if it is the one that this checkpoint, the last one, signed."""
        held = self._reader.get_setting(TREE_SETTING)
        if held is None or checkpoint is None:
            return None
        try:
            frontier = decode_frontier(held)
        except ValueError:
            return None
        return frontier if (frontier.size, frontier.root()) == (checkpoint.seq, checkpoint.root) else None

    def grown(self, checkpoint: Checkpoint | None, done: Done | None = None) -> Frontier:
        """The frontier of all entries. checkpoint: the last one that was signed.

        done: is told of perfect subtrees that were not whole before. What was signed before is compared with the
        rows, and the chain since is followed, so that nothing is signed over a log that was changed on the disk.
        Raises: TamperedData.
        """
        found = self.kept(checkpoint)
        frontier, chain = Frontier(), genesis(self._deployment)
        if found is not None and checkpoint is not None:
            self._require_entry(checkpoint)
            frontier, chain = found, checkpoint.chain
        for row in rows_after(self._reader, frontier.size):
            chain = self._followed(chain, frontier.size + 1, row)
            frontier.add(entry_leaf(row.seq, row.at, row.payload), done)
            if found is None and checkpoint is not None and row.seq == checkpoint.seq:
                _require_same(checkpoint, chain, frontier)
        if checkpoint is not None and frontier.size < checkpoint.seq:
            raise TamperedData(f"the end of the audit log was removed: {checkpoint.seq} entries were signed")
        return frontier

    def _followed(self, chain: bytes, expected: int, row: AuditRow) -> bytes:
        if row.seq != expected or row.chain != chained(chain, row.seq, row.at, row.payload):
            raise TamperedData(f"the audit log is broken at entry {expected}")
        return row.chain

    def _require_entry(self, checkpoint: Checkpoint) -> None:
        page = self._reader.audit_page(checkpoint.seq - 1, 1)
        if not page or page[0].seq != checkpoint.seq:
            raise TamperedData(f"the end of the audit log was removed: {checkpoint.seq} entries were signed")
        if page[0].chain != checkpoint.chain:
            raise TamperedData("the audit log is not the one that its last checkpoint signed")

    # ---------------------------------------------------------------------------------------------- proofs

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        """The path from an entry to the root of the first `size` entries."""
        return inclusion_proof(self._perfect, seq - 1, size)

    def consistency(self, earlier: int, size: int) -> list[bytes]:
        """That the first `earlier` entries are the beginning of the first `size`."""
        return consistency_proof(self._perfect, earlier, size)

    def frontier(self, size: int) -> Frontier:
        """The frontier of the first `size` entries, from what is kept."""
        frontier, first = Frontier(size), 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                frontier.peaks.append(self._perfect(level, first >> level))
                first += 1 << level
        return frontier

    def root(self, size: int) -> bytes:
        return subtree(self._perfect, 0, size)

    def _perfect(self, level: int, index: int) -> bytes:
        if level >= KEPT_FROM_LEVEL:
            held = self._reader.get_setting(_node_name(level, index))
            if held is not None:
                return held
        if level > KEPT_FROM_LEVEL:
            return node_hash(self._perfect(level - 1, 2 * index), self._perfect(level - 1, 2 * index + 1))
        return self._of_rows(index << level, 1 << level)

    def _of_rows(self, first: int, count: int) -> bytes:
        frontier = Frontier()
        for row in self._reader.audit_page(first, count):
            frontier.add(entry_leaf(row.seq, row.at, row.payload))
        if frontier.size != count:
            raise TamperedData("entries are missing from the audit log")
        return frontier.root()


def keep_tree(rows: RowWriter, frontier: Frontier, nodes: dict[tuple[int, int], bytes]) -> None:
    """Keep what the next checkpoint and proofs are made from. nodes: perfect subtrees by (level, index)."""
    rows.put_setting(TREE_SETTING, frontier.encode())
    for (level, index), root in nodes.items():
        rows.put_setting(_node_name(level, index), root)


def _require_same(checkpoint: Checkpoint, chain: bytes, frontier: Frontier) -> None:
    if chain != checkpoint.chain or checkpoint.root not in (None, frontier.root()):
        raise TamperedData("the audit log is not the one that its last checkpoint signed")


def _node_name(level: int, index: int) -> str:
    return f"{NODES}{level:02d}/{index:012d}"
