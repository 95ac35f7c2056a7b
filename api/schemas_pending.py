"""The JSON of identifications that wait for two people."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from api.schemas import Incoming, Metadata, is_none, moment
from lookalike import domain
from lookalike.four_eyes import NEEDED, Pending, PendingState
from lookalike.pending import Reviewed


class PendingOut(BaseModel):
    """state: "pending" until two confirmed the same, or one rejected it; confirmations: people who confirmed so far.

    subject, similarity, fpir, metadata: who it is, only once it is confirmed.
    """

    id: str
    state: PendingState
    confirmations: int
    needed: int
    created_at: str
    expires_at: str
    decided_at: str | None = Field(default=None, exclude_if=is_none)
    subject: str | None = Field(default=None, exclude_if=is_none)
    similarity: float | None = Field(default=None, exclude_if=is_none)
    fpir: float | None = Field(default=None, exclude_if=is_none)
    metadata: Metadata | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, row: Pending, subject: domain.Subject | None = None) -> PendingOut:
        named = row.suspects[0] if subject is not None else None
        return cls(
            id=row.id,
            state=row.state,
            confirmations=len(row.verdicts),
            needed=NEEDED,
            created_at=moment(row.created_at),
            expires_at=moment(row.expires_at),
            decided_at=moment(row.decided_at) if row.decided_at else None,
            subject=None if subject is None else subject.id,
            similarity=None if named is None else named.similarity,
            fpir=None if named is None else named.fpir,
            metadata=None if subject is None else dict(subject.metadata),
        )


class Held(BaseModel):
    """What an identify answers with 202: somebody enrolled may be in the picture, and two people have to look.

    It names nobody, and is no answer to act on: ask for each of `pending` again until it is confirmed or rejected.
    """

    state: PendingState
    pending: list[PendingOut]
    request_id: str

    @classmethod
    def of(cls, held: Sequence[Pending], request_id: str) -> Held:
        return cls(state=PendingState.PENDING, pending=[PendingOut.of(row) for row in held], request_id=request_id)


class PendingList(BaseModel):
    """The newest first, a thousand at most."""

    items: list[PendingOut]
    next_cursor: str | None = None


class ReviewedOut(BaseModel):
    """A candidate, for whoever has to say whether it is."""

    subject: str
    similarity: float
    fpir: float | None
    metadata: Metadata


class ReviewOut(PendingOut):
    candidates: list[ReviewedOut]

    @classmethod
    def seen(cls, row: Pending, found: list[Reviewed]) -> ReviewOut:
        candidates = [
            ReviewedOut(
                subject=one.subject.id,
                similarity=one.suspect.similarity,
                fpir=one.suspect.fpir,
                metadata=dict(one.subject.metadata),
            )
            for one in found
        ]
        # How many confirmed is told, and not whom they named: each looks by themselves.
        return cls(**PendingOut.of(row).model_dump(), candidates=candidates)


class Confirmation(Incoming):
    """subject: which of the candidates it is."""

    subject: str
