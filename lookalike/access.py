"""Access requests: all that is kept of one subject, gathered for whoever has to answer.

Pictures come one by one, so that a person with many of them takes no more memory than one. Vectors are left out: they
are the model's numbers, of use to nobody but an attacker, and never leave in an answer; what each is of, is told. Of
audit entries that concern the subject nothing of others who were matched beside it is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Collection, Copy, Keep, Permission, Sample, Space, Subject
from lookalike.errors import SampleNotFound
from lookalike.four_eyes import Pending
from lookalike.live import Live
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Records
from lookalike.retention import RetentionStore
from lookalike.standing import DAY_S, Standing, kept_until, standing
from lookalike.unknown_groups import Unknown
from lookalike.unknowns import UnknownFaces

RENAME = "subject.rename"
RENAMED = "renamed"
"""In an entry of a renaming: the subject's key, by which earlier names are found."""

_TOLD = ("why", "reason", "samples", "match", "receipt_sha256")
_PAGE = 1000
_CLOCKS_DIFFER_S = DAY_S
"""Clocks of replicas, and one that was put right, may disagree by so much."""


@dataclass(frozen=True, slots=True, repr=False)
class Concerning:
    """An audit entry that concerns the subject. how: "named" in it, or "matched" by a search."""

    at: float
    action: str
    outcome: str
    by: str
    request_id: str
    how: str
    details: Mapping[str, str | int | float | None]


@dataclass(frozen=True, slots=True, repr=False)
class KeptSample:
    """A sample and the models that it has a template of."""

    sample: Sample
    spaces: tuple[Space, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Dossier:
    """What is kept of a subject, without pictures. until: when its retention time ends; held: by a legal hold.

    alike: unknown faces that look like it; waiting: identifications that name it, waiting for two people or confirmed;
    backed_up_at: when the last backup was begun, 0 for never.
    """

    collection: Collection
    subject: Subject
    samples: tuple[KeptSample, ...]
    standing: Standing
    until: float | None
    held: bool
    alike: tuple[Unknown, ...]
    waiting: tuple[Pending, ...]
    copies: tuple[Copy, ...]
    backed_up_at: float
    at: float


@dataclass(frozen=True, slots=True, repr=False)
class KeptPicture:
    """A picture of the subject. of: the sample's or kept face's id; kind: "crop", "image" or "unknown"."""

    of: str
    kind: str
    data: bytes


@dataclass(slots=True, repr=False)
class _Found:
    """Audit entries by the way; names: the subject's own, present and past."""

    names: set[str]
    entries: list[AuditEntry] = field(default_factory=list)


class AccessRequests:
    """The use case of answering an access request. Thread-safe."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        live: Live,
        unknowns: UnknownFaces,
        store: RetentionStore,
        clock: Callable[[], float] = time.time,
        naming: Callable[[Collection, str], Sequence[Pending]] = lambda where, key: (),
    ) -> None:
        """naming: identifications that name a subject, by its key."""
        self._naming = naming
        self._records = records
        self._audit = audit
        self._live = live
        self._unknowns = unknowns
        self._store = store
        self._clock = clock

    def open(self, caller: Caller, name: str, id: str) -> Dossier:
        """What is kept, on record before anything of it leaves. Raises: CollectionNotFound, SubjectNotFound."""
        with on_record(self._audit, caller, "subject.export", Permission.EXPORT_SUBJECT, name, id) as record:
            where = self._records.collection(name)
            subject = self._records.subject(where, id)
            samples, now = self._samples(where, subject), self._clock()
            last = max((kept.sample.created_at for kept in samples), default=0.0)
            held = self._store.held(where)
            record.details.update(samples=len(samples))
            return Dossier(
                where,
                subject,
                samples,
                standing(where, subject, last, now),
                kept_until(where, subject, last),
                held is None or subject.key in held,
                tuple(self._alike(where, subject)),
                tuple(self._naming(where, subject.key)),
                tuple(self._records.copies(where, subject.created_at)),
                self._records.backed_up_at(),
                now,
            )

    def pictures(self, dossier: Dossier) -> Iterator[KeptPicture]:
        """All pictures that are kept of the subject, and of unknown faces that look like it."""
        where = dossier.collection
        for kept in dossier.samples:
            for kind in (Keep.CROP, Keep.IMAGE):
                with suppress(SampleNotFound):
                    data = self._records.picture(where, dossier.subject, kept.sample.id, kind)
                    yield KeptPicture(kept.sample.id, kind.value, data)
        for row in dossier.alike:
            for face in row.faces:
                crop = self._unknowns.kept_crop(where, face.id)
                if crop is not None:
                    yield KeptPicture(face.id, "unknown", crop)

    def concerning(self, dossier: Dossier) -> list[Concerning]:
        """Audit entries that name the subject, also by a name that it had before, or say that a search matched it."""
        found = _Found({dossier.subject.id})
        self._gather(dossier, found)
        if earlier := {e.subject for e in found.entries if _renames(e, dossier.subject)} - found.names:
            found = _Found(found.names | {name for name in earlier if name is not None})
            self._gather(dossier, found)
        return [_told(entry, found.names) for entry in found.entries]

    # ------------------------------------------------------------------------------------------------ inside

    def _samples(self, where: Collection, subject: Subject) -> tuple[KeptSample, ...]:
        samples = self._records.samples(where, subject)
        numbers = [sample.number for sample in samples]
        views = [where, *(where.seen_as(other) for other in where.others)]
        have = {view.space: {s.number for s in self._records.samples_numbered(view, numbers)} for view in views}
        return tuple(
            KeptSample(sample, tuple(space for space, there in have.items() if sample.number in there))
            for sample in samples
        )

    def _alike(self, where: Collection, subject: Subject) -> Sequence[Unknown]:
        if where.keep_unknown_days is None:
            return ()
        roster = self._live.of(where).roster
        with suppress(KeyError):  # erased a moment ago
            return self._unknowns.like(where, roster.index.vectors(roster.numbers(subject.key)))
        return ()

    def _gather(self, dossier: Dossier, found: _Found) -> None:
        key, name = dossier.subject.key, dossier.collection.name
        after = self._before(dossier.subject.created_at - _CLOCKS_DIFFER_S)
        while page := self._audit.page(after, _PAGE):
            found.entries += [e for e in page if e.collection == name and (e.subject in found.names or _names(e, key))]
            after = page[-1].seq

    def _before(self, at: float) -> int:
        """The number of an entry that was written before this time, the last such one if clocks are right."""
        low, high = 0, 1
        while (page := self._audit.page(high - 1, 1)) and page[0].at < at:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            page = self._audit.page(middle - 1, 1)
            low, high = (middle, high) if page and page[0].at < at else (low, middle)
        return low


def _names(entry: AuditEntry, key: str) -> bool:
    return any(isinstance(value, str) and key in value for value in entry.details.values())


def _renames(entry: AuditEntry, subject: Subject) -> bool:
    return entry.action == RENAME and entry.outcome == "ok" and entry.details.get(RENAMED) == subject.key


def _told(entry: AuditEntry, names: set[str]) -> Concerning:
    return Concerning(
        entry.at,
        entry.action,
        entry.outcome,
        entry.principal,
        entry.request_id,
        "named" if entry.subject in names else "matched",
        {name: value for name, value in entry.details.items() if name in _TOLD},
    )
