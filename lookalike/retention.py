"""Retention: a collection's rules of how long people are kept, and the daily job that keeps to them.

Whoever is past their time is no candidate from that moment (standing.py); the job erases them, each with a receipt, a
line in the ledger and an audit entry, as any erasure. It is made so that a wrong clock erases nobody by itself: after a
gap of a week between two looks, or where a large share would go at once, it waits until a person confirms.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol

from lookalike import inputs
from lookalike.answers import Caller
from lookalike.domain import Collection, Kind, Permission, Receipt, Subject
from lookalike.errors import CollectionNotFound, Conflict, InvalidInput, LegalHold, NeedsConfirmation, SubjectNotFound
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Records
from lookalike.standing import DAY_S, Standing, consent_standing, kept_until, reason_to_erase

Progress = Callable[[int, int], None]

LOOK_EVERY_S = DAY_S
TRUSTED_GAP_S = 7 * DAY_S
"""A clock that moved on by more than this since the last look is trusted only once a person says so."""

SHARE_UNASKED, FEW_UNASKED = 0.1, 25
"""A job erases this share of a collection unasked, or so many if that is more."""

GAP, MANY = "clock", "many"
"""Why a job waits to be confirmed."""

UNSET: Final = object()


@dataclass(frozen=True, slots=True)
class RetentionState:
    """What is remembered of a collection's looks. Times are in seconds since 1970, 0 for never.

    asked_at: when a look was last begun by the service itself; clock_at: the latest time that was trusted; paused: GAP
    or MANY while a job waits to be confirmed; due: how many were then; ran_at, erased: of the last job that erased;
    owed: somebody withdrew consent while a legal hold kept them, so that a look is due whatever the rules say.
    """

    asked_at: float = 0.0
    clock_at: float = 0.0
    paused: str = ""
    due: int = 0
    ran_at: float = 0.0
    erased: int = 0
    owed: bool = False


class RetentionStore(Protocol):
    """Where a collection's `RetentionState` is kept; it goes with the collection. Several processes may share one."""

    def state(self, collection: Collection) -> RetentionState: ...
    def change(self, collection: Collection, change: Callable[[RetentionState], RetentionState]) -> RetentionState:
        """In one transaction. Raises: CollectionNotFound, and what `change` raises."""
        ...

    def held(self, collection: Collection) -> frozenset[str] | None:
        """The keys of the subjects that a legal hold keeps; None where one is on the whole collection."""
        ...


class Eraser(Protocol):
    """What erases a subject with all that belongs to it."""

    def erase_subject(
        self,
        caller: Caller,
        collection: str,
        id: str,
        only_if: Callable[[Subject, float], bool] | None = None,
        why: str = "",
    ) -> Receipt: ...


@dataclass(frozen=True, slots=True, repr=False)
class Due:
    """A subject that is to be erased. since: when its time was over, in seconds since 1970, None where consent went."""

    subject: Subject
    why: Standing
    since: float | None


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """A collection's rules, and how its subjects stand. flagged: no candidates, and not erased by the rules.

    next_at: before which nobody else's time is over, None where it never is; held: kept by a legal hold though due.
    """

    collection: Collection
    state: RetentionState
    subjects: int
    due: tuple[Due, ...]
    held: int
    flagged: dict[str, int]
    next_at: float | None
    waits_for: str

    def reasons(self) -> dict[str, int]:
        """How many are due, by why."""
        return dict(Counter(due.why.value for due in self.due))


@dataclass(slots=True)
class _Looked:
    subjects: int = 0
    due: list[Due] = field(default_factory=list)
    held: int = 0
    flagged: Counter[str] = field(default_factory=Counter)
    next_at: float | None = None


class _Gone(Exception):
    """Another process looked after the collection a moment ago."""


