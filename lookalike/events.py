"""Events: what a receiver outside is told of identifications, enrolments and erasures, read off the audit log.

The log already holds each of them, in one order and durably, before its answer leaves. So an event needs no writing of
its own: it is the log's entry, seen by whoever may see it, and a receiver's place is a number in the log.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lookalike.answers import Caller, IdentifiedFace
from lookalike.domain import AuditEntry, Collection, Permission
from lookalike.errors import CollectionNotFound, InvalidInput, SubjectNotFound
from lookalike.on_record import SUBJECT_KEY, on_record
from lookalike.ports import AuditLog, Records

PAGE = 100
"""Entries that are opened at once."""

_ACTIONS = {
    "identify": "identification",
    "search": "identification",
    "sample.enrol": "enrolment",
    "unknown.enrol": "enrolment",
    "subject.erase": "erasure",
}


class EventKind(enum.StrEnum):
    """What one can ask to be told of. An identification is a MATCH, an UNKNOWN, or both where faces differ."""

    MATCH = "match"
    UNKNOWN = "unknown"
    ENROLMENT = "enrolment"
    ERASURE = "erasure"


@dataclass(frozen=True, slots=True)
class EventSubject:
    """key: random hex, the same in every event about a subject; id: as the caller named it, where that may be told.

    similarity, fpir: of the best face that matched; None in events that are no identification, or where not known.
    """

    key: str | None
    id: str | None = None
    similarity: float | None = None
    fpir: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """seq: its entry's number in the audit log; at: seconds since 1970; unknown: faces that matched nobody.

    camera: that saw them, as it was named; None where none was.
    """

    seq: int
    at: float
    type: str
    collection: str
    principal: str
    request_id: str
    subjects: tuple[EventSubject, ...] = ()
    faces: int = 0
    unknown: int = 0
    camera: str | None = None

    @property
    def kinds(self) -> frozenset[EventKind]:
        """Under what one may have asked for it."""
        if self.type != "identification":
            return frozenset({EventKind(self.type)})
        found = {EventKind.MATCH} if self.subjects else set()
        return frozenset(found | ({EventKind.UNKNOWN} if self.unknown else set()))


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted. collections: None takes all."""

    collections: frozenset[str] | None = None
    kinds: frozenset[EventKind] = frozenset(EventKind)

    def takes(self, event: Event) -> bool:
        """Whether an event is wanted."""
        return (self.collections is None or event.collection in self.collections) and bool(self.kinds & event.kinds)


def matched(faces: Iterable[IdentifiedFace]) -> dict[str, str | int | float | None]:
    """What an identification's entry holds of whom it matched, so that an event can tell it: `OF_MATCHES`."""
    faces = list(faces)
    best: dict[str, tuple[float, float | None]] = {}
    for face in faces:
        for candidate in face.candidates:
            key = candidate.subject.key
            if key not in best or candidate.similarity > best[key][0]:
                best[key] = candidate.similarity, candidate.fpir
    return {
        "matched": ",".join(best),
        "similarities": ",".join(f"{similarity:.4f}" for similarity, _ in best.values()),
        "fpirs": ",".join("" if fpir is None else f"{fpir:.3g}" for _, fpir in best.values()),
        "unmatched": sum(not face.candidates for face in faces),
    }


def event_of(entry: AuditEntry) -> Event | None:
    """The event that an entry of the audit log is; None where it is none."""
    type = _ACTIONS.get(entry.action)
    if type is None or entry.outcome != "ok" or entry.collection is None:
        return None
    event = Event(entry.seq, entry.at, type, entry.collection, entry.principal, entry.request_id)
    if type == "identification":
        subjects = _matches(entry.details)
        if entry.details.get("tentative") and not subjects:
            return None  # better frames follow
        camera = entry.details.get("camera")
        return replace(
            event,
            camera=str(camera) if camera else None,
            subjects=subjects,
            faces=int(entry.details.get("faces") or 0),
            unknown=int(entry.details.get("unmatched") or 0),
        )
    key = entry.details.get(SUBJECT_KEY)
    return replace(event, subjects=(EventSubject(str(key) if key else None, entry.subject),))


