"""What the use cases answer with: frozen values that an edge turns into JSON or a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from lookalike.domain import Box, Candidate, Collection, EncodedFace, Face, Principal, Sample, Subject, Threshold
from lookalike.four_eyes import Pending
from lookalike.ports import IndexState


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the id under which this request is logged and audited."""

    principal: Principal
    request_id: str


@dataclass(frozen=True, slots=True, repr=False)
class Picture:
    """An uploaded file. filename: the sender's, echoed back in rejections only."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """calibration: "model", "collection" once it learned from its own pairs, or "none" where no rate is known.

    index: how the live index answers; None where it is not loaded in this process.
    """

    collection: Collection
    subjects: int
    samples: int
    calibration: str
    index: IndexState | None = None


@dataclass(frozen=True, slots=True, repr=False)
class EnrolConflict:
    """A reason to look twice at an enrolment. kind: "matches_other_subject" or "differs_from_own_samples"."""

    kind: str
    similarity: float
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class EnrolledSample:
    """A sample that was enrolled. others: boxes of further, smaller faces in the picture, not enrolled."""

    sample: Sample
    filename: str
    conflict: EnrolConflict | None
    others: tuple[Box, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Rejected:
    """A picture that was not enrolled. reasons: stable words."""

    filename: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Enrolment:
    subject: Subject
    samples: tuple[EnrolledSample, ...]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class IdentifiedFace:
    """nearest: similarities of the two nearest subjects, whether candidates or not; fewer where there are fewer.

    crop: the aligned face as JPEG, where two people will have to look at it.
    """

    face: Face
    candidates: tuple[Candidate, ...]
    nearest: tuple[float, ...] = ()
    crop: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Identification:
    """faces: largest first; a face whose candidates are empty belongs to nobody enrolled, as far as one can tell.

    Of a search by regions: each place with something enrolled, most similar first; regions: parts that were looked at.
    strangers: faces that match nobody at the collection's own rate, where it keeps unknown faces; held: what waits for
    two people, and then there are no faces, since whoever searched must not act on what is not confirmed.
    """

    faces: tuple[IdentifiedFace, ...]
    threshold: Threshold
    model: str
    generation: str
    regions: int | None = None
    strangers: tuple[EncodedFace, ...] = ()
    held: tuple[Pending, ...] = ()

    @property
    def known(self) -> int:
        """How many of the faces have a candidate."""
        return sum(bool(face.candidates) for face in self.faces)


@dataclass(frozen=True, slots=True)
class Verification:
    """fmr: chance that someone else's probe scores this high against the subject; None where that is not known."""

    match: bool
    similarity: float
    threshold: Threshold
    fmr: float | None
    face: Face


@dataclass(frozen=True, slots=True)
class Comparison:
    match: bool
    similarity: float
    threshold: Threshold
    fmr: float
    face_a: Face
    face_b: Face


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """subjects, pairs: what was learned from; before, after: the threshold for the collection's target FPIR."""

    subjects: int
    pairs: int
    dropped_pairs: int
    before: Threshold
    after: Threshold
