"""The frozen values that every part of Lookalike speaks in.

Names follow ISO/IEC 2382-37: an enrolled person is a *subject*, an enrolled picture of one a *sample*, a
picture to be searched a *probe*, and a subject returned for it a *candidate*. Similarity is cosine, -1 to 1,
higher is closer, everywhere.
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import InvalidInput, PermissionDenied, SpaceMismatch, WrongKind

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

T = TypeVar("T")

COLLECTION_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")


# ---------------------------------------------------------------------------------------------- vectors


@dataclass(frozen=True, slots=True)
class Space:
    """What makes two embeddings comparable: model, dimension and preprocessing must all be equal."""

    model: str
    dimension: int
    preprocessing: str

    @property
    def key(self) -> str:
        """16 hex characters that stand for this space where records name it in the clear."""
        facts = json.dumps([self.model, self.dimension, self.preprocessing], separators=(",", ":"))
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def require(self, other: Space) -> None:
        """Raises: SpaceMismatch unless `other` is this space."""
        if self != other:
            raise SpaceMismatch(f"embeddings of {other.model!r} cannot be compared with those of {self.model!r}")


@dataclass(frozen=True, slots=True, repr=False)
class Embeddings:
    """Unit vectors of one space. vectors: (N, D) float32, each row of length 1."""

    space: Space
    vectors: Floats

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.shape[1] != self.space.dimension:
            raise SpaceMismatch(f"vectors of shape {self.vectors.shape} do not fit dimension {self.space.dimension}")

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"Embeddings({len(self)} in {self.space.model})"


# ------------------------------------------------------------------------------------------------ faces


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


# -------------------------------------------------------------------------------------- who may do what


class Permission(enum.StrEnum):
    """Every right that a use case can ask for; security/rbac.py says which role holds which."""

    READ = "read"  # collections and subjects
    IDENTIFY = "identify"  # identify, search, verify, compare, detect
    ENROL = "enrol"  # write subjects and samples
    READ_CROPS = "read_crops"
    MANAGE_COLLECTIONS = "manage_collections"  # create and change, calibrate
    RUN_JOBS = "run_jobs"
    MANAGE_MODELS = "manage_models"
    DELETE_COLLECTIONS = "delete_collections"
    ERASE = "erase"  # subjects and samples
    RETENTION = "retention"  # the rules of how long people are kept and on what consent, and keeping to them
    CONSENT = "consent"  # write down a subject's consent
    HOLD = "hold"  # set and lift a legal hold
    EXPORT_SUBJECT = "export_subject"  # answer an access request
    READ_AUDIT = "read_audit"
    MANAGE_KEYS = "manage_keys"
    TRANSFER = "transfer"  # whole collections to another deployment and from there


@dataclass(frozen=True, slots=True)
class Grant:
    """One role on one collection, or on all of them when `collection` is None."""

    role: str
    collection: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. rights: for a collection's name, or None for all collections, the permissions held there."""

    id: str
    grants: tuple[Grant, ...]
    rights: Mapping[str | None, frozenset[Permission]]

    def may(self, permission: Permission, collection: str | None) -> bool:
        """Whether this principal holds the permission on a collection; None asks for it on all of them."""
        if permission in self.rights.get(None, frozenset()):
            return True
        return collection is not None and permission in self.rights.get(collection, frozenset())

    def may_anywhere(self, permission: Permission) -> bool:
        return any(permission in held for held in self.rights.values())

    def require(self, permission: Permission, collection: str | None) -> None:
        """Raises: PermissionDenied unless it is held; says nothing of what exists."""
        if not self.may(permission, collection):
            raise PermissionDenied(f"this needs the permission {permission.value!r}, which the credential lacks")


# ---------------------------------------------------------------------------------------- what is kept


class Kind(enum.StrEnum):
    FACE = "face"
    IMAGE = "image"


class Keep(enum.StrEnum):
    """What of an enrolled picture is kept, sealed, besides its vector."""

    NONE = "none"
    CROP = "crop"
    IMAGE = "image"


FIRST_GENERATION = "0"
"""The id of the generation that a collection begins with."""


class GenerationState(enum.StrEnum):
    BUILDING = "building"  # a job fills it; enrolments go into it as well
    READY = "ready"  # complete and verified, waits to be promoted
    STANDBY = "standby"  # was active; complete, so that one can roll back until its grace ends


