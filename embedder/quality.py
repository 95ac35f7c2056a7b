"""Says how well a face suits enrolment, and why not, in a fixed set of words. Pure.

Reasons: `too_small`, `blurred`, `too_dark`, `too_bright`, `extreme_pose`, `cut_off`. Every measure is taken from the
box, the landmarks and the aligned 112×112 crop, so it costs a fraction of a millisecond. Quality never refuses a
probe; it only says which pictures should not be enrolled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from lookalike.domain import Box, Landmarks, Pixels, Quality

TOO_SMALL, BLURRED, TOO_DARK, TOO_BRIGHT = "too_small", "blurred", "too_dark", "too_bright"
EXTREME_POSE, CUT_OFF = "extreme_pose", "cut_off"
REASONS = (TOO_SMALL, BLURRED, TOO_DARK, TOO_BRIGHT, EXTREME_POSE, CUT_OFF)


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Where a measure becomes a reason; how the defaults were chosen stands in benchmarks/quality.py's output."""

    min_eye_distance_px: float = 14.0
    min_sharpness: float = 25.0
    min_brightness: float = 40.0
    max_brightness: float = 225.0
    max_asymmetry: float = 0.75
    max_outside: float = 0.2


def assess(
    crop: Pixels,
    box: Box,
    landmarks: Landmarks,
    width: int,
    height: int,
    limits: QualityLimits = QualityLimits(),
) -> Quality:
    """Quality of a face in a picture of width × height. crop: its aligned (112, 112, 3) uint8."""
    centre = cv2.cvtColor(crop[16:-8, 20:-20], cv2.COLOR_RGB2GRAY)
    measures = {
        "eye_distance_px": math.dist(landmarks[0], landmarks[1]),
        "sharpness": float(cv2.Laplacian(centre, cv2.CV_32F).var()),
        "brightness": float(centre.mean()),
        "asymmetry": asymmetry(landmarks),
        "outside": outside_share(box, width, height),
    }
    return judge(measures, limits)


def judge(measures: dict[str, float], limits: QualityLimits) -> Quality:
    """Reasons and score of measured values."""
    margins = {
        TOO_SMALL: measures["eye_distance_px"] / limits.min_eye_distance_px,
        BLURRED: measures["sharpness"] / limits.min_sharpness,
        TOO_DARK: measures["brightness"] / limits.min_brightness,
        TOO_BRIGHT: (255.0 - measures["brightness"]) / (255.0 - limits.max_brightness),
        EXTREME_POSE: (1.0 - measures["asymmetry"]) / (1.0 - limits.max_asymmetry),
        CUT_OFF: (1.0 - measures["outside"]) / (1.0 - limits.max_outside),
    }
    reasons = tuple(reason for reason in REASONS if margins[reason] < 1.0)
    return Quality(min(1.0, *(margin / 2 for margin in margins.values())), reasons, measures)


def asymmetry(landmarks: Landmarks) -> float:
    """0 for a face seen from the front, towards 1 and beyond as it turns to a profile, up or down."""
    left, right, nose = (np.array(point) for point in landmarks[:3])
    across = right - left
    span = float(across @ across) or 1e-9
    return abs(2 * float((nose - left) @ across) / span - 1)


def outside_share(box: Box, width: int, height: int) -> float:
    """The share of the box that lies beyond the picture, 0 to 1."""
    inside_x = max(0.0, min(box.x + box.width, width) - max(box.x, 0.0))
    inside_y = max(0.0, min(box.y + box.height, height) - max(box.y, 0.0))
    return 1.0 - inside_x * inside_y / max(box.area, 1e-9)
