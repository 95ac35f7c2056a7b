"""The JSON of retention, consent, legal holds, corrections and access requests, in and out."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas import Incoming, is_none, moment
from api.schemas_collections import ReceiptOut
from api.schemas_subjects import SubjectOut
from lookalike.consent import Withdrawal
from lookalike.holds import MAX_REASON, Hold
from lookalike.retention import Due, RetentionReport
from lookalike.standing import Standing

MOST_NAMED = 1000
"""Subjects that an answer names; the counts are of all."""


class RulesChange(Incoming):
    """Only what is sent is changed; `retention_days: null` takes the limit away, `four_eyes_days: null`
    lets one person alone learn who it is."""

    retention_days: int | None = None
    require_consent: bool | None = None
    erase_expired_consent: bool | None = None
    four_eyes_days: int | None = None


class RetentionRun(Incoming):
    """confirm: somebody has seen who goes, so that neither their number nor a leap of the clock holds the job up."""

    confirm: bool = False


class DueOut(BaseModel):
    """why: a stable word; since: when the time was over."""

    subject: str
    why: Standing
    since: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, due: Due) -> DueOut:
        return cls(subject=due.subject.id, why=due.why, since=None if due.since is None else moment(due.since))


class RetentionOut(BaseModel):
    """A collection's rules and how its subjects stand now.

    due: to be erased with the next job, by why; held: due too, but kept by a legal hold; flagged: no candidates, and
    kept; next_at: nobody else is due before; waits_for: "clock" or "many" where a job waits to be confirmed;
    would_erase: who is due, the first thousand.
    """

    collection: str
    retention_days: int | None
    require_consent: bool
    erase_expired_consent: bool
    four_eyes_days: int | None
    subjects: int
    due: dict[str, int]
    held: int
    flagged: dict[str, int]
    next_at: str | None
    waits_for: str | None
    last_run_at: str | None
    last_erased: int
    would_erase: Annotated[list[DueOut], Field(max_length=MOST_NAMED)]

    @classmethod
    def of(cls, found: RetentionReport) -> RetentionOut:
        where, state = found.collection, found.state
        return cls(
            collection=where.name,
            retention_days=where.retention_days,
            require_consent=where.require_consent,
            erase_expired_consent=where.erase_expired_consent,
            four_eyes_days=where.four_eyes_days,
            subjects=found.subjects,
            due=found.reasons(),
            held=found.held,
            flagged=found.flagged,
            next_at=_moment(found.next_at),
            waits_for=found.waits_for or None,
            last_run_at=_moment(state.ran_at),
            last_erased=state.erased,
            would_erase=[DueOut.of(due) for due in found.due[:MOST_NAMED]],
        )


class WithdrawalOut(BaseModel):
    """receipt: of the erasure; kept: the subject where a legal hold keeps it, to be erased once that is lifted."""

    erased: bool
    receipt: ReceiptOut | None = Field(default=None, exclude_if=is_none)
    kept: SubjectOut | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, done: Withdrawal) -> WithdrawalOut:
        return cls(
            erased=done.receipt is not None,
            receipt=None if done.receipt is None else ReceiptOut.of(done.receipt),
            kept=None if done.kept is None else SubjectOut.of(done.kept),
        )


class NewHold(Incoming):
    """subject: whom it holds, everything in the collection where it is left out."""

    subject: str | None = None
    reason: Annotated[str, Field(max_length=MAX_REASON)]


class HoldLift(Incoming):
    reason: Annotated[str, Field(max_length=MAX_REASON)]


class HoldOut(BaseModel):
    """subject: null for one on the whole collection."""

    id: str
    subject: str | None
    reason: str
    by: str
    since: str

    @classmethod
    def of(cls, hold: Hold) -> HoldOut:
        return cls(id=hold.id, subject=hold.subject, reason=hold.reason, by=hold.by, since=moment(hold.at))


class HoldList(BaseModel):
    items: list[HoldOut]
    next_cursor: str | None = None


class Rename(Incoming):
    """id: the new one."""

    id: str


class Move(Incoming):
    """subject: whose the sample is, old or new."""

    subject: str


def _moment(seconds: float | None) -> str | None:
    return moment(seconds) if seconds else None
