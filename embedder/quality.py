"""Says how well a face, or a whole picture, suits enrolment, and why not, in a fixed set of words. Pure.

Reasons: `too_small`, `blurred`, `too_dark`, `too_bright`, and for faces `extreme_pose`, `cut_off`. Every measure of a
face is taken from the box, the landmarks and the aligned 112×112 crop, so it costs a fraction of a millisecond.
Quality never refuses a probe; it only says which pictures should not be enrolled. Darkness is judged by the brightest
twentieth of the face and blur relative to its contrast, because the mean of a face follows the colour of the skin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lookalike.domain import Box, Landmarks, Pixels, Quality

TOO_SMALL, BLURRED, TOO_DARK, TOO_BRIGHT = "too_small", "blurred", "too_dark", "too_bright"
EXTREME_POSE, CUT_OFF = "extreme_pose", "cut_off"


@dataclass(frozen=True, slots=True)
class Bound:
    """A measure is refused beyond `limit` and as good as it gets from `ease` on; ease < limit: less is better."""

    reason: str
    measure: str
    limit: float
    ease: float

    def goodness(self, value: float) -> float:
        """0.5 at the limit, 1 at ease, down to 0 as far beyond the limit as ease lies before it."""
        return min(max(0.5 + 0.5 * (value - self.limit) / (self.ease - self.limit), 0.0), 1.0)


BOUNDS = (
    Bound(TOO_SMALL, "eye_distance_px", limit=14.0, ease=40.0),
    Bound(BLURRED, "sharpness", limit=15.0, ease=60.0),
    Bound(TOO_DARK, "highlight", limit=60.0, ease=130.0),
    Bound(TOO_BRIGHT, "brightness", limit=222.0, ease=190.0),
    Bound(EXTREME_POSE, "turn", limit=1.0, ease=0.4),
    Bound(CUT_OFF, "outside", limit=0.2, ease=0.05),
)
"""Learned on CelebA (faces/train), where 1.9 % of 1,100 ordinary pictures get a reason; tests/embedder has the rest."""

REASONS = tuple(bound.reason for bound in BOUNDS)

PICTURE_BOUNDS = (
    Bound(TOO_SMALL, "shorter_side_px", limit=32.0, ease=160.0),
    Bound(BLURRED, "sharpness", limit=6.0, ease=30.0),
    Bound(TOO_DARK, "highlight", limit=45.0, ease=110.0),
    Bound(TOO_BRIGHT, "shadow", limit=215.0, ease=150.0),
)
"""Learned on items/train: none of 550 photos gets a reason, and most do once smeared by 2.5 pixels of 224, darkened
eightfold or bleached eightfold. Brightness is judged by the darkest hundredth: things are often shown on white."""

PICTURE_SIDE = 224
"""Pictures are shrunk to this before their sharpness is measured, so that it does not depend on their size."""


def assess(crop: Pixels, box: Box, landmarks: Landmarks, width: int, height: int) -> Quality:
    """Quality of a face in a picture of width × height. crop: its aligned (112, 112, 3) uint8."""
    grey = cv2.cvtColor(crop[16:104, 20:92], cv2.COLOR_RGB2GRAY)
    contrast = max(float(grey.var()), 1.0)
    return judge(
        {
            "eye_distance_px": math.dist(landmarks[0], landmarks[1]),
            "sharpness": 1000.0 * float(cv2.Laplacian(grey, cv2.CV_32F).var()) / contrast,
            "highlight": float(np.partition(grey, -grey.size // 20, axis=None)[-grey.size // 20]),
            "brightness": float(grey.mean()),
            "turn": turn(landmarks),
            "outside": outside_share(box, width, height),
        }
    )


def assess_picture(picture: Pixels) -> Quality:
    """Quality of a whole picture, or of a part that was cut out of one. (H, W, 3) uint8."""
    height, width = picture.shape[:2]
    factor = PICTURE_SIDE / max(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    shadow, highlight = np.percentile(grey, (1, 95))
    return judge(
        {
            "shorter_side_px": float(min(height, width)),
            "sharpness": 1000.0 * float(cv2.Laplacian(grey, cv2.CV_32F).var()) / max(float(grey.var()), 1.0),
            "highlight": float(highlight),
            "shadow": float(shadow),
        },
        PICTURE_BOUNDS,
    )


def judge(measures: Mapping[str, float], bounds: Sequence[Bound] = BOUNDS) -> Quality:
    """Reasons and score of measured values: the score of the worst measure, below 0.5 only if there is a reason."""
    scores = [bound.goodness(measures[bound.measure]) for bound in bounds]
    reasons = tuple(bound.reason for bound, score in zip(bounds, scores, strict=True) if score < 0.5)
    return Quality(min(scores), reasons, measures)


def turn(landmarks: Landmarks) -> float:
    """How far the head is turned: 0 from the front; 1 with the nose above an eye, or a pitch that hides as much."""
    left, right, nose, mouth_left, mouth_right = (np.array(point, np.float64) for point in landmarks)
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    across, down = right - left, mouth - eyes
    yaw = abs(2 * float((nose - eyes) @ across)) / max(float(across @ across), 1e-9)
    # From the front the nose's tip lies 0.57 of the way from eyes to mouth; CelebA spans 0.40 to 0.67.
    pitch = abs(float((nose - eyes) @ down) / max(float(down @ down), 1e-9) - 0.57) / 0.25
    return max(yaw, pitch)


def outside_share(box: Box, width: int, height: int) -> float:
    """The share of the box that lies beyond the picture, 0 to 1."""
    inside_x = max(0.0, min(box.x + box.width, width) - max(box.x, 0.0))
    inside_y = max(0.0, min(box.y + box.height, height) - max(box.y, 0.0))
    return 1.0 - inside_x * inside_y / max(box.area, 1e-9)
