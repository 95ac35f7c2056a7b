"""Similarities from 0 to 100 as a published scale of the false match rate. Pure.

Between the anchors a similarity grows evenly with the logarithm of the rate, so the scale means the same in every
collection and with every model: 80 is one false match in 10,000 pairs of different people, whatever the cosine.
docs/rekognition.md has the table; 99 lies where the shipped calibrations end to be shown by data (docs/adr/0023).
"""

from __future__ import annotations

import math

import numpy as np

ANCHORS = ((0.0, 0.0), (50.0, 2.0), (80.0, 4.0), (90.0, 5.0), (99.0, 6.0), (100.0, 12.0))
"""(similarity, -log10 of the false match rate)."""

_SIMILARITIES = [similarity for similarity, _ in ANCHORS]
_EXPONENTS = [exponent for _, exponent in ANCHORS]

_EVERYTHING = 1.0 - 1e-15
"""The greatest rate below 1: at 0 everything matches."""


def fmr_of(similarity: float) -> float:
    """The false match rate at a similarity of 0 to 100."""
    exponent = float(np.interp(similarity, _SIMILARITIES, _EXPONENTS))
    return min(float(10.0**-exponent), _EVERYTHING)


def similarity_of(fmr: float) -> float:
    """The similarity, 0 to 100, whose false match rate this is."""
    return float(np.interp(-math.log10(max(fmr, 1e-300)), _EXPONENTS, _SIMILARITIES))