def _matches(details: Mapping[str, str | int | float | None]) -> tuple[EventSubject, ...]:
    """Entries of before events were told hold the keys alone."""
    keys = [key for key in str(details.get("matched") or "").split(",") if key]
    similarities = str(details.get("similarities") or "").split(",")
    fpirs = str(details.get("fpirs") or "").split(",")

    def number(held: Sequence[str], place: int) -> float | None:
        return float(held[place]) if place < len(held) and held[place] else None

    return tuple(
        EventSubject(key, None, number(similarities, place), number(fpirs, place)) for place, key in enumerate(keys)
    )


class EventFeed:
    """Reads events off the audit log. Thread-safe."""

    def __init__(self, records: Records, audit: AuditLog) -> None:
        self._records = records
        self._audit = audit

    def last_seq(self) -> int:
        """The number of the log's newest entry, 0 while there is none."""
        return self._audit.last_seq()

    def open(self, caller: Caller, collection: str | None, kinds: Iterable[EventKind], names: bool) -> EventFilter:
        """On record: somebody begins to listen. Returns what they are shown.

        Raises: PermissionDenied unless the caller may read events of the collection, or of some where none is named,
        and its subjects' names where these are asked for; CollectionNotFound.
        """
        with on_record(self._audit, caller, "event.read", None, collection):
            if collection is not None:
                caller.principal.require(Permission.READ_EVENTS, collection)
                self._records.collection(collection)
            wanted = allowed(caller, collection)
            if names:
                for name in [None] if wanted is None else wanted:
                    caller.principal.require(Permission.READ, name)
            return EventFilter(wanted, frozenset(kinds) or frozenset(EventKind))

    def after(
        self, seq: int, wanted: EventFilter, names: Callable[[str], bool], limit: int = PAGE
    ) -> tuple[list[Event], int]:
        """The events among the next `limit` entries after this number, and the number of the last one looked at.

        names: whether subjects' ids of a collection may be told. Raises: TamperedData, StorageUnavailable.
        """
        entries = self._audit.page(seq, limit)
        found = [event for entry in entries if (event := event_of(entry)) is not None and wanted.takes(event)]
        return self._told(found, names), entries[-1].seq if entries else seq

    def _told(self, events: Sequence[Event], names: Callable[[str], bool]) -> list[Event]:
        """With the ids of those subjects that are still there, where they may be told, and the keys of all of them."""
        collections: dict[str, Collection | None] = {}
        for event in events:
            if event.collection not in collections:
                try:
                    collections[event.collection] = self._records.collection(event.collection)
                except CollectionNotFound:
                    collections[event.collection] = None
        return [self._named(event, collections[event.collection], names(event.collection)) for event in events]

    def _named(self, event: Event, where: Collection | None, names: bool) -> Event:
        if event.type == "identification":
            keys = [subject.key for subject in event.subjects if subject.key is not None]
            held = self._records.subjects(where, keys) if where is not None and names and keys else {}
            known = {key: subject.id for key, subject in held.items()}
            return replace(event, subjects=tuple(replace(s, id=known.get(s.key or "")) for s in event.subjects))
        (subject,) = event.subjects
        key = subject.key
        if key is None and where is not None and subject.id is not None and event.type == "enrolment":
            try:
                key = self._records.subject(where, subject.id).key
            except SubjectNotFound:
                key = None  # erased since
        return replace(event, subjects=(replace(subject, key=key, id=subject.id if names else None),))


def allowed(caller: Caller, collection: str | None) -> frozenset[str] | None:
    """The collections whose events a caller may read; None for all. Raises: PermissionDenied where there is none."""
    principal = caller.principal
    if collection is not None:
        principal.require(Permission.READ_EVENTS, collection)
        return frozenset({collection})
    if principal.may(Permission.READ_EVENTS, None):
        return None
    found = frozenset(
        name for name in principal.rights if name is not None and principal.may(Permission.READ_EVENTS, name)
    )
    if not found:
        principal.require(Permission.READ_EVENTS, None)
    return found


def kinds_of(names: Iterable[str]) -> frozenset[EventKind]:
    """Raises: InvalidInput for a word that is no kind of event."""
    try:
        return frozenset(EventKind(name) for name in names)
    except ValueError:
        raise InvalidInput(f"events: {', '.join(EventKind)} are allowed") from None
