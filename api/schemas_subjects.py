"""JSON of the enrolled: subjects, their consent and samples, and how an enrolment went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TypedDict

from pydantic import BaseModel, Field

from api.schemas import BoxOut, Incoming, Metadata, QualityOut, Text, is_none, moment
from lookalike import answers, domain


class ConsentFields(Incoming):
    basis: Text
    reference: Text = ""
    expires_at: str | None = None

    def value(self) -> domain.Consent:
        return domain.Consent(self.basis, self.reference, self.expires_at)


class SubjectPut(Incoming):
    metadata: Metadata = Field(default_factory=dict)
    consent: ConsentFields | None = None
    valid_from: str | None = None
    valid_until: str | None = None


class ConsentOut(BaseModel):
    basis: str
    reference: str
    expires_at: str | None
    withdrawn_at: str | None = Field(default=None, exclude_if=is_none)


class SubjectOut(BaseModel):
    id: str
    metadata: Metadata
    consent: ConsentOut | None
    valid_from: str | None
    valid_until: str | None
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, subject: domain.Subject) -> SubjectOut:
        return cls(**_subject(subject))


class SampleOut(BaseModel):
    id: str
    box: BoxOut
    quality: QualityOut
    created_at: str
    carried: bool = False

    @classmethod
    def of(cls, sample: domain.Sample) -> SampleOut:
        return cls(
            id=sample.id,
            box=BoxOut.of(sample.box),
            quality=QualityOut.of(sample.quality),
            created_at=moment(sample.created_at),
            carried=sample.carried,
        )


class SubjectWithSamples(SubjectOut):
    samples: list[SampleOut]

    @classmethod
    def joined(cls, subject: domain.Subject, samples: Sequence[domain.Sample]) -> SubjectWithSamples:
        return cls(**_subject(subject), samples=[SampleOut.of(sample) for sample in samples])


class SubjectList(BaseModel):
    """next_cursor: opaque, null at the end."""

    items: list[SubjectOut]
    next_cursor: str | None


class _Subject(TypedDict):
    """What both ways of showing a subject have in common."""

    id: str
    metadata: dict[str, str]
    consent: ConsentOut | None
    valid_from: str | None
    valid_until: str | None
    created_at: str
    updated_at: str


def _subject(subject: domain.Subject) -> _Subject:
    consent = subject.consent
    return {
        "id": subject.id,
        "metadata": dict(subject.metadata),
        "consent": None if consent is None else ConsentOut(**asdict(consent)),
        "valid_from": subject.valid_from,
        "valid_until": subject.valid_until,
        "created_at": moment(subject.created_at),
        "updated_at": moment(subject.updated_at),
    }


class ConflictOut(BaseModel):
    """kind: "matches_other_subject" or "differs_from_own_samples"."""

    kind: str
    similarity: float
    subject: str | None

    @classmethod
    def of(cls, conflict: answers.EnrolConflict) -> ConflictOut:
        return cls(kind=conflict.kind, similarity=conflict.similarity, subject=conflict.subject)


class EnrolledOut(BaseModel):
    """other_faces: boxes of smaller faces in the same picture, which were not enrolled."""

    id: str
    filename: str
    box: BoxOut
    quality: QualityOut
    conflict: ConflictOut | None = Field(default=None, exclude_if=is_none)
    other_faces: list[BoxOut]

    @classmethod
    def of(cls, enrolled: answers.EnrolledSample) -> EnrolledOut:
        return cls(
            id=enrolled.sample.id,
            filename=enrolled.filename,
            box=BoxOut.of(enrolled.sample.box),
            quality=QualityOut.of(enrolled.sample.quality),
            conflict=None if enrolled.conflict is None else ConflictOut.of(enrolled.conflict),
            other_faces=[BoxOut.of(box) for box in enrolled.others],
        )


class RejectedOut(BaseModel):
    filename: str
    reasons: list[str]


class EnrolmentOut(BaseModel):
    subject: str
    samples: list[EnrolledOut]
    rejected: list[RejectedOut]
    request_id: str

    @classmethod
    def of(cls, enrolment: answers.Enrolment, request_id: str) -> EnrolmentOut:
        return cls(
            subject=enrolment.subject.id,
            samples=[EnrolledOut.of(sample) for sample in enrolment.samples],
            rejected=[RejectedOut(filename=r.filename, reasons=list(r.reasons)) for r in enrolment.rejected],
            request_id=request_id,
        )
