"""JSON of what a search, a verification or a comparison answers."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api.schemas import FaceOut, Metadata, is_none
from lookalike import answers, domain


class ThresholdOut(BaseModel):
    """source: "model", "collection", "extrapolated", "explicit", "uncalibrated" or "near_duplicates".

    interval: 95 %, of the FPIR expected at it.
    """

    similarity: float
    source: str
    target_fpir: float | None
    gallery_size: int
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, bar: domain.Threshold) -> ThresholdOut:
        return cls(
            similarity=bar.similarity,
            source=bar.source,
            target_fpir=bar.target,
            gallery_size=bar.gallery_size,
            interval=bar.interval,
        )


class PairThresholdOut(BaseModel):
    similarity: float
    source: str
    target_fmr: float | None
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, bar: domain.Threshold) -> PairThresholdOut:
        return cls(similarity=bar.similarity, source=bar.source, target_fmr=bar.target, interval=bar.interval)


class CandidateOut(BaseModel):
    """fpir: chance that a stranger's probe scores this high in this gallery; null in an uncalibrated collection.

    likeness: how far the sample is the same picture, 1 for a copy, where near duplicates were asked for.
    """

    subject: str
    sample: str
    similarity: float
    fpir: float | None
    metadata: Metadata
    likeness: float | None = Field(default=None, exclude_if=is_none)


class IdentifiedFaceOut(FaceOut):
    candidates: list[CandidateOut]

    @classmethod
    def found(cls, identified: answers.IdentifiedFace) -> IdentifiedFaceOut:
        face = FaceOut.of(identified.face)
        return cls(
            box=face.box,
            landmarks=face.landmarks,
            confidence=face.confidence,
            quality=face.quality,
            candidates=[
                CandidateOut(
                    subject=candidate.subject.id,
                    sample=candidate.sample_id,
                    similarity=candidate.similarity,
                    fpir=candidate.fpir,
                    metadata=dict(candidate.subject.metadata),
                    likeness=candidate.likeness,
                )
                for candidate in identified.candidates
            ],
        )


class IdentificationOut(BaseModel):
    """faces: largest first; empty candidates mean that nobody enrolled is recognised.

    In the answer to a search the one "face" is the picture, or the part of it, that was searched; of a search by
    regions the places that show something enrolled, most similar first, and regions is how many parts were looked at.
    """

    faces: list[IdentifiedFaceOut]
    threshold: ThresholdOut
    model: str
    request_id: str
    regions: int | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, found: answers.Identification, request_id: str) -> IdentificationOut:
        return cls(
            faces=[IdentifiedFaceOut.found(face) for face in found.faces],
            threshold=ThresholdOut.of(found.threshold),
            model=found.model,
            request_id=request_id,
            regions=found.regions,
        )


class VerificationOut(BaseModel):
    """fmr: chance that someone else's probe scores this high against the subject; null where that is not known."""

    match: bool
    similarity: float
    threshold: PairThresholdOut
    fmr: float | None
    face: FaceOut
    request_id: str

    @classmethod
    def of(cls, found: answers.Verification, request_id: str) -> VerificationOut:
        return cls(
            match=found.match,
            similarity=found.similarity,
            threshold=PairThresholdOut.of(found.threshold),
            fmr=found.fmr,
            face=FaceOut.of(found.face),
            request_id=request_id,
        )


class ComparisonOut(BaseModel):
    match: bool
    similarity: float
    threshold: PairThresholdOut
    fmr: float
    face_a: FaceOut
    face_b: FaceOut
    request_id: str

    @classmethod
    def of(cls, found: answers.Comparison, request_id: str) -> ComparisonOut:
        return cls(
            match=found.match,
            similarity=found.similarity,
            threshold=PairThresholdOut.of(found.threshold),
            fmr=found.fmr,
            face_a=FaceOut.of(found.face_a),
            face_b=FaceOut.of(found.face_b),
            request_id=request_id,
        )
