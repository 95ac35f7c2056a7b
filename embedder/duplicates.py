"""Whether two pictures are one and the same, encoded, resized or cropped differently: laid over each other, compared.

Embeddings of two photos of one thing are as alike as those of one photo and its copy, so pixels decide. Both pictures
become small and grey. The one is sought in the other at a few scales, then stretched and moved until both correlate
best, which is their likeness. A mirrored or turned picture is another one.

Source: G. Evangelidis and E. Psarakis, Parametric Image Alignment Using Enhanced Correlation Coefficient
Maximization, PAMI 30, 2008, as OpenCV's findTransformECC has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lookalike.domain import Floats, Pixels

SIDE = 64
"""Both pictures are squashed into a square of this side: its shape is all that a changed aspect ratio is seen in."""

_SCALES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
"""How much of the larger picture's side the smaller one may show."""

_PROMISING = 0.8
"""Correlation below which nothing is worth aligning; the least that a copy was found with is 0.92."""

_LEAST_SCALE, _MOST_SHEAR = 0.65, 0.06
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)


def likeness(picture: Pixels, others: Sequence[Pixels]) -> list[float]:
    """How well each of the others can be laid over the picture: 1 for a copy, -1 where it cannot be at all."""
    mine = _small(picture)
    return [_likeness(mine, _small(other)) for other in others]


def _likeness(a: Floats, b: Floats) -> float:
    """Whichever shows less is sought in the other."""
    (a_in_b, start), (b_in_a, other_start) = _sought(a, b), _sought(b, a)
    if max(a_in_b, b_in_a) < _PROMISING:
        return -1.0
    return _aligned(a, b, start) if a_in_b >= b_in_a else _aligned(b, a, other_start)


def _small(picture: Pixels) -> Floats:
    """(H, W, 3) uint8 -> (SIDE, SIDE) float32, grey and a little smeared, as alignment by gradients needs it."""
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.8), np.float32)


def _sought(part: Floats, whole: Floats) -> tuple[float, Floats]:
    """The best correlation of `part`, at one of the scales, somewhere in `whole`, and the (2, 3) map from it there."""
    best, found = -1.0, np.eye(2, 3, dtype=np.float32)
    for scale in _SCALES:
        side = round(SIDE * scale)
        shrunk = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
        _, top, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(whole, shrunk, cv2.TM_CCOEFF_NORMED))
        if top > best:
            best, found = float(top), np.array([[side / SIDE, 0, x], [0, side / SIDE, y]], np.float32)
    return best, found


def _aligned(part: Floats, whole: Floats, start: Floats) -> float:
    """Their correlation once aligned; -1 where that fails or needs more than stretching and moving."""
    try:
        value, map_ = cv2.findTransformECC(part, whole, start, cv2.MOTION_AFFINE, _STOP, None, 3)
    except cv2.error:  # its way of saying that it did not converge
        return -1.0
    scales, shears = (map_[0, 0], map_[1, 1]), (map_[0, 1], map_[1, 0])
    if min(scales) < _LEAST_SCALE or max(np.abs(shears)) > _MOST_SHEAR:
        return -1.0
    return float(value)
