"""Says whether a whole picture is blurred, dark, bright or tiny, whatever it shows. Pure.

As for faces (embedder/quality.py), darkness is judged by the brightest parts and blur relative to contrast, because
means follow what is shown; brightness by the darkest parts, because goods are often shown on white. What the bounds
rest on: of 1,100 groceries (items/train) and 2,200 CelebA pictures one is called bright, none dark and none blurred; a
blur of 3 pixels (standard deviation, at 224 pixels) is found in each of 300 groceries, one of 4 in 19 of 20 faces.
"""

from __future__ import annotations

import cv2
import numpy as np

from embedder.quality import Bound
from lookalike.domain import Pixels

WORKING_SIDE = 256
"""Detail is judged at this size at most, so that a large picture is not called blurred for its size."""

BOUNDS = (
    Bound("tiny", "side_px", limit=32.0, ease=64.0),
    Bound("dark", "highlight", limit=60.0, ease=130.0),
    Bound("bright", "shadow", limit=150.0, ease=110.0),
    Bound("blurred", "sharpness", limit=11.0, ease=40.0),
)

_REASONS = {
    "tiny": "its shorter side has {:.0f} pixels; at least {:.0f} are wanted",
    "dark": "a twentieth of it is brighter than {:.0f} of 255; at least {:.0f} is wanted",
    "bright": "a twentieth of it is darker than {:.0f} of 255; at most {:.0f} is wanted",
    "blurred": "its detail measures {:.1f}; at least {:.0f} is wanted",
}


def picture_faults(picture: Pixels) -> list[tuple[str, str, float]]:
    """(fault, why, confidence) of a picture, (H, W, 3) uint8 RGB, the gravest first."""
    measures = measure(picture)
    found = []
    for bound in BOUNDS:
        value = measures[bound.measure]
        goodness = bound.goodness(value)
        if goodness < 0.5:
            found.append((bound.reason, _REASONS[bound.reason].format(value, bound.limit), 1.0 - goodness))
    return found


def measure(picture: Pixels) -> dict[str, float]:
    """side_px; highlight and shadow: grey values 0 to 255 that a twentieth exceeds or stays under; sharpness."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    factor = WORKING_SIDE / max(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    shadow, highlight = np.percentile(grey, (5, 95))
    contrast = max(float(grey.var()), 1.0)
    return {
        "side_px": float(min(height, width)),
        "highlight": float(highlight),
        "shadow": float(shadow),
        "sharpness": 1000.0 * float(cv2.Laplacian(grey, cv2.CV_32F).var()) / contrast,
    }
