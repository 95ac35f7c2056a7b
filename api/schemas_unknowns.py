"""The JSON of unknown faces: who was seen and matched nobody, and what is decided about them."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from api.schemas import BoxOut, Incoming, QualityOut, moment
from api.schemas_subjects import SampleOut
from lookalike import domain
from lookalike.unknown_groups import KeptFace, Unknown
from lookalike.unknowns import expires_at


class KeptFaceOut(BaseModel):
    """A face that is kept of somebody unknown. has_crop: whether its picture can be asked for."""

    id: str
    seen_at: str
    box: BoxOut
    quality: QualityOut
    has_crop: bool

    @classmethod
    def of(cls, face: KeptFace) -> KeptFaceOut:
        return cls(
            id=face.id,
            seen_at=moment(face.at),
            box=BoxOut.of(face.box),
            quality=QualityOut.of(face.quality),
            has_crop=face.has_crop,
        )


class UnknownOut(BaseModel):
    """seen: in how many pictures; visits: at how many times, with pauses of five minutes; faces: the best ones."""

    id: str
    seen: int
    visits: int
    first_seen: str
    last_seen: str
    expires_at: str
    dismissed: bool
    faces: list[KeptFaceOut]

    @classmethod
    def of(cls, where: domain.Collection, row: Unknown) -> UnknownOut:
        return cls(
            id=row.id,
            seen=row.seen,
            visits=row.visits,
            first_seen=moment(row.first_seen),
            last_seen=moment(row.last_seen),
            expires_at=moment(expires_at(where, row)),
            dismissed=row.dismissed,
            faces=[KeptFaceOut.of(face) for face in row.faces],
        )


class UnknownList(BaseModel):
    """Seen most often first. next_cursor: opaque, null at the end."""

    items: list[UnknownOut]
    next_cursor: str | None


class UnknownEnrol(Incoming):
    """subject: whose samples the kept faces become, old or new."""

    subject: str


class UnknownEnrolled(BaseModel):
    subject: str
    samples: list[SampleOut]
    request_id: str

    @classmethod
    def of(cls, subject: domain.Subject, samples: Sequence[domain.Sample], request_id: str) -> UnknownEnrolled:
        return cls(subject=subject.id, samples=[SampleOut.of(sample) for sample in samples], request_id=request_id)
