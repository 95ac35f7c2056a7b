"""The JSON that the service answers with, as types: what a program may rely on, and nothing computed.

docs/api.md says what each field means. Keys that a version may leave out are marked `NotRequired`.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from api.client_pending import PendingJson


class BoxJson(TypedDict):
    """Pixels of the upright picture; x, y is the top left corner."""

    x: float
    y: float
    width: float
    height: float


class QualityJson(TypedDict):
    score: float
    reasons: list[str]


class IndexStateJson(TypedDict):
    structure: str
    why: str
    rows: int
    dimension: int
    removed: int
    parts: int
    memory_bytes: int
    next_change: str
    disk_bytes: NotRequired[int]


class CollectionJson(TypedDict):
    id: NotRequired[str]
    name: str
    kind: str
    model: str
    keep: str
    target_fpir: float
    retention_days: int | None
    subjects: int
    samples: int
    calibration: NotRequired[str]
    created_at: NotRequired[str | float]
    generation: NotRequired[str]
    index: NotRequired[str]
    generations: NotRequired[list[dict[str, str]]]
    keep_unknown_days: NotRequired[int | None]
    index_state: NotRequired[IndexStateJson]


class BundleJson(TypedDict):
    name: str
    digest: str
    maker: str
    dimension: int
    licence: str
    commercial: bool
    accepted: bool
    note: str
    data: str
    bytes: int
    imported_at: str
    parts: list[str]
    metrics: dict[str, Any]
    provenance: dict[str, Any]


class PeriodJson(TypedDict):
    """source: of a baseline, "first_days" or "chosen"."""

    first: str
    last: str
    pictures: int
    faces: int
    source: str | None


class BinsJson(TypedDict):
    edges: list[float]
    baseline: list[float]
    now: list[float]


class FindingJson(TypedDict):
    """verdict: "same", "moved" or "too_few"."""

    statistic: str
    meaning: str
    baseline: float | None
    now: float | None
    baseline_count: int
    now_count: int
    psi: float | None
    p: float | None
    verdict: str
    bins: BinsJson


class DriftJson(TypedDict):
    collection: str
    drifting: bool
    now: PeriodJson | None
    baseline: PeriodJson | None
    waiting_for: int
    findings: list[FindingJson]
    strangers_psi: float | None
    advice: list[str]


class ModelJson(TypedDict):
    name: str
    kind: str
    default: bool
    bundle: BundleJson | None


class OtherModelJson(TypedDict):
    collection: str
    model: str


class ActivationJson(TypedDict):
    kind: str | None
    model: str | None
    others: list[OtherModelJson]


class ConsentJson(TypedDict):
    basis: str
    reference: NotRequired[str]
    expires_at: NotRequired[str | None]
    withdrawn_at: NotRequired[str]


class RemarkJson(TypedDict):
    """number: of the picture in its file; reasons: empty if it was enrolled, but is worth a second look."""

    number: int
    path: str
    subject: str
    reasons: list[str]
    conflict: NotRequired[dict[str, object]]


class SampleJson(TypedDict):
    """filename: which part of the request it came from, when the service says so."""

    id: str
    box: BoxJson
    quality: QualityJson
    filename: NotRequired[str]
    conflict: NotRequired[dict[str, object] | None]


class SubjectJson(TypedDict):
    id: str
    metadata: dict[str, str]
    consent: NotRequired[ConsentJson | None]
    valid_from: NotRequired[str | None]
    valid_until: NotRequired[str | None]
    samples: NotRequired[list[SampleJson]]


class RejectedJson(TypedDict):
    filename: str
    reasons: list[str]


class EnrolmentJson(TypedDict):
    samples: list[SampleJson]
    rejected: list[RejectedJson]


class ThresholdJson(TypedDict):
    similarity: float
    source: str
    target_fpir: NotRequired[float | None]
    gallery_size: NotRequired[int]


class CandidateJson(TypedDict):
    """fpir: None in an uncalibrated collection of pictures; likeness: only where near duplicates were asked for."""

    subject: str
    sample: str
    similarity: float
    fpir: float | None
    metadata: dict[str, str]
    likeness: NotRequired[float]


class FaceJson(TypedDict):
    """landmarks: left eye, right eye, nose, left and right mouth corner, each [x, y]; none for a whole picture."""

    box: BoxJson
    landmarks: list[list[float]]
    quality: QualityJson


class IdentifiedFaceJson(FaceJson):
    candidates: list[CandidateJson]


class IdentificationJson(TypedDict):
    """pending: instead of all others, where two people have to confirm who it is."""

    pending: NotRequired[list[PendingJson]]
    faces: list[IdentifiedFaceJson]
    threshold: ThresholdJson
    model: str
    request_id: str
    regions: NotRequired[int]


class VerificationJson(TypedDict):
    match: bool
    similarity: float
    threshold: ThresholdJson
    fmr: float | None


class DetectionJson(TypedDict):
    faces: list[FaceJson]


class ReceiptJson(TypedDict):
    """body: what was destroyed and when; signature: Ed25519 over it; ledger: "written", "pending" or "none".

    pending: what waits for an index server that is down.
    """

    body: str | dict[str, object]
    signature: str
    public_key: str
    pending: NotRequired[list[str]]
    ledger: NotRequired[str]


class GrantJson(TypedDict):
    role: str
    collection: NotRequired[str | None]


class ApiKeyJson(TypedDict):
    id: str
    name: str
    grants: list[GrantJson]
    expires_at: NotRequired[str | float | None]


class NewApiKeyJson(TypedDict):
    """key: shown this once."""

    id: str
    key: str
    access_key_id: NotRequired[str | None]
    secret_access_key: NotRequired[str | None]


class ProgressJson(TypedDict):
    done: int
    total: int
    per_second: NotRequired[float]
    seconds_left: NotRequired[float]


class JobJson(TypedDict):
    id: str
    kind: str
    collection: str | None
    state: str
    progress: ProgressJson
    error: NotRequired[object]
    result: NotRequired[object]


class AuditEntryJson(TypedDict):
    seq: int
    at: str | float
    action: str
    principal: str
    outcome: str
    request_id: str
    collection: str | None
    subject: str | None
    details: NotRequired[dict[str, object]]


class LimitsJson(TypedDict):
    max_image_bytes: int
    max_image_pixels: int
    max_faces: int
    max_images: int
    max_request_bytes: int