@dataclass(frozen=True, slots=True)
class Generation:
    """One way to answer for a collection: a space and an index. Every enrolment goes into each.

    index: a URL as in LOOKALIKE_INDEX, empty for the service's own; until: when a standby's grace ends.
    """

    id: str
    space: Space
    index: str = ""
    state: GenerationState = GenerationState.BUILDING
    created_at: float = 0.0
    until: float = 0.0


class TrialMode(enum.StrEnum):
    SHADOW = "shadow"  # the other generation is asked too, and the active one answers
    CANARY = "canary"  # the other generation answers a share of the calls


@dataclass(frozen=True, slots=True)
class Trial:
    """A generation that is tried on live probes before it is promoted.

    share: 0 to 1, of the probes, 0 once it was found worse; worse: in what numbers, empty until then.
    """

    generation: str
    mode: TrialMode
    share: float
    worse: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """A named gallery. id: random, the only name of it that stands in the clear on disk.

    space, generation, index: of the generation that answers; others: those being built, ready or on standby;
    first_space: of records from before samples named theirs, None for `space`; past: spaces that samples without a
    picture could not be carried out of; keep_unknown_days: how long faces that match nobody are kept, None for not;
    require_consent: nobody is enrolled or recognised without; erase_expired_consent: with the next retention job.
    """

    id: str
    name: str
    kind: Kind
    space: Space
    keep: Keep = Keep.CROP
    target_fpir: float = 0.01
    retention_days: int | None = None
    created_at: float = 0.0
    generation: str = FIRST_GENERATION
    index: str = ""
    others: tuple[Generation, ...] = ()
    first_space: Space | None = None
    past: tuple[Space, ...] = ()
    trial: Trial | None = None
    keep_unknown_days: int | None = None
    require_consent: bool = False
    erase_expired_consent: bool = False

    def require(self, kind: Kind) -> None:
        """Raises: WrongKind unless this collection is of that kind."""
        if self.kind is not kind:
            raise WrongKind(f"this collection is of the kind {self.kind.value!r}: {_INSTEAD[self.kind]}")

    @property
    def origin(self) -> Space:
        """The space of samples that do not name theirs."""
        return self.first_space or self.space

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Every space that an enrolment needs a template in; the first is the one that answers."""
        return tuple(dict.fromkeys((self.space, *(other.space for other in self.others))))

    def space_named(self, key: str) -> Space | None:
        """The space of that `Space.key`, among all that this collection's samples can be in; "" is the origin."""
        known = (self.origin, *self.spaces, *self.past)
        return self.origin if not key else next((space for space in known if space.key == key), None)

    def other(self, generation: str) -> Generation | None:
        """The generation of that id, unless it is the one that answers."""
        return next((g for g in self.others if g.id == generation), None)

    def seen_as(self, generation: Generation) -> Collection:
        """This collection as it would answer through another of its generations."""
        answering = Generation(self.generation, self.space, self.index, GenerationState.STANDBY)
        return replace(
            self,
            space=generation.space,
            generation=generation.id,
            index=generation.index,
            others=(answering, *(other for other in self.others if other.id != generation.id)),
            first_space=self.origin,
        )


_INSTEAD = {Kind.FACE: "use identify to search it", Kind.IMAGE: "use search to search it"}


@dataclass(frozen=True, slots=True)
class Consent:
    """What allows a subject to be kept. withdrawn_at: ISO 8601, once it was taken back; what it was stays known."""

    basis: str
    reference: str = ""
    expires_at: str | None = None
    withdrawn_at: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Subject:
    """An enrolled person or thing. key: random internal id; id: the caller's own, which may be a name.

    renewed_at: when somebody last said that it is still to be kept, in seconds since 1970; 0 for never.
    """

    key: str
    id: str
    metadata: Mapping[str, str]
    consent: Consent | None = None
    valid_from: str | None = None
    valid_until: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    renewed_at: float = 0.0

    def __repr__(self) -> str:
        return f"Subject(key={self.key})"


@dataclass(frozen=True, slots=True, repr=False)
class Sample:
    """An enrolled picture's template. number: the index's label for it; vector: (D,) unit float32.

    carried: its template was mapped from another model's, since its picture is not kept (lookalike/carrying.py).
    """

    id: str
    number: int
    subject_key: str
    box: Box
    quality: Quality
    vector: Floats
    created_at: float = 0.0
    carried: bool = False

    def __repr__(self) -> str:
        return f"Sample(id={self.id})"


