"""JSON that all calls have in common: times, bodies that are sent, boxes, qualities and faces."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from lookalike import domain

Metadata = dict[str, str]
Text = Annotated[str, StringConstraints(max_length=1024)]


def is_none(value: object) -> bool:
    """For fields that are left out rather than null."""
    return value is None


def moment(seconds: float) -> str:
    """Seconds since the epoch in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class Incoming(BaseModel):
    """A body that a client sends: unknown fields are refused, numbers are not made out of text."""

    model_config = ConfigDict(extra="forbid", strict=True)


class BoxOut(BaseModel):
    """In pixels of the upright picture; the corner may lie outside."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def of(cls, box: domain.Box) -> BoxOut:
        return cls(x=box.x, y=box.y, width=box.width, height=box.height)


class BoxIn(Incoming):
    """The part of a picture to look at, in pixels of the upright picture."""

    x: float
    y: float
    width: float
    height: float

    def value(self) -> domain.Box:
        return domain.Box(self.x, self.y, self.width, self.height)


class QualityOut(BaseModel):
    """score: 0 to 1; reasons: why the face would not be enrolled, empty if it would."""

    score: float
    reasons: list[str]
    measures: dict[str, float]

    @classmethod
    def of(cls, quality: domain.Quality) -> QualityOut:
        return cls(score=quality.score, reasons=list(quality.reasons), measures=dict(quality.measures))


class FaceOut(BaseModel):
    """landmarks: left eye, right eye, nose, left and right mouth corner, as seen; none for a whole picture."""

    box: BoxOut
    landmarks: list[tuple[float, float]]
    confidence: float
    quality: QualityOut

    @classmethod
    def of(cls, face: domain.Face) -> FaceOut:
        return cls(
            box=BoxOut.of(face.box),
            landmarks=[(x, y) for x, y in face.landmarks],
            confidence=face.confidence,
            quality=QualityOut.of(face.quality),
        )


class DetectionOut(BaseModel):
    faces: list[FaceOut]
    request_id: str