class Retention:
    """The use cases of retention. Thread-safe; several processes may keep to the rules of one store."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        eraser: Eraser,
        store: RetentionStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._audit = audit
        self._eraser = eraser
        self._store = store
        self._clock = clock

    # ------------------------------------------------------------------------------------------- the rules

    def set_rules(
        self,
        caller: Caller,
        name: str,
        *,
        retention_days: object = UNSET,
        require_consent: bool | None = None,
        erase_expired_consent: bool | None = None,
        four_eyes_days: object = UNSET,
    ) -> Collection:
        """Change what is given. Raises: CollectionNotFound, InvalidInput, WrongKind."""
        with on_record(self._audit, caller, "retention.set", Permission.RETENTION, name) as record:
            changes: dict[str, Any] = {}
            if retention_days is not UNSET:
                changes["retention_days"] = inputs.retention(retention_days)
            if require_consent is not None:
                changes["require_consent"] = require_consent
            if erase_expired_consent is not None:
                changes["erase_expired_consent"] = erase_expired_consent
            if four_eyes_days is not UNSET:
                changes["four_eyes_days"] = inputs.four_eyes(four_eyes_days)
            if not changes:
                raise InvalidInput("nothing is given to be changed")
            where = self._records.collection(name)
            if changes.get("four_eyes_days") is not None:
                where.require(Kind.FACE)
            record.details.update({rule: None if value is None else int(value) for rule, value in changes.items()})
            return self._records.change_collection(where, lambda c: replace(c, **changes), record.commit())

    def report(self, caller: Caller, name: str) -> RetentionReport:
        """Look at everybody, and erase nobody. Raises: CollectionNotFound."""
        with on_record(self._audit, caller, "retention.read", Permission.RETENTION, name) as record:
            found = self._report(self._records.collection(name))
            record.details.update(due=len(found.due))
            return found

    def renew(self, caller: Caller, name: str, id: str) -> Subject:
        """Say that a subject is still to be kept: its time begins anew. Raises: CollectionNotFound, SubjectNotFound."""
        with on_record(self._audit, caller, "subject.renew", Permission.ENROL, name, id) as record:
            now, where = self._clock(), self._records.collection(name)
            return self._records.change_subject(
                where, id, lambda s: replace(s, renewed_at=now), record.commit(), overwrites=False
            )

    def receipts(self, caller: Caller, name: str) -> list[Receipt]:
        """Those of erasures that the rules asked for, oldest first. Raises: CollectionNotFound."""
        with on_record(self._audit, caller, "retention.receipts", Permission.RETENTION, name):
            return self._records.kept_receipts(self._records.collection(name))

    # --------------------------------------------------------------------------------------------- the job

    def claim(self) -> Iterator[Collection]:
        """Collections whose daily look is due, each given to one process alone."""
        now = self._clock()
        for collection in self._records.collections():
            state = self._store.state(collection)
            if not (_has_rules(collection) or state.owed) or not _is_due(state, now):
                continue
            with suppress(_Gone):
                self._store.change(collection, partial(_claimed, created_at=collection.created_at, now=now))
                yield collection

    def release(self, collection: Collection) -> None:
        """Give back what `claim` gave, so that it is tried again."""
        self._store.change(collection, lambda state: replace(state, asked_at=0.0))

    def require(self, caller: Caller, name: str, *, confirmed: bool) -> Collection:
        """That a job would do something now. Raises: NeedsConfirmation, CollectionNotFound, PermissionDenied."""
        with on_record(self._audit, caller, "retention.run", Permission.RETENTION, name) as record:
            found = self._report(self._records.collection(name))
            record.details.update(due=len(found.due), confirmed=int(confirmed))
            if found.waits_for and not confirmed:
                raise NeedsConfirmation(_why_waiting(found))
            return found.collection

    def run(self, caller: Caller, name: str, progress: Progress, *, confirmed: bool = False) -> dict[str, object]:
        """Erase whoever is due; begun again after a kill it goes on with those that are left.

        confirmed: a person has seen how many go. Returns counts. Raises: CollectionNotFound, PermissionDenied.
        """
        caller.principal.require(Permission.RETENTION, name)
        where, now = self._records.collection(name), self._clock()
        found = self._report(where)
        if found.waits_for and not confirmed:
            self._wait(caller, found)
            return {"erased": 0, "due": len(found.due), "held": found.held, "paused": found.waits_for}
        erased = 0
        for done, due in enumerate(found.due):
            progress(done, len(found.due))
            erased += self._erase(caller, where, due, now)

        def ended(state: RetentionState) -> RetentionState:
            ran_at, last = (now, erased) if erased else (state.ran_at, state.erased)
            owed = state.owed and found.held > 0
            return replace(state, clock_at=now, paused="", due=0, ran_at=ran_at, erased=last, owed=owed)

        self._store.change(where, ended)
        return {"erased": erased, "due": len(found.due), "held": found.held, "paused": ""}

    def _erase(self, caller: Caller, where: Collection, due: Due, now: float) -> bool:
        """Whether it was erased; not where it was renewed, held or erased by others in the meantime."""
        seen, where = where, self._records.collection(where.name)  # the rules may have been changed since
        if where.id != seen.id:
            raise CollectionNotFound("the collection was deleted meanwhile, and another took its name")

        def still(subject: Subject, last_enrolled: float) -> bool:
            return reason_to_erase(where, subject, last_enrolled, now) is not None

        try:
            self._eraser.erase_subject(caller, where.name, due.subject.id, still, due.why.value)
        except (SubjectNotFound, LegalHold):
            return False
        except Conflict as error:
            if error.code != Conflict.code:
                raise
            return False
        return True

    def _wait(self, caller: Caller, found: RetentionReport) -> None:
        """Put on record, once, that a job waits to be confirmed."""
        where, why, due = found.collection, found.waits_for, len(found.due)
        if found.state.paused != why:
            with on_record(self._audit, caller, "retention.pause", None, where.name) as record:
                record.details.update(due=due, subjects=found.subjects, why=why)
        self._store.change(where, lambda state: replace(state, paused=why, due=due))

    # -------------------------------------------------------------------------------------------- looking

    def _report(self, where: Collection) -> RetentionReport:
        now = self._clock()
        state, looked = self._store.state(where), self._look(where, now)
        return RetentionReport(
            where,
            state,
            looked.subjects,
            tuple(looked.due),
            looked.held,
            dict(looked.flagged),
            looked.next_at,
            _waits_for(state, now, len(looked.due), looked.subjects),
        )

    def _look(self, where: Collection, now: float) -> _Looked:
        looked, held = _Looked(), self._store.held(where)
        for batch in self._records.stream_subjects(where):
            old = [s for s in batch if _may_be_past(where, s, now)]
            enrolled = self._records.last_enrolled(s.key for s in old)
            for subject in batch:
                last = enrolled.get(subject.key, 0.0)
                self._count(looked, where, subject, last, now, held is None or subject.key in held)
        return looked

    @staticmethod
    def _count(looked: _Looked, where: Collection, subject: Subject, last: float, now: float, held: bool) -> None:
        looked.subjects += 1
        end, why = kept_until(where, subject, last), reason_to_erase(where, subject, last, now)
        if why is not None and held:
            looked.held += 1
        elif why is not None:
            looked.due.append(Due(subject, why, end if why is Standing.PAST_RETENTION else None))
        elif (flag := consent_standing(where, subject.consent, now)) is not Standing.GOOD:
            looked.flagged[flag.value] += 1
        if end is not None and end > now:
            looked.next_at = end if looked.next_at is None else min(looked.next_at, end)


def _has_rules(collection: Collection) -> bool:
    return collection.retention_days is not None or collection.erase_expired_consent


def _may_be_past(where: Collection, subject: Subject, now: float) -> bool:
    """Whether it takes its samples to know that a subject is past its time."""
    end = kept_until(where, subject, 0.0)
    return end is not None and end <= now


def _is_due(state: RetentionState, now: float) -> bool:
    """A day has passed since the last look, or the clock was set back since, so that a day cannot be told."""
    return not state.asked_at <= now < state.asked_at + LOOK_EVERY_S


def _claimed(state: RetentionState, created_at: float, now: float) -> RetentionState:
    """The first look at an old collection, whose rules were never kept to before, is one after a long gap."""
    if not _is_due(state, now):
        raise _Gone
    return replace(state, asked_at=now, clock_at=state.clock_at or min(created_at, now))


def _waits_for(state: RetentionState, now: float, due: int, subjects: int) -> str:
    """GAP or MANY where a person is to say yes first, else empty."""
    if not due:
        return ""
    if now - state.clock_at > TRUSTED_GAP_S:
        return GAP
    return MANY if due > max(FEW_UNASKED, SHARE_UNASKED * subjects) else ""


def _why_waiting(found: RetentionReport) -> str:
    many = f"{len(found.due)} of {found.subjects} subjects would be erased"
    if found.waits_for == GAP:
        return f"{many}, and nobody looked for a week or ever, by this machine's clock: check the time, then confirm"
    return f"{many}, more than {SHARE_UNASKED:.0%} and more than {FEW_UNASKED} at once: look who they are, then confirm"
