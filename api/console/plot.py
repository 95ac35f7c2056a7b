"""The plot of a gallery's scores as shapes of an SVG: pure numbers, which the template draws.

Both curves are shown to the height of their own peak, since one counts strangers and the other pictures: what counts is
how much of each lies on which side of the threshold. The y axis therefore has no figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike.gallery_scores import GalleryScores
from lookalike.impostors import GRID, Numbers

WIDTH, HEIGHT = 760.0, 240.0
_LEAST = 0.002
"""Of a curve's peak: less is not drawn."""

_SMOOTHING = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
"""Over steps of .01, for curves that are counted from few pictures."""

_STEP = 0.2
"""Of the similarity, between figures below the plot."""


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Points "x,y x,y" of the two curves, closed along the bottom. left, right: similarities at x = 0 and WIDTH."""

    strangers: str
    own: str
    left: float
    right: float
    ticks: tuple[Tick, ...]
    threshold: float
    width: float = WIDTH
    height: float = HEIGHT


def draw(scores: GalleryScores) -> Plot:
    """The plot of these scores, with the line of the threshold in force."""
    own = np.convolve(scores.own, _SMOOTHING, mode="same") if scores.own.any() else scores.own
    bar = scores.choices[scores.current].threshold.similarity
    seen = np.flatnonzero((_to_peak(scores.strangers) > _LEAST) | (_to_peak(own) > _LEAST))
    least, most = (float(GRID[seen[0]]), float(GRID[seen[-1]])) if len(seen) else (0.0, 1.0)
    bars = [choice.threshold.similarity for choice in scores.choices]
    left = max(np.floor(10 * min(least, *bars)) / 10, -1.0)
    right = min(np.ceil(10 * max(most, *bars) + 0.5) / 10, 1.0)

    def x(similarity: float) -> float:
        return float(round(WIDTH * (similarity - left) / (right - left), 1))

    marks = _STEP * np.arange(np.ceil(left / _STEP), np.floor(right / _STEP) + 1)
    ticks = tuple(Tick(x(mark), f"{abs(mark):.1f}" if mark > -0.05 else f"−{abs(mark):.1f}") for mark in marks)
    return Plot(
        _shape(_to_peak(scores.strangers), left, right), _shape(_to_peak(own), left, right),
        float(left), float(right), ticks, x(bar),
    )  # fmt: skip


def _to_peak(curve: Numbers) -> Numbers:
    return np.asarray(curve / max(float(curve.max()), 1e-12), np.float64)


def _shape(curve: Numbers, left: float, right: float) -> str:
    """(T,) heights 0 to 1 -> the points of an area from the bottom left to the bottom right."""
    inside = np.flatnonzero((left - 1e-9 <= GRID) & (right + 1e-9 >= GRID))
    points = [(WIDTH * (GRID[i] - left) / (right - left), HEIGHT - (HEIGHT - 12.0) * curve[i]) for i in inside]
    closed = [(points[0][0], HEIGHT), *points, (points[-1][0], HEIGHT)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in closed)
