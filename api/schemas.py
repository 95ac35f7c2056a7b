"""The JSON of collections, subjects and faces, in and out; OpenAPI is made from these classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from lookalike import answers, domain
from lookalike.domain import Keep, Kind

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


# -------------------------------------------------------------------------------------------- collections


class NewCollection(Incoming):
    name: str
    kind: Annotated[Kind, Field(strict=False)] = Kind.FACE
    model: str | None = None
    keep: Annotated[Keep, Field(strict=False)] = Keep.CROP
    retention_days: int | None = None
    target_fpir: float = 0.01
    keep_unknown_days: int | None = None


class CollectionChange(Incoming):
    """Only what is sent is changed; `retention_days: null` takes the limit away, `keep_unknown_days: null` erases."""

    keep: Annotated[Keep | None, Field(strict=False)] = None
    retention_days: int | None = None
    target_fpir: float | None = None
    keep_unknown_days: int | None = None


class GenerationOut(BaseModel):
    """until: when a standby can no longer be rolled back to."""

    id: str
    model: str
    index: str
    state: domain.GenerationState
    until: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, generation: domain.Generation) -> GenerationOut:
        return cls(
            id=generation.id,
            model=generation.space.model,
            index=generation.index or "default",
            state=generation.state,
            until=moment(generation.until) if generation.until else None,
        )


class NewTrial(Incoming):
    """mode: shadow, asked too, or canary, answering; share: of the probes, 0 to end it."""

    mode: Annotated[domain.TrialMode, Field(strict=False)] = domain.TrialMode.SHADOW
    share: float


class TrialOut(BaseModel):
    """worse: why the trial ended by itself."""

    generation: str
    mode: domain.TrialMode
    share: float
    worse: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, trial: domain.Trial) -> TrialOut:
        return cls(generation=trial.generation, mode=trial.mode, share=trial.share, worse=trial.worse or None)


class TallyOut(BaseModel):
    """What the answering process counted of a trial since it began."""

    trial: TrialOut | None
    counted: dict[str, object]


class NewReindex(Incoming):
    """model, index: what to change to, the present one by default; hold: do not promote; insist: promote anyway.

    rate: pictures embedded in a second, at most; all that the machine can do by default.
    """

    model: str | None = None
    index: str | None = None
    hold: bool = False
    insist: bool = False
    resume: bool = False
    rate: float | None = Field(default=None, gt=0, le=1e6)


class IndexStateOut(BaseModel):
    """How the live index answers at present."""

    structure: str = Field(description='a stable word: "exact", or "codes" that name rows for the vectors to rank')
    why: str
    rows: int
    dimension: int
    removed: int = Field(description="rows that are gone and still take room")
    parts: int = Field(description="what a search goes through one by one")
    memory_bytes: int
    next_change: str


class CollectionOut(BaseModel):
    """calibration: "model", "collection" once it learned from its own pairs, or "none" where no rate is known yet."""

    name: str
    kind: Kind
    model: str
    keep: Keep
    target_fpir: float
    retention_days: int | None
    keep_unknown_days: int | None = Field(description="how long faces that match nobody are kept; null: they are not")
    calibration: str
    subjects: int
    samples: int
    created_at: str
    generation: str
    index: str
    generations: list[GenerationOut] = Field(description="others than the one that answers")
    trial: TrialOut | None = Field(default=None, exclude_if=is_none)
    index_state: IndexStateOut | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, info: answers.CollectionInfo) -> CollectionOut:
        collection = info.collection
        return cls(
            name=collection.name,
            kind=collection.kind,
            model=collection.space.model,
            keep=collection.keep,
            target_fpir=collection.target_fpir,
            retention_days=collection.retention_days,
            keep_unknown_days=collection.keep_unknown_days,
            calibration=info.calibration,
            subjects=info.subjects,
            samples=info.samples,
            created_at=moment(collection.created_at),
            generation=collection.generation,
            index=collection.index or "default",
            generations=[GenerationOut.of(generation) for generation in collection.others],
            trial=TrialOut.of(collection.trial) if collection.trial is not None else None,
            index_state=IndexStateOut(**asdict(info.index)) if info.index is not None else None,
        )


class CollectionList(BaseModel):
    items: list[CollectionOut]
    next_cursor: str | None = None


class ReceiptOut(BaseModel):
    """A signed statement of what was destroyed. body: canonical JSON; signature: Ed25519 over it, hex.

    ledger: whether it stands in the ledger outside the data folder: "written", "pending", or "none" without one.
    pending: what is derived from the erased and could not be deleted yet; it is, as soon as it can be.
    """

    body: str
    signature: str
    public_key: str
    ledger: domain.Ledgered = domain.Ledgered.NONE
    pending: list[str] = []

    @classmethod
    def of(cls, receipt: domain.Receipt) -> ReceiptOut:
        return cls(
            body=receipt.body,
            signature=receipt.signature,
            public_key=receipt.public_key,
            ledger=receipt.ledger,
            pending=list(receipt.pending),
        )


# ------------------------------------------------------------------------------------------------- faces


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


# ---------------------------------------------------------------------------------------------- subjects


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
        return cls(**_subject(subject))  # type: ignore[arg-type]


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
        return cls(**_subject(subject), samples=[SampleOut.of(sample) for sample in samples])  # type: ignore[arg-type]


class SubjectList(BaseModel):
    """next_cursor: opaque, null at the end."""

    items: list[SubjectOut]
    next_cursor: str | None


def _subject(subject: domain.Subject) -> dict[str, object]:
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


# ------------------------------------------------------------------------------------ identify and verify


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
