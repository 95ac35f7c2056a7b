"""Sets of rows as one bit a row, lowest bit first: which rows of a segment may be returned.

A bitmap is never written once others can see it: clearing bits makes a new one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.row_rules import Positions

Bitmap = NDArray[np.uint8]
"""One bit a row: 1 where the row may be returned. Bits beyond the last row are 0."""


def bitmap_of(chosen: NDArray[np.bool_]) -> Bitmap:
    """(N,) booleans as a bitmap."""
    return np.packbits(chosen, bitorder="little")


def full_bitmap(count: int) -> Bitmap:
    """A bitmap of so many rows, all of them set."""
    return bitmap_of(np.ones(count, dtype=np.bool_))


def bitmap_at(positions: Positions, count: int) -> Bitmap:
    """A bitmap of `count` rows, these of them set."""
    chosen = np.zeros(count, dtype=np.bool_)
    chosen[positions] = True
    return bitmap_of(chosen)


def positions_in(bitmap: Bitmap, count: int) -> Positions:
    """The positions among the first `count` whose bits are set, ascending."""
    return np.flatnonzero(np.unpackbits(bitmap, count=count, bitorder="little"))


def count_in(bitmap: Bitmap) -> int:
    """How many bits are set."""
    return int(np.bitwise_count(bitmap).sum())


def without(bitmap: Bitmap, positions: Positions) -> Bitmap:
    """A copy of the bitmap with these bits cleared."""
    cleared = bitmap.copy()
    np.bitwise_and.at(cleared, positions >> 3, ~_bit(positions))
    return cleared


def bits_at(bitmap: Bitmap, positions: Positions) -> NDArray[np.bool_]:
    """Whether the bit of each row is set, in the shape of `positions`."""
    found: NDArray[np.bool_] = np.bitwise_and(bitmap[positions >> 3], _bit(positions)) != 0
    return found


def _bit(positions: Positions) -> Bitmap:
    """The bit of each row within its byte of a bitmap."""
    return np.left_shift(np.uint8(1), (positions & 7).astype(np.uint8))
