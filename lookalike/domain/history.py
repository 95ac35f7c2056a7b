"""What is written down of what happened: changes that indexes follow, audit entries, receipts, copies that left."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


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
