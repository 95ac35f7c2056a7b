"""Faces that identify matched to nobody, kept where a collection says so: noted, grouped, listed, enrolled, forgotten.

A probe only puts its strangers into memory; they are grouped and stored soon after, by a thread with time. What was
not stored when a process is killed is lost, and nothing is ever counted twice. A collection that keeps no unknown faces
costs a comparison, and nothing is written. Nothing is kept longer than the collection's `keep_unknown_days`, counted
from when a person was first seen.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from lookalike import domain
from lookalike.answers import Caller
from lookalike.consent import require_consent
from lookalike.domain import (
    AuditEntry,
    Collection,
    Consent,
    EncodedFace,
    Floats,
    Keep,
    NewSample,
    Page,
    Permission,
    Sample,
    Space,
    Subject,
)
from lookalike.errors import (
    CollectionNotFound,
    Conflict,
    GenerationChanged,
    InvalidInput,
    StorageFull,
    StorageUnavailable,
    SubjectNotFound,
    UnknownNotFound,
)
from lookalike.live import Live
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Models, Records
from lookalike.unknown_groups import Bars, Changes, Groups, Sighting, Unknown, dismissed, oldest
from lookalike.unknown_store import Known, UnknownsMoved, UnknownStore

MOST_UNKNOWNS = 10_000
"""Rows of a collection; the ones not seen for longest go first."""

MOST_WAITING = 1_000
"""Sightings of a collection that wait in memory to be stored; older ones are let go of."""

SIGHTING_SHARE, ROWS_SHARE = 0.1, 0.01
"""Of the rate at which strangers are taken for somebody enrolled: how often one may join another's row, and how often
rows of two people may be joined. Nobody notices a row of two, as one does a second row of one (docs/adr/0018)."""

EXPIRE_EVERY_S = 3600.0

_DAY_S = 86_400.0
_ATTEMPTS = 8
_CURSOR = re.compile(r"(\d{1,12})\.([0-9a-f]{32})")


@dataclass(slots=True)
class _Waiting:
    collection: Collection
    sightings: deque[Sighting] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))


class UnknownFaces:
    """The use cases of unknown faces. Thread-safe. store: None keeps nothing, whatever a collection says."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        models: Models,
        live: Live,
        store: UnknownStore | None,
        most: int = MOST_UNKNOWNS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._audit = audit
        self._models = models
        self._live = live
        self._store = store
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._changing = threading.RLock()
        self._waiting: dict[str, _Waiting] = {}
        self._known: dict[str, Known] = {}
        self._expired_at = 0.0

    # ----------------------------------------------------------------------------------------- taking notice

    def note(self, where: Collection, strangers: Sequence[EncodedFace]) -> None:
        """Remember these faces, which match nobody, until `flush` stores them."""
        if self._store is None or not strangers:
            return
        now = self._clock()
        seen = [Sighting(f.face.box, f.face.quality, f.vector, now, f.crop) for f in strangers]
        with self._lock:
            self._waiting.setdefault(where.id, _Waiting(where)).sightings.extend(seen)

    @property
    def waiting(self) -> int:
        """Faces that were noted and are not stored yet."""
        with self._lock:
            return sum(len(waiting.sightings) for waiting in self._waiting.values())

    def kept(self) -> int:
        """Rows of unknown faces in all collections."""
        if self._store is None:
            return 0
        return sum(self._store.count(c) for c in self._records.collections() if c.keep_unknown_days is not None)

    def flush(self) -> None:
        """Group and store what was noted. What cannot be stored now waits on, and the error is raised."""
        with self._changing:
            with self._lock:
                held, self._waiting = list(self._waiting.values()), {}
            while held:
                waiting = held[-1]
                try:
                    self._take(waiting.collection, list(waiting.sightings))
                except CollectionNotFound:
                    pass  # it was deleted, and its unknown faces with it
                except Exception:
                    self._take_back(held)
                    raise
                held.pop()

    def close(self) -> None:
        """Store what waits, as far as that can be done now."""
        with suppress(StorageFull, StorageUnavailable):
            self.flush()

    def tend(self, caller: Caller) -> None:
        """Store what waits, and now and then drop what is past its time; for a thread with time."""
        if self._store is None:
            return
        self.flush()
        now = self._clock()
        if now - self._expired_at < EXPIRE_EVERY_S:
            return
        for collection in self._records.collections():
            with suppress(CollectionNotFound):  # deleted meanwhile
                if collection.keep_unknown_days is not None:
                    self._expire(caller, collection, now)
                elif self._store.version(collection):
                    self.clear(caller, collection)  # where turning it off was cut short before all were erased
        self._expired_at = now

    def _take(self, seen: Collection, sightings: list[Sighting]) -> None:
        where = self._records.collection(seen.name)
        if where.id != seen.id or where.keep_unknown_days is None or where.space != seen.space:
            return

        def grouped(known: Known) -> Changes:
            done = known.groups.take(sightings, self._bars(where, len(known.groups) + len(sightings)))
            beyond = known.without({row.id for row in oldest(known.rows.values(), beyond=self._most)})
            put = {id: row for id, row in done.put.items() if id not in beyond.gone}
            kept = {face.id for row in put.values() for face in row.faces}
            crops = {id: crop for id, crop in done.crops.items() if id in kept}
            return Changes(put, crops, done.gone | beyond.gone)

        self._change(where, grouped, None)

    def _take_back(self, held: Iterable[_Waiting]) -> None:
        with self._lock:
            for waiting in held:
                since = self._waiting.setdefault(waiting.collection.id, _Waiting(waiting.collection))
                since.sightings.extendleft(reversed(waiting.sightings))

    def _expire(self, caller: Caller, where: Collection, now: float) -> None:
        past = [row for row in self._current(where).rows.values() if expires_at(where, row) <= now]
        if past:
            with on_record(self._audit, caller, "unknown.expire", None, where.name) as record:
                record.details.update(unknowns=len(past))
                self._forget(where, {row.id for row in past}, record.commit())

    # --------------------------------------------------------------------------------------- looking at them

    def page(
        self, caller: Caller, name: str, limit: int, cursor: str | None, *, hidden: bool = False
    ) -> tuple[Collection, Page[Unknown]]:
        """Rows seen most often first. hidden: those that were dismissed instead. Raises: CollectionNotFound."""
        with on_record(self._audit, caller, "unknown.list", Permission.READ, name):
            if not 1 <= limit <= 100:
                raise InvalidInput("limit: 1 to 100 are allowed")
            where = self._records.collection(name)
            after = _read_cursor(cursor)
            rows = sorted((r for r in self._present(where).values() if r.dismissed is hidden), key=_by_seen)
            rest = rows if after is None else [row for row in rows if _by_seen(row) > after]
            more = f"{rest[limit - 1].seen}.{rest[limit - 1].id}" if len(rest) > limit else None
            return where, Page(tuple(rest[:limit]), more)

    def one(self, caller: Caller, name: str, id: str) -> tuple[Collection, Unknown]:
        """Raises: CollectionNotFound, UnknownNotFound."""
        with on_record(self._audit, caller, "unknown.read", Permission.READ, name):
            where = self._records.collection(name)
            return where, self._row(where, id)

    def crop(self, caller: Caller, name: str, id: str, face_id: str) -> bytes:
        """A kept face as JPEG. Raises: CollectionNotFound, UnknownNotFound."""
        with on_record(self._audit, caller, "unknown.crop", Permission.READ_CROPS, name) as record:
            record.details.update(unknown=id)
            where = self._records.collection(name)
            known = any(face.id == face_id for face in self._row(where, id).faces)
            found = self._store.crop(where, face_id) if known and self._store is not None else None
            if found is None:
                raise UnknownNotFound("this picture is not kept")
            return found

    # --------------------------------------------------------------------------------------------- deciding

    def enrol(self, caller: Caller, name: str, id: str, subject: str) -> tuple[Subject, list[Sample]]:
        """Make its kept faces samples of a subject, old or new, and forget it as unknown, with rows that look alike.

        The samples have the faces' ids, so that asking again after a crash finds them.
        Raises: CollectionNotFound, UnknownNotFound, ConsentRequired unless the subject has one already where that is
        asked for, Conflict where nothing is kept that could be enrolled.
        """
        with on_record(self._audit, caller, "unknown.enrol", Permission.ENROL, name, subject) as record:
            domain.subject_id(subject)
            where = self._records.collection(name)
            row = self._row(where, id)
            if not row.faces:
                raise Conflict("it was dismissed, so no face is kept that could be enrolled")
            if where.require_consent:
                require_consent(where, self._consent_of(where, subject), self._clock())
            record.details.update(unknown=id, samples=len(row.faces), seen=row.seen)
            stored, samples = self._enrolled(where, subject, row, record.commit())
            self._live.catch_up()
            alike = self._alike(where, [row.total], ROWS_SHARE) if row.space == where.space.key else []
            self._forget(where, {id, *(other.id for other in alike)}, None)
            return stored, samples

    def dismiss(self, caller: Caller, name: str, id: str) -> None:
        """Show it no more and drop its pictures; it is recognised until its time ends, so that it stays away.

        Raises: CollectionNotFound, UnknownNotFound.
        """
        with on_record(self._audit, caller, "unknown.dismiss", Permission.ENROL, name) as record:
            record.details.update(unknown=id)
            where = self._records.collection(name)
            row = dismissed(self._row(where, id))
            self._change(where, lambda known: known.replaced(row), record.commit())

    def erase(self, caller: Caller, name: str, id: str) -> None:
        """Forget it altogether; the same person is a new row when seen again.

        Raises: CollectionNotFound, UnknownNotFound.
        """
        with on_record(self._audit, caller, "unknown.erase", Permission.ERASE, name) as record:
            record.details.update(unknown=id)
            where = self._records.collection(name)
            self._row(where, id)
            self._forget(where, {id}, record.commit())

    def forget_like(self, caller: Caller, where: Collection, vectors: Floats) -> int:
        """Forget whoever looks like one of these vectors (N, D) at the collection's own rate. Returns how many."""
        if self._store is None or where.keep_unknown_days is None or not len(vectors):
            return 0
        self.flush()
        alike = self._alike(where, [*vectors, vectors.sum(axis=0)], 1.0)
        if alike:
            with on_record(self._audit, caller, "unknown.erase", None, where.name) as record:
                record.details.update(unknowns=len(alike))
                self._forget(where, {row.id for row in alike}, record.commit())
        return len(alike)

    def like(self, where: Collection, vectors: Floats) -> list[Unknown]:
        """Whoever looks like one of these vectors (N, D), as `forget_like` finds them. The caller has the right."""
        if self._store is None or where.keep_unknown_days is None or not len(vectors):
            return []
        self.close()
        return self._alike(where, [*vectors, vectors.sum(axis=0)], 1.0)

    def kept_crop(self, where: Collection, face_id: str) -> bytes | None:
        """A kept face's picture, None where there is none. The caller has the right."""
        return None if self._store is None else self._store.crop(where, face_id)

    def clear(self, caller: Caller, where: Collection) -> int:
        """Forget all of a collection. Returns how many there were."""
        if self._store is None:
            return 0
        with self._lock:
            self._waiting.pop(where.id, None)
        rows = self._current(where).rows
        if rows:
            with on_record(self._audit, caller, "unknown.erase", None, where.name) as record:
                record.details.update(unknowns=len(rows))
                self._forget(where, set(rows), record.commit())
        return len(rows)

    # ----------------------------------------------------------------------------------------------- inside

    def _present(self, where: Collection) -> dict[str, Unknown]:
        """All rows but those past their time, with what this process has noted, as far as that can be stored now."""
        if self._store is None or where.keep_unknown_days is None:
            return {}
        self.close()
        now = self._clock()
        return {id: row for id, row in self._current(where).rows.items() if expires_at(where, row) > now}

    def _row(self, where: Collection, id: str) -> Unknown:
        row = self._present(where).get(id)
        if row is None:
            raise UnknownNotFound("there is no such unknown person")
        return row

    def _alike(self, where: Collection, vectors: Iterable[Floats], share: float) -> list[Unknown]:
        """Rows that lie near one of these, at a share of the collection's rate."""
        groups = self._current(where).groups
        bar = self._bar(where, len(groups), share)
        return list({row.id: row for vector in vectors for row in groups.near(vector, bar)}.values())

    def _bars(self, where: Collection, rows: int) -> Bars:
        return Bars(self._bar(where, rows, SIGHTING_SHARE), self._bar(where, rows, ROWS_SHARE))

    def _bar(self, where: Collection, rows: int, share: float) -> float:
        """The similarity that a stranger reaches with any of so many others at this share of the collection's rate."""
        return self._live.of(where).calibration.threshold(share * where.target_fpir, max(rows, 1)).similarity

    def _forget(self, where: Collection, ids: set[str], entry: AuditEntry | None) -> None:
        self._change(where, lambda known: known.without(ids), entry)

    def _change(self, where: Collection, change: Callable[[Known], Changes], entry: AuditEntry | None) -> None:
        """Do to the newest rows what `change` does, and store it. If that fails, this process reads them anew."""
        if self._store is None:
            raise UnknownNotFound("unknown people are not kept here")
        with self._changing:
            for _ in range(_ATTEMPTS):
                known = self._current(where)
                del self._known[where.id]
                changes = change(known)
                try:
                    known.version = self._store.change(where, changes, known.version, entry)
                except UnknownsMoved:
                    continue
                self._known[where.id] = known
                return
        raise Conflict("the unknown people are being changed by others again and again; try later")

    def _current(self, where: Collection) -> Known:
        if self._store is None:
            return Known(0, Groups(where.space.key, ()), {})
        with self._changing:
            known = self._known.get(where.id)
            if known is None or known.version != self._store.version(where) or known.groups.space != where.space.key:
                version, rows = self._store.rows(where)
                others = {row.id: row for row in rows if row.space != where.space.key}
                known = Known(version, Groups(where.space.key, rows), others)
                self._known[where.id] = known
            return known

    def _consent_of(self, where: Collection, subject: str) -> Consent | None:
        with suppress(SubjectNotFound):
            return self._records.subject(where, subject).consent
        return None

    def _enrolled(
        self, seen: Collection, subject: str, row: Unknown, entry: AuditEntry
    ) -> tuple[Subject, list[Sample]]:
        """Store its faces as samples in every space that the collection has at the moment of the commit."""
        for _ in range(_ATTEMPTS):
            where = self._records.collection(seen.name)
            try:
                return self._records.add_samples(where, subject, self._samples(where, row), entry)
            except GenerationChanged:
                continue
        raise Conflict("the collection's generations change again and again; try later")

    def _samples(self, where: Collection, row: Unknown) -> list[NewSample]:
        crops = [self._store.crop(where, face.id) if self._store is not None else None for face in row.faces]
        vectors = {space: self._templates(row, crops, space) for space in where.spaces}
        return [
            NewSample(
                id=face.id,
                box=face.box,
                quality=face.quality,
                vector=vectors[where.space][i],
                crop=crops[i] if where.keep is not Keep.NONE else None,
                also=tuple((space, rows[i]) for space, rows in vectors.items() if space != where.space),
            )
            for i, face in enumerate(row.faces)
        ]

    def _templates(self, row: Unknown, crops: Sequence[bytes | None], space: Space) -> Floats:
        """(N, D) of its faces: embedded as for any enrolment where their pictures are kept, else as they were seen."""
        kept = [crop for crop in crops if crop is not None]
        if len(kept) == len(crops):
            return self._models.encoder(space).encode_crops(kept, enrolment=True).vectors
        if row.space != space.key:
            raise Conflict(f"no picture of it is kept, so the model {space.model!r} cannot be given it")
        return np.stack([face.vector for face in row.faces])


def expires_at(where: Collection, row: Unknown) -> float:
    """When it is forgotten, in seconds since 1970."""
    return row.first_seen + _DAY_S * (where.keep_unknown_days or 0)


def _by_seen(row: Unknown) -> tuple[int, str]:
    return -row.seen, row.id


def _read_cursor(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidInput("cursor: only one that this service gave is allowed")
    return -int(found[1]), found[2]
