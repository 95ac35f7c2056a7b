"""Which segments are rewritten next, so that few remain and none of it costs much at once: pure rules.

Segments below a largest size are kept as the digits of a number are: one is merged with all smaller ones as soon as
they hold as many rows together. A row is copied once per doubling that way, and there are never more segments than
doublings between the smallest and the largest size. Those of half the largest size are left alone, but for the dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LARGEST_ROWS, LARGEST_BYTES = 2**18, 2**28
"""No segment holds more rows, or more bytes of vectors; one that holds half as many is merged with no other."""

DEAD_SHARE, FEWEST_DEAD = 5, 1024
"""A segment is rewritten once a fifth of it is gone."""


class Size(NamedTuple):
    """Of a segment: rows that are alive, and rows that are gone."""

    alive: int
    dead: int


def largest(dimension: int) -> int:
    """Rows of this dimension that a segment holds at most."""
    return max(2, min(LARGEST_ROWS, LARGEST_BYTES // (4 * dimension)))


def due(sizes: Sequence[Size], limit: int) -> list[int]:
    """The segments to make one of, or the one to rewrite; empty when all is well. limit: as of `largest`."""
    by_size = sorted(range(len(sizes)), key=lambda i: sizes[i].alive, reverse=True)
    smaller = sum(size.alive for size in sizes)
    for place, i in enumerate(by_size):
        smaller -= sizes[i].alive
        if 2 * sizes[i].alive < limit and sizes[i].alive <= smaller:
            return _within(by_size[place:], sizes, limit)
    worn = [i for i, (alive, dead) in enumerate(sizes) if dead > max(FEWEST_DEAD, (alive + dead) // DEAD_SHARE)]
    return worn[:1]


def _within(by_size: list[int], sizes: Sequence[Size], most: int) -> list[int]:
    """The smallest of these that hold at most so many rows together."""
    chosen: list[int] = []
    total = 0
    for i in reversed(by_size):
        total += sizes[i].alive
        if total > most:
            break
        chosen.append(i)
    return chosen
