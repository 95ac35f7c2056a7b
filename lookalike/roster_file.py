"""A roster as bytes for a snapshot, written and read piece by piece, so that no vector is held twice on the way.

Layout: magic "LKROSTER1" | length of the header 4, big-endian | header, JSON | labels int64 | owners of 16 bytes each |
vectors float32, none where a server keeps them; numbers are little-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.domain import Floats, Labels, Space
from lookalike.errors import TamperedData
from lookalike.owners import KEY_BYTES
from lookalike.ports import Plaintext

MAGIC = b"LKROSTER1"
BLOCK_ROWS, BLOCK_BYTES = 2**14, 2**23
"""Vectors are read in blocks of at most so many rows and bytes, each of which is in memory beside the index."""

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Held:
    """What a snapshot says. seq: the change it is of; labels: (N,) ascending; keys: (N, 16) of their owners.

    blocks: the vectors in that order, (B, D) float32 each, read as they are asked for; none without vectors.
    """

    seq: int
    labels: Labels
    keys: NDArray[np.uint8]
    blocks: Iterator[Floats]
    with_vectors: bool


def written(
    seq: int, space: Space, labels: Labels, keys: NDArray[np.uint8], blocks: Iterable[Floats] | None
) -> Iterator[bytes]:
    """The bytes of a roster. blocks: its vectors, (N, D) in all, None where a server keeps them."""
    facts = {"seq": seq, "rows": len(labels), "space": _space_json(space), "vectors": blocks is not None}
    header = json.dumps(facts, sort_keys=True).encode()
    yield MAGIC + _LENGTH.pack(len(header)) + header
    yield labels.astype("<i8").tobytes()
    yield keys.tobytes()
    for block in blocks or ():
        yield np.ascontiguousarray(block, dtype="<f4").tobytes()


def read(snapshot: Plaintext, space: Space, newest: int) -> Held | None:
    """What a snapshot holds; None unless it is whole, of this space, and of no later change than `newest`.

    Raises: TamperedData, OSError, also from its blocks.
    """
    pieces = _Pieces(snapshot.pieces)
    start = len(MAGIC) + _LENGTH.size
    if snapshot.size < start or pieces.take(len(MAGIC)) != MAGIC:
        return None
    (length,) = _LENGTH.unpack(pieces.take(_LENGTH.size))
    if snapshot.size < start + length:
        return None
    header = json.loads(pieces.take(length))
    rows, with_vectors = int(header["rows"]), bool(header.get("vectors", True))
    dimension = space.dimension if with_vectors else 0
    if header["space"] != _space_json(space) or header["seq"] > newest:
        return None
    if snapshot.size != start + length + rows * (8 + KEY_BYTES + 4 * dimension):
        return None
    labels = np.frombuffer(pieces.take(rows * 8), dtype="<i8").astype(np.int64)
    keys = np.frombuffer(pieces.take(rows * KEY_BYTES), dtype=np.uint8).reshape(rows, KEY_BYTES)
    blocks = _blocks(pieces, rows, dimension) if with_vectors else iter(())
    return Held(int(header["seq"]), labels, keys, blocks, with_vectors)


def _blocks(pieces: _Pieces, rows: int, dimension: int) -> Iterator[Floats]:
    most = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * dimension)))
    for start in range(0, rows, most):
        count = min(most, rows - start)
        block: Floats = np.frombuffer(pieces.take(count * 4 * dimension), dtype="<f4").reshape(count, dimension)
        yield block.astype(np.float32, copy=False)


class _Pieces:
    """Bytes that come in pieces of any size, taken in others."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def take(self, count: int) -> bytearray:
        """The next so many. Raises: TamperedData if there are fewer."""
        taken = bytearray(count)
        at = 0
        while at < count:
            while not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    raise TamperedData("a snapshot became shorter while it was read")
                self._rest = memoryview(piece)
            some = self._rest[: count - at]
            taken[at : at + len(some)] = some
            at, self._rest = at + len(some), self._rest[len(some) :]
        return taken


def _space_json(space: Space) -> list[str | int]:
    return [space.model, space.dimension, space.preprocessing]
