"""What becomes of an identification that two people must confirm: rules without I/O.

One is kept for each face that somebody enrolled comes near to. Each reviewer says by themselves which candidate it is,
without seeing what another said. Two who name the same make it confirmed; two who differ, or one who rejects it, end
it. Whoever searched is none of the two. After Article 14(5) of Regulation (EU) 2024/1689.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from lookalike.errors import Conflict, PermissionDenied

NEEDED = 2
"""People who must name the same."""

_DAY_S = 86_400.0


class PendingState(enum.StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, repr=False)
class Suspect:
    """A candidate as it was found. fpir: None where no rate was known."""

    subject_key: str
    sample_id: str
    similarity: float
    fpir: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """What a reviewer said. subject_key: whom they named, empty once it was rejected."""

    principal: str
    subject_key: str


@dataclass(frozen=True, slots=True, repr=False)
class Pending:
    """One face that waits, or was decided. created_at: seconds since 1970; days: how long it is kept.

    asked_by: whose search it was; suspects: of a confirmed one the person alone, of a rejected one nobody; decided_at:
    0 until then.
    """

    id: str
    created_at: float
    days: int
    asked_by: str
    suspects: tuple[Suspect, ...]
    verdicts: tuple[Verdict, ...] = ()
    state: PendingState = PendingState.PENDING
    decided_at: float = 0.0

    def names(self, subject_key: str) -> bool:
        """Whether a subject is among those it may be, or is."""
        return any(suspect.subject_key == subject_key for suspect in self.suspects)

    def done_by(self, principal: str) -> bool:
        """Whether somebody has no more to say of it: they searched, or confirmed already."""
        return principal == self.asked_by or any(verdict.principal == principal for verdict in self.verdicts)

    @property
    def expires_at(self) -> float:
        return self.created_at + _DAY_S * self.days


def require_reviewer(pending: Pending, principal: str) -> None:
    """Raises: PermissionDenied for whoever searched, who would see the answer before it is one."""
    if principal == pending.asked_by:
        raise PermissionDenied("whoever searched is none of the two who confirm, and sees nothing of it before")


def confirmed(pending: Pending, principal: str, subject_key: str, now: float) -> Pending:
    """As it is once a reviewer has named somebody. Raises: PermissionDenied, Conflict."""
    _require_open(pending, principal)
    if not pending.names(subject_key):
        raise Conflict("only a candidate of this identification can be confirmed")
    if any(verdict.subject_key != subject_key for verdict in pending.verdicts):
        return _rejected(pending, now)
    verdicts = (*pending.verdicts, Verdict(principal, subject_key))
    if len(verdicts) < NEEDED:
        return replace(pending, verdicts=verdicts)
    named = tuple(suspect for suspect in pending.suspects if suspect.subject_key == subject_key)
    return replace(pending, state=PendingState.CONFIRMED, suspects=named, verdicts=verdicts, decided_at=now)


def rejected(pending: Pending, principal: str, now: float) -> Pending:
    """As it is once a reviewer says that it is none of them. Raises: PermissionDenied, Conflict."""
    _require_open(pending, principal)
    return _rejected(pending, now)


def _require_open(pending: Pending, principal: str) -> None:
    require_reviewer(pending, principal)
    if pending.state is not PendingState.PENDING:
        raise Conflict(f"this identification is {pending.state.value} already")
    if any(verdict.principal == principal for verdict in pending.verdicts):
        raise Conflict("you confirmed this before: another person must")


def _rejected(pending: Pending, now: float) -> Pending:
    """Without anybody in it: neither a candidate nor whom somebody named."""
    verdicts = tuple(replace(verdict, subject_key="") for verdict in pending.verdicts)
    return replace(pending, state=PendingState.REJECTED, suspects=(), verdicts=verdicts, decided_at=now)
