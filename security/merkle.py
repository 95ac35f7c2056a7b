"""The Merkle tree of RFC 6962 over a growing list of leaves: its root, and proofs that anyone can check.

    root of no leaves  = SHA-256()
    leaf               = SHA-256(0x00 | entry)
    node               = SHA-256(0x01 | left | right)
    root of n > 1      = node(root of the first k, root of the rest), k the largest power of two below n

Invariants: a `Frontier` holds the roots of the perfect subtrees that n leaves fall into, one for each bit of n, so a
leaf is added in O(log n), O(1) on average, and nothing else has to be kept for the next root. Proofs are made from
whatever gives the roots of perfect subtrees, and checked from the two roots and the proof alone.

Source: https://www.rfc-editor.org/rfc/rfc6962#section-2.1, and RFC 9162, 2.1.3 and 2.1.4, for checking proofs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

HASH_BYTES = 32
EMPTY = hashlib.sha256(b"").digest()

_SIZE_BYTES = 8

Perfect = Callable[[int, int], bytes]
"""(level, index) → the root of the leaves index·2^level up to (index + 1)·2^level, not included."""

Done = Callable[[int, int, bytes], None]
"""Is told of a perfect subtree that became whole: its level, index and root."""


def leaf_hash(entry: bytes) -> bytes:
    """The leaf of an entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The root over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """The right edge of a tree. size: leaves so far; peaks: roots of its perfect subtrees, the largest first."""

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def add(self, leaf: bytes, done: Done | None = None) -> None:
        """Take one more leaf. done: is told of each perfect subtree of two leaves or more that it makes whole."""
        index, level = self.size, 0
        while index & 1:
            leaf = node_hash(self.peaks.pop(), leaf)
            index >>= 1
            level += 1
            if done is not None:
                done(level, index, leaf)
        self.peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Of all leaves so far."""
        if not self.peaks:
            return EMPTY
        found = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            found = node_hash(peak, found)
        return found

    def copy(self) -> Frontier:
        return Frontier(self.size, list(self.peaks))

    def encode(self) -> bytes:
        """size 8, big-endian, then the peaks."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self.peaks)


def decode_frontier(data: bytes) -> Frontier:
    """Raises: ValueError unless it has as many peaks as its size has bits."""
    size, rest = int.from_bytes(data[:_SIZE_BYTES], "big"), data[_SIZE_BYTES:]
    if len(data) < _SIZE_BYTES or len(rest) != size.bit_count() * HASH_BYTES:
        raise ValueError("not the frontier of a tree")
    return Frontier(size, [rest[at : at + HASH_BYTES] for at in range(0, len(rest), HASH_BYTES)])


# ------------------------------------------------------------------------------------------------ making proofs


def subtree(perfect: Perfect, first: int, end: int) -> bytes:
    """The root of the leaves first up to end, not included; first is a multiple of a power of two ≥ their number."""
    count = end - first
    if count == 0:
        return EMPTY
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return perfect(level, first >> level)
    middle = first + _split(count)
    return node_hash(subtree(perfect, first, middle), subtree(perfect, middle, end))


def inclusion_proof(perfect: Perfect, index: int, size: int) -> list[bytes]:
    """The path from leaf `index`, counted from 0, to the root of the first `size` leaves."""
    path: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            path.append(subtree(perfect, middle, end))
            end = middle
        else:
            path.append(subtree(perfect, first, middle))
            first = middle
    return path[::-1]


def consistency_proof(perfect: Perfect, earlier: int, size: int) -> list[bytes]:
    """That the first `earlier` leaves are the beginning of the first `size`; empty for 0 and for equal sizes."""
    if earlier in (0, size):
        return []
    path: list[bytes] = []
    first, end, whole = 0, size, True
    while earlier != end:
        middle = first + _split(end - first)
        if earlier <= middle:
            path.append(subtree(perfect, middle, end))
            end = middle
        else:
            path.append(subtree(perfect, first, middle))
            first, whole = middle, False
    if not whole:
        path.append(subtree(perfect, first, end))
    return path[::-1]


def _split(count: int) -> int:
    """The largest power of two below count, which is 2 or more."""
    return 1 << ((count - 1).bit_length() - 1)


# ---------------------------------------------------------------------------------------------- checking proofs


def root_by_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that the proof leads to, for the caller to compare. Raises: ValueError for one of the wrong length."""
    if not 0 <= index < size:
        raise ValueError("the entry lies outside the tree")
    at, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise ValueError("the proof is too long")
        if at & 1 or at == last:
            found = node_hash(step, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ValueError("the proof is too short")
    return found


def roots_by_consistency(earlier: int, size: int, proof: Sequence[bytes], first_root: bytes) -> tuple[bytes, bytes]:
    """The (earlier, later) roots that the proof leads to. first_root: of the earlier tree, which a proof of a power of
    two leaves out.

    Raises: ValueError for a proof of the wrong length.
    """
    if not 0 < earlier < size:
        raise ValueError("a proof leads from a tree with leaves to a larger one")
    steps = [first_root, *proof] if earlier & (earlier - 1) == 0 else list(proof)
    if not steps:
        raise ValueError("the proof is too short")
    at, last = earlier - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ValueError("the proof is too long")
        if at & 1 or at == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, step)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ValueError("the proof is too short")
    return old, new
