"""Where in a large picture enrolled things are: windows of several sizes, judged by their nearest subject, then joined.

Nothing is learned and no edges are assumed: whatever the picture's embedder knows can be found, and a window costs one
embedding. Windows of one thing overlap; the best is kept, and its box becomes the mean of those around it that say the
same subject, weighted by how sure they are (box voting: Gidaris and Komodakis 2015), which places it far more closely
than the grid does. All rules are pure; boxes are in pixels of the upright picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lookalike.domain import Box, Floats
from lookalike.roster import Ranked

FINEST = 8.0
"""The smallest window is this part of the picture's shorter side, where there are enough windows for it."""

SMALLEST_SIDE = 24.0
"""Pixels; less shows nothing to an embedder."""

GROWTH, STEP = 1.5, 0.5
"""How much larger each grid's windows are than those of the next finer one; by what share of a side they are moved."""

SAME_PLACE, INSIDE = 0.3, 0.6
"""One place: an intersection over union of more than this, or more than this share of the smaller box in the larger."""

VOTES_FROM, TEMPER = 0.2, 0.06
"""Windows that overlap so much have a vote; one whose similarity is `TEMPER` less counts for 1/e of it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A window and the subjects near to it, the nearest first, at least one."""

    box: Box
    ranked: tuple[Ranked, ...]

    @property
    def similarity(self) -> float:
        return self.ranked[0].similarity

    @property
    def subject_key(self) -> str:
        return self.ranked[0].subject_key


# ------------------------------------------------------------------------------------------------ where to look


def windows(width: float, height: float, most: int) -> list[Box]:
    """The whole picture and squares on grids that grow finer, at most `most` boxes, and as fine as these allow."""
    short = min(width, height)
    finest = min(FINEST, short / SMALLEST_SIDE)
    while finest > 1 and 1 + sum(_steps(width, side) * _steps(height, side) for side in _sides(short, finest)) > most:
        finest *= 0.95
    sides = _sides(short, finest) if finest > 1 else []
    return [Box(0.0, 0.0, width, height), *(box for side in sides for box in _grid(width, height, side))]


def _sides(short: float, finest: float) -> list[float]:
    """Of the windows of each grid, the largest first."""
    count = 1 + int(math.log(finest) / math.log(GROWTH) + 1e-9)
    return [short / finest * GROWTH**level for level in reversed(range(count))]


def _grid(width: float, height: float, side: float) -> list[Box]:
    return [Box(x, y, side, side) for y in _places(height, side) for x in _places(width, side)]


def _places(length: float, side: float) -> list[float]:
    """Where windows begin so that they reach from one end to the other, at most a step apart."""
    count = _steps(length, side)
    return [0.0] if count == 1 else [(length - side) * i / (count - 1) for i in range(count)]


def _steps(length: float, side: float) -> int:
    """How many windows stand in a row."""
    return 1 + math.ceil(max(length - side, 0.0) / (side * STEP) - 1e-9)


# --------------------------------------------------------------------------------------------- what was found


def places(seen: Sequence[Seen], bar: float) -> list[Seen]:
    """What reaches the bar, each place once, most similar first, its box voted on by all that was seen.

    Votes can draw the boxes of two windows of one thing together, so places are thinned once more after them.
    """
    if not seen:
        return []
    boxes = np.array([(s.box.x, s.box.y, s.box.width, s.box.height) for s in seen], np.float32)
    scores = np.array([s.similarity for s in seen], np.float32)
    subjects = np.unique([s.subject_key for s in seen], return_inverse=True)[1]
    over_union, over_smaller = _overlaps(boxes)
    ranking = [one for one in np.argsort(-scores, kind="stable").tolist() if scores[one] >= bar]
    kept = _apart(ranking, over_union, over_smaller)
    voted = boxes.copy()
    for one in kept:
        voting = (over_union[one] > VOTES_FROM) & (subjects == subjects[one])
        weights = np.exp((scores[voting] - scores[one]) / TEMPER)
        voted[one] = weights @ boxes[voting] / weights.sum()
    return [
        Seen(Box(*(float(value) for value in voted[one])), seen[one].ranked) for one in _apart(kept, *_overlaps(voted))
    ]


def _apart(ranking: Sequence[int], over_union: Floats, over_smaller: Floats) -> list[int]:
    """Those of a ranking that show no place of a better one."""
    kept: list[int] = []
    for one in ranking:
        if not ((over_union[one, kept] > SAME_PLACE) | (over_smaller[one, kept] > INSIDE)).any():
            kept.append(one)
    return kept


def overlap(a: Box, b: Box) -> float:
    """Intersection over union, 0 to 1."""
    return float(_overlaps(np.array([(box.x, box.y, box.width, box.height) for box in (a, b)], np.float32))[0][0, 1])


def _overlaps(boxes: Floats) -> tuple[Floats, Floats]:
    """Intersection over union, and over the smaller one. (N, 4) of x, y, width, height -> (N, N) twice."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    sides = np.clip(np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None]), 0, None)
    both, area = sides[..., 0] * sides[..., 1], boxes[:, 2] * boxes[:, 3]
    union = area[:, None] + area[None] - both
    return both / union, both / np.minimum(area[:, None], area[None])
