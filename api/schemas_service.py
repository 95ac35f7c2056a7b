"""The JSON of what the service tells of itself: jobs, API keys, the audit log, limits, readiness, refusals."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas import Incoming, is_none, moment
from api.schemas_answers import ThresholdOut
from api.schemas_subjects import RejectedOut
from lookalike import answers, domain
from lookalike.jobs import Job, JobState
from lookalike.ports import AuditProof
from security.tokens import ApiKeyInfo, CreatedKey


class ProgressOut(BaseModel):
    """per_second, seconds_left: since the job was last taken up, while it runs."""

    done: int
    total: int
    per_second: float | None = Field(default=None, exclude_if=is_none)
    seconds_left: float | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, job: Job) -> ProgressOut:
        spent, done = job.updated_at - job.started_at, job.done - job.done_before
        if job.state is not JobState.RUNNING or spent <= 0 or done <= 0:
            return cls(done=job.done, total=job.total)
        rate = done / spent
        left = round((job.total - job.done) / rate, 1)
        return cls(done=job.done, total=job.total, per_second=round(rate, 2), seconds_left=left)


class JobErrorOut(BaseModel):
    code: str
    detail: str


class JobOut(BaseModel):
    id: str
    kind: str
    collection: str | None
    state: JobState
    progress: ProgressOut
    created_at: str
    error: JobErrorOut | None = Field(default=None, exclude_if=is_none)
    result: dict[str, object] | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, job: Job) -> JobOut:
        return cls(
            id=job.id,
            kind=job.kind,
            collection=job.collection,
            state=job.state,
            progress=ProgressOut.of(job),
            created_at=moment(job.created_at),
            error=None if job.error is None else JobErrorOut(code=job.error[0], detail=job.error[1]),
            result=None if job.result is None else dict(job.result),
        )


class JobList(BaseModel):
    items: list[JobOut]
    next_cursor: str | None = None


def calibration_result(report: answers.CalibrationReport) -> Mapping[str, object]:
    """What a calibration job ends with."""
    return {
        "subjects": report.subjects,
        "pairs": report.pairs,
        "dropped_pairs": report.dropped_pairs,
        "before": ThresholdOut.of(report.before).model_dump(mode="json"),
        "after": ThresholdOut.of(report.after).model_dump(mode="json"),
    }


class GrantFields(Incoming):
    role: str
    collection: str | None = None


class NewApiKey(Incoming):
    name: str
    grants: Annotated[list[GrantFields], Field(min_length=1, max_length=256)]
    expires_days: int | None = None
    aws: bool = False


class GrantOut(BaseModel):
    role: str
    collection: str | None


class CreatedApiKey(BaseModel):
    """The secrets are shown this once."""

    id: str
    key: str
    access_key_id: str | None = Field(default=None, exclude_if=is_none)
    secret_access_key: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, made: CreatedKey) -> CreatedApiKey:
        return cls(
            id=made.id,
            key=made.key,
            access_key_id=made.access_key_id,
            secret_access_key=made.secret_access_key,
        )


class ApiKeyOut(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    grants: list[GrantOut]
    created_at: str
    created_by: str
    expires_at: str | None
    access_key_id: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, key: ApiKeyInfo) -> ApiKeyOut:
        return cls(
            id=key.id,
            name=key.name,
            grants=[GrantOut(role=grant.role, collection=grant.collection) for grant in key.grants],
            created_at=moment(key.created_at),
            created_by=key.created_by,
            access_key_id=key.aws_access_key_id,
            expires_at=None if key.expires_at is None else moment(key.expires_at),
        )


class ApiKeyList(BaseModel):
    items: list[ApiKeyOut]
    next_cursor: str | None = None


class AuditEntryOut(BaseModel):
    """outcome: "ok", "denied" or an error's code."""

    seq: int
    at: str
    action: str
    principal: str
    outcome: str
    request_id: str
    collection: str | None
    subject: str | None
    details: dict[str, str | int | float | None]

    @classmethod
    def of(cls, entry: domain.AuditEntry) -> AuditEntryOut:
        return cls(
            seq=entry.seq,
            at=moment(entry.at),
            action=entry.action,
            principal=entry.principal,
            outcome=entry.outcome,
            request_id=entry.request_id,
            collection=entry.collection,
            subject=entry.subject,
            details=dict(entry.details),
        )


class AuditPage(BaseModel):
    """Oldest first; ask again with next_cursor for what follows, null at the end. With a filter, pages may be short."""

    items: list[AuditEntryOut]
    next_cursor: str | None


class CheckpointOut(BaseModel):
    """The signed statement that the log had this root at this entry; docs/audit.md says how it is checked."""

    deployment: str
    seq: int
    chain: str
    root: str
    at: float
    public_key: str
    epoch: str
    ledger: dict[str, int | str]
    signature: str


class AuditProofOut(BaseModel):
    """Hashes in hex, as RFC 6962 orders them. entry: sealed, in base64; what a proof does not have is left out."""

    size: int
    root: str
    path: list[str]
    earlier: int | None = Field(default=None, exclude_if=is_none)
    seq: int | None = Field(default=None, exclude_if=is_none)
    at: float | None = Field(default=None, exclude_if=is_none)
    entry: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, proof: AuditProof) -> AuditProofOut:
        return cls(
            size=proof.size,
            root=proof.root.hex(),
            path=[step.hex() for step in proof.path],
            earlier=proof.earlier or None,
            seq=proof.row.seq if proof.row is not None else None,
            at=proof.row.at if proof.row is not None else None,
            entry=base64.b64encode(proof.row.payload).decode("ascii") if proof.row is not None else None,
        )


# ------------------------------------------------------------------------------------------ the service


class LimitsOut(BaseModel):
    max_image_bytes: int
    max_image_pixels: int
    max_faces: int
    max_images: int
    max_regions: int
    max_request_bytes: int
    max_import_bytes: int
    max_import_pictures: int
    max_queue: int
    header_timeout_s: float
    body_idle_timeout_s: float
    body_min_bytes_per_s: int
    answer_timeout_s: float
    formats: list[str]


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    """Without a credential only the status is told. notes: what wants care although all works, such as a certificate
    that was put in place and cannot be served."""

    status: str
    reason: str | None = Field(default=None, exclude_if=is_none)
    runtime: str | None = Field(default=None, exclude_if=is_none)
    model: str | None = Field(default=None, exclude_if=is_none)
    notes: list[str] | None = Field(default=None, exclude_if=is_none)


class Problem(BaseModel):
    """RFC 9457. code: a stable word, see docs/errors.md."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, str]] | None = Field(default=None, exclude_if=is_none)
    rejected: list[RejectedOut] | None = Field(default=None, exclude_if=is_none)
