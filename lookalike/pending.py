"""Identifications that wait for two people: kept, listed, reviewed, confirmed or rejected, answered, forgotten.

The collection asks for it (`four_eyes_days`). Until two have confirmed it, whoever searched learns that a face waits,
and nothing of whose it may be. Everything is sealed, and deleted after so many days, decided or not.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lookalike.answers import Caller, IdentifiedFace
from lookalike.domain import AuditEntry, Collection, Permission, Subject
from lookalike.errors import FourEyesRequired, PendingNotFound, SampleNotFound
from lookalike.four_eyes import Pending, PendingState, Suspect, confirmed, rejected, require_reviewer
from lookalike.on_record import on_record
from lookalike.pending_store import PendingStore
from lookalike.ports import AuditLog, Records

EXPIRE_EVERY_S = 60.0
MOST_LISTED = 1_000


@dataclass(frozen=True, slots=True, repr=False)
class Reviewed:
    """A candidate as a reviewer sees it."""

    subject: Subject
    suspect: Suspect


class Standings(Protocol):
    """Says who of some subjects may be a candidate at this moment."""

    def __call__(self, where: Collection, keys: set[str]) -> set[str]: ...


def refuse_alone(where: Collection) -> None:
    """Raises: FourEyesRequired where an answer that one person gets by themselves would name somebody."""
    if where.four_eyes_days is not None:
        raise FourEyesRequired(
            "two people confirm who it is in this collection: use identify, which answers with what waits for them"
        )


class PendingAnswers:
    """The use cases. Thread-safe. store: None where nothing can wait, and nobody is identified then."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        good: Standings,
        store: PendingStore | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._audit = audit
        self._good = good
        self._store = store
        self._clock = clock
        self._expired_at = 0.0

    # ------------------------------------------------------------------------------------------------- holding

    def hold(
        self, caller: Caller, where: Collection, faces: Sequence[IdentifiedFace], entry: AuditEntry
    ) -> tuple[Pending, ...]:
        """Keep each face with candidates until two people decided. Raises: CollectionNotFound."""
        now, matched = self._clock(), [face for face in faces if face.candidates]
        rows = [
            Pending(
                secrets.token_hex(16),
                now,
                where.four_eyes_days or 0,
                caller.principal.id,
                tuple(Suspect(c.subject.key, c.sample_id, c.similarity, c.fpir) for c in face.candidates),
            )
            for face in matched
        ]
        seen = {row.id: face.crop for row, face in zip(rows, matched, strict=True) if face.crop is not None}
        self._kept().put(where, rows, seen, entry)
        return tuple(rows)

    # --------------------------------------------------------------------------------------------------- asking

    def page(self, caller: Caller, name: str) -> list[Pending]:
        """Those that are kept, the newest first. Raises: CollectionNotFound."""
        with on_record(self._audit, caller, "pending.list", Permission.CONFIRM, name) as record:
            where = self._records.collection(name)
            found = sorted(self._current(where), key=lambda row: (-row.created_at, row.id))[:MOST_LISTED]
            record.details.update(pending=len(found))
            return found

    def one(self, caller: Caller, name: str, id: str) -> tuple[Pending, Subject | None]:
        """How one stands, and once it is confirmed who it is. Raises: CollectionNotFound, PendingNotFound."""
        with on_record(self._audit, caller, "pending.read", Permission.IDENTIFY, name) as record:
            where = self._records.collection(name)
            row = self._one(where, id)
            if row.state is not PendingState.CONFIRMED:
                return row, None
            (suspect,) = row.suspects
            found = self._subjects(where, row)
            if suspect.subject_key not in found:
                raise PendingNotFound("whoever was confirmed may be named no more")
            record.details.update(matched=suspect.subject_key)
            return row, found[suspect.subject_key]

    def review(self, caller: Caller, name: str, id: str) -> tuple[Pending, list[Reviewed]]:
        """The candidates of one that waits, for a reviewer. Raises: CollectionNotFound, PendingNotFound."""
        with on_record(self._audit, caller, "pending.review", Permission.CONFIRM, name) as record:
            where, row = self._for_reviewer(caller, name, id)
            subjects = self._subjects(where, row)
            found = [Reviewed(subjects[s.subject_key], s) for s in row.suspects if s.subject_key in subjects]
            record.details.update(matched=",".join(one.subject.key for one in found))
            return row, found

    def face(self, caller: Caller, name: str, id: str) -> bytes:
        """The face that was seen, JPEG. Raises: CollectionNotFound, PendingNotFound."""
        with on_record(self._audit, caller, "pending.face", Permission.CONFIRM, name):
            where, row = self._for_reviewer(caller, name, id)
            found = self._kept().face(where, row.id)
            if found is None:
                raise PendingNotFound("the face that was seen is not kept")
            return found

    def candidate_face(self, caller: Caller, name: str, id: str, subject: str) -> bytes:
        """The enrolled face of a candidate, JPEG, where the collection keeps it. Raises: SampleNotFound and others."""
        with on_record(self._audit, caller, "pending.face", Permission.CONFIRM, name, subject):
            where, row = self._for_reviewer(caller, name, id)
            who = self._records.subject(where, subject)
            near = {suspect.sample_id for suspect in row.suspects if suspect.subject_key == who.key}
            kept = self._records.crops(where, [s for s in self._records.samples(where, who) if s.id in near])
            if not kept:
                raise SampleNotFound("there is no such candidate, or its face is not kept")
            return next(iter(kept.values()))

    # ------------------------------------------------------------------------------------------------- deciding

    def confirm(self, caller: Caller, name: str, id: str, subject: str) -> Pending:
        """Name one of the candidates. Raises: CollectionNotFound, PendingNotFound, SubjectNotFound, Conflict."""
        with on_record(self._audit, caller, "pending.confirm", Permission.CONFIRM, name, subject) as record:
            where, _ = self._for_reviewer(caller, name, id)
            key = self._records.subject(where, subject).key
            if key not in self._good(where, {key}):
                raise PendingNotFound("this candidate may be recognised no more")
            who, now = caller.principal.id, self._clock()
            record.details.update(pending=id)
            found = self._kept().change(where, id, lambda row: confirmed(row, who, key, now), record.commit())
            return _there(found)

    def reject(self, caller: Caller, name: str, id: str) -> Pending:
        """Say that it is none of them. Raises: CollectionNotFound, PendingNotFound, Conflict."""
        with on_record(self._audit, caller, "pending.reject", Permission.CONFIRM, name) as record:
            where, _ = self._for_reviewer(caller, name, id)
            who, now = caller.principal.id, self._clock()
            record.details.update(pending=id)
            found = self._kept().change(where, id, lambda row: rejected(row, who, now), record.commit())
            return _there(found)

    # ------------------------------------------------------------------------------------------------ forgetting

    def forget(self, caller: Caller, where: Collection, subject_key: str) -> None:
        """Delete all that name a subject, which is about to be erased."""
        if self._store is None:
            return
        named = [row.id for row in self._store.rows(where) if row.names(subject_key)]
        if named:
            entry = AuditEntry(
                "pending.forget",
                caller.principal.id,
                "ok",
                caller.request_id,
                where.name,
                details={"pending": len(named), "matched": subject_key},
            )
            self._store.drop(where, named, entry)

    def naming(self, where: Collection, subject_key: str) -> list[Pending]:
        """All that name a subject, for whoever asks what is kept of them."""
        return [row for row in self._current(where) if row.names(subject_key)]

    def tend(self) -> None:
        """Delete those past their time."""
        if self._store is None or self._clock() - self._expired_at < EXPIRE_EVERY_S:
            return
        self._expired_at = now = self._clock()
        for where in self._records.collections():
            gone = [row.id for row in self._store.rows(where) if row.expires_at <= now]
            if gone:
                self._store.drop(where, gone, None)

    # ---------------------------------------------------------------------------------------------------- inside

    def _kept(self) -> PendingStore:
        if self._store is None:
            raise FourEyesRequired("nothing can wait for two people here, so nobody is identified in this collection")
        return self._store

    def _current(self, where: Collection) -> list[Pending]:
        if self._store is None:
            return []
        now = self._clock()
        return [row for row in self._store.rows(where) if row.expires_at > now]

    def _one(self, where: Collection, id: str) -> Pending:
        row = None if self._store is None else self._store.one(where, id)
        if row is None or row.expires_at <= self._clock():
            raise PendingNotFound("there is no such identification, or no longer")
        return row

    def _for_reviewer(self, caller: Caller, name: str, id: str) -> tuple[Collection, Pending]:
        where = self._records.collection(name)
        row = self._one(where, id)
        require_reviewer(row, caller.principal.id)
        return where, row

    def _subjects(self, where: Collection, row: Pending) -> dict[str, Subject]:
        """Those of its suspects that may be candidates now, by key."""
        good = self._good(where, {suspect.subject_key for suspect in row.suspects})
        return dict(self._records.subjects(where, sorted(good)))


def _there(row: Pending | None) -> Pending:
    if row is None:
        raise PendingNotFound("there is no such identification, or no longer")
    return row
