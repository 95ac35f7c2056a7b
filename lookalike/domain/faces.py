"""What a detector finds in a picture: a box with landmarks and quality, and with a vector once it is encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lookalike.domain.vectors import Floats


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright picture; x, y is the top left corner and may lie outside."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        return self.width * self.height


Landmarks = tuple[tuple[float, float], ...]
"""Five points: left eye, right eye, nose, left and right mouth corner, as seen in the picture."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a face suits enrolment. score: 0 to 1; reasons: stable words, empty if it may be enrolled."""

    score: float
    reasons: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Face:
    """A face found in a picture. confidence: the detector's, 0 to 1.

    In collections of pictures, the picture or the part of it that is searched: without landmarks, confidence 1.
    """

    box: Box
    landmarks: Landmarks
    confidence: float
    quality: Quality


@dataclass(frozen=True, slots=True, repr=False)
class EncodedFace:
    """A face with its embedding. vector: (D,) unit float32; crop: the aligned face as JPEG, when asked for."""

    face: Face
    vector: Floats
    crop: bytes | None = None

    def __repr__(self) -> str:
        return f"EncodedFace({self.face.box})"
