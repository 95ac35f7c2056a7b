"""The parts of an aligned face by name: which pixels of the 112×112 template are eyes, nose, mouth and so on. Pure.

Every aligned crop has its eyes, nose and mouth at the same places (embedder/align.py), so that one drawing serves all.
It is meant for words, not for measuring: a turned head or a high forehead reaches over these lines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.align import CROP_SIDE

Mask = NDArray[np.bool_]

FACE_CENTRE, FACE_RADII = (56.0, 62.0), (43.0, 61.0)
"""The ellipse of a face in the template, (x, y) in pixels of the crop; measured by eye on the mean of 1,000 crops."""

BROWS, CHIN = 38, 112
"""Rows: above the first is forehead and hair."""

BOXES = {
    "eyes and brows": (20, 38, 92, 60),
    "nose": (43, 60, 69, 83),
    "mouth": (35, 83, 77, 103),
}
"""Parts between (left, top, right, bottom), in pixels of the crop, right and bottom not included."""


def face_parts() -> dict[str, Mask]:
    """Name → (112, 112) bool; each pixel lies in exactly one part."""
    y, x = np.mgrid[:CROP_SIDE, :CROP_SIDE]
    face = ((x - FACE_CENTRE[0]) / FACE_RADII[0]) ** 2 + ((y - FACE_CENTRE[1]) / FACE_RADII[1]) ** 2 <= 1
    parts = {
        name: face & (x >= left) & (x < right) & (y >= top) & (y < bottom)
        for name, (left, top, right, bottom) in BOXES.items()
    }
    inner = np.any(list(parts.values()), axis=0)
    parts["forehead and hair"] = face & (y < BROWS)
    parts["cheeks and jaw"] = face & (y >= BROWS) & ~inner
    parts["around the face"] = ~face
    return parts