@dataclass(frozen=True, slots=True, repr=False)
class NewSample:
    """A sample about to be enrolled. id: random, or derived from an idempotency key so that a retry is harmless.

    also: the same face's vectors in the spaces of the collection's other generations; carried: as a Sample's.
    """

    id: str
    box: Box
    quality: Quality
    vector: Floats
    crop: bytes | None = None
    image: bytes | None = None
    also: tuple[tuple[Space, Floats], ...] = ()
    carried: bool = False

    def __repr__(self) -> str:
        return f"NewSample(id={self.id})"


class Op(enum.StrEnum):
    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the change sequence that every live index follows.

    A sample put or deleted has `number` and `subject_key`; a subject created, updated or erased has
    `subject_key` alone; a collection created, updated or deleted has neither.
    """

    seq: int
    op: Op
    collection_id: str
    subject_key: str | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One operation, asked by whom, on what, how it ended. It is sealed before it is written.

    outcome: "ok", "denied" or an error's code. collection, subject: as the caller named them. details: counts and
    random ids, never a vector, a picture or a secret.
    """

    action: str
    principal: str
    outcome: str
    request_id: str
    collection: str | None = None
    subject: str | None = None
    details: Mapping[str, str | int | float | None] = field(default_factory=dict)
    seq: int = 0
    at: float = 0.0


class Ledgered(enum.StrEnum):
    """WRITTEN: it is there, durably; PENDING: it cannot be written just now and will be; NONE: no ledger is named."""

    WRITTEN = "written"
    PENDING = "pending"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A signed statement of what an erasure destroyed and when. body: canonical JSON; signature: Ed25519, hex.

    ledger: whether the erasure stands in the ledger outside the data folder; pending: where else, outside of what was
    signed, something derived from the erased is still waiting to be deleted.
    """

    body: str
    signature: str
    public_key: str
    ledger: Ledgered = Ledgered.NONE
    pending: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """A sealed copy of a collection that went to another deployment. recipient: its key's fingerprint."""

    export: str
    recipient: str
    at: float


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; next_cursor is opaque, None at the end."""

    items: tuple[T, ...]
    next_cursor: str | None


# ------------------------------------------------------------------------------------------ what is answered


@dataclass(frozen=True, slots=True)
class Threshold:
    """A decision threshold and where it comes from.

    similarity: cosine in -1..1; source: "model", "collection", "extrapolated" or "explicit", "uncalibrated" where
    nothing decides and the nearest are given, "near_duplicates" where the pixels decide; interval: the 95 % confidence
    interval of the FPIR (or FMR) expected at it; gallery_size: subjects searched.
    """

    similarity: float
    source: str
    target: float | None
    gallery_size: int
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """A subject that a probe matched. fpir: chance that a stranger's probe scores this high in this gallery.

    fmr: the chance that two people's pictures score this high. Both are None where that is not known yet; likeness: how
    far the sample is the same picture, where that was asked.
    """

    subject: Subject
    sample_id: str
    similarity: float
    fpir: float | None
    likeness: float | None = None
    fmr: float | None = None

    def __repr__(self) -> str:
        return f"Candidate(key={self.subject.key}, similarity={self.similarity:.3f})"


# --------------------------------------------------------------------------------------------- names


def collection_name(text: str) -> str:
    """The name itself. Raises: InvalidInput unless it matches `COLLECTION_NAME`."""
    if not COLLECTION_NAME.fullmatch(text):
        raise InvalidInput("a collection's name is 1-255 of A-Z a-z 0-9 _ . - and does not start with a dot")
    return text


def subject_id(text: str) -> str:
    """The id itself. Raises: InvalidInput unless it is 1-256 characters in NFC without control characters or '/'."""
    if not 1 <= len(text) <= 256:
        raise InvalidInput("a subject's id has 1 to 256 characters")
    if unicodedata.normalize("NFC", text) != text:
        raise InvalidInput("a subject's id must be in Unicode's NFC form")
    if "/" in text or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise InvalidInput("a subject's id has no '/' and no control characters")
    return text
