"""Enrolling very many pictures: in order, several at a time, with a checkpoint from which it goes on after a kill.

A sample's id is derived from the collection, the subject and the picture, so what is done twice is there once. The
checkpoint is the number of pictures from the start that are all dealt with; whatever was refused among them is in the
list by then, durably.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol, TypeVar

from lookalike import inputs
from lookalike.answers import Caller, EnrolConflict, Picture
from lookalike.domain import Consent, Subject
from lookalike.enrolment import Enroller
from lookalike.errors import (
    AllRejected,
    IndexUnavailable,
    InvalidInput,
    LegalHold,
    Overloaded,
    SampleElsewhere,
    StorageFull,
    StorageUnavailable,
    SubjectNotFound,
)

T = TypeVar("T")

Progress = Callable[[int, int], None]

AHEAD = 4
"""Pictures in hand for each thread, so that none waits for the one before it."""

CHECKPOINT_EVERY_S = 0.5
TRY_AGAIN_AFTER_S, TRIES = 5.0, 120
"""A full disk or a store that is away is waited for: ten minutes."""

_PASSING: Final = (StorageFull, StorageUnavailable, IndexUnavailable, Overloaded)


@dataclass(frozen=True, slots=True, repr=False)
class Facts:
    """What is known of a subject besides its pictures; what is not said here stays as it was."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    consent: Consent | None = None
    valid_from: str | None = None
    valid_until: str | None = None

    def __bool__(self) -> bool:
        return self != Facts()

    def over(self, before: Facts) -> Facts:
        """These facts, and those of `before` that they say nothing of."""
        return Facts(
            {**before.metadata, **self.metadata},
            self.consent or before.consent,
            self.valid_from or before.valid_from,
            self.valid_until or before.valid_until,
        )

    def checked(self) -> Facts:
        """The same. Raises: InvalidInput for what a subject cannot be given."""
        inputs.metadata(self.metadata)
        inputs.moment(self.valid_from, "valid_from")
        inputs.moment(self.valid_until, "valid_until")
        if self.consent is not None:
            inputs.consent(self.consent)
        return self

    @classmethod
    def of(cls, subject: Subject) -> Facts:
        return cls(subject.metadata, subject.consent, subject.valid_from, subject.valid_until)


@dataclass(frozen=True, slots=True, repr=False)
class Loaded:
    """A picture and whose it is."""

    subject: str
    data: bytes
    facts: Facts = field(default_factory=Facts)


class Unreadable(Exception):
    """A picture that cannot be had from its source. reason: a stable word; subject: whose, as far as that is known."""

    def __init__(self, reason: str, subject: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.subject = subject


class Item(Protocol):
    """A picture in a source. label: how a report names it, such as its path there."""

    @property
    def label(self) -> str: ...
    def load(self, max_bytes: int) -> Loaded:
        """Raises: Unreadable."""
        ...


class Remarks(Protocol):
    """Where it is noted what was refused, or should be looked at again."""

    def append(self, items: Sequence[Mapping[str, object]]) -> None:
        """Durably. Raises: StorageFull, StorageUnavailable."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class _Done:
    """How it went with one picture. remark: for the list; facts: to be put on its subject."""

    subject: str = ""
    remark: Mapping[str, object] | None = None
    facts: Facts = field(default_factory=Facts)


def picture_key(collection_id: str, subject: str, picture: bytes) -> str:
    """The idempotency key of an enrolment, the same for the same picture of the same subject."""
    digest = hashlib.sha256(b"lookalike import 1")
    for part in (collection_id.encode(), subject.encode("utf-8", "surrogatepass"), picture):
        digest.update(len(part).to_bytes(8, "big") + part)
    return "import:" + digest.hexdigest()


class BulkEnroller:
    """Enrols the items of a source into one collection.

    threads: pictures at a time. quietly: called in each thread as it begins, to let others go first.
    """

    def __init__(
        self,
        gallery: Enroller,
        caller: Caller,
        collection: tuple[str, str],
        remarks: Remarks,
        *,
        max_bytes: int,
        threads: int,
        quietly: Callable[[], None] = lambda: None,
    ) -> None:
        """collection: name and id."""
        self._gallery = gallery
        self._caller = caller
        self._name, self._id = collection
        self._remarks = remarks
        self._max_bytes = max_bytes
        self._threads = threads
        self._quietly = quietly
        self._ended = threading.Event()
        self._put: dict[str, Facts] = {}

    def run(self, items: Sequence[Item], start: int, progress: Progress) -> None:
        """Enrol all from the item of number `start` on.

        progress: told (done, total) at each checkpoint; what it raises ends the run.
        Raises: what concerns every picture, such as PermissionDenied, CollectionNotFound, StorageFull at last.
        """
        total, noted = len(items), list[Mapping[str, object]]()

        def checkpoint(done: int) -> None:
            if noted:
                self._remarks.append(noted)
                noted.clear()
            progress(done, total)

        checkpoint(start)
        told = time.monotonic()
        todo = iter(range(start, total))
        pool = ThreadPoolExecutor(self._threads, "import", initializer=self._quietly)

        def more(count: int) -> list[Future[_Done]]:
            return [pool.submit(self._one, number, items[number]) for number in islice(todo, count)]

        try:
            running = deque(more(AHEAD * self._threads))
            for done in range(start, total):
                while not wait([running[0]], timeout=1.0).done:
                    checkpoint(done)
                self._settle(done, items[done], running.popleft().result(), noted)
                running.extend(more(1))
                if time.monotonic() - told >= CHECKPOINT_EVERY_S:
                    checkpoint(done + 1)
                    told = time.monotonic()
            checkpoint(total)
        finally:
            self._ended.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _settle(self, number: int, item: Item, one: _Done, noted: list[Mapping[str, object]]) -> None:
        if one.remark is not None:
            noted.append(one.remark)
        if one.facts:
            try:
                self._patiently(lambda: self._put_facts(one.subject, one.facts))
            except (InvalidInput, LegalHold) as error:  # of this subject alone; its picture is enrolled
                noted.append(_remark(number, item, one.subject, reasons=(error.code,)))

    # ------------------------------------------------------------------------------------------ one picture

    def _one(self, number: int, item: Item) -> _Done:
        try:
            loaded = item.load(self._max_bytes)
        except Unreadable as error:
            return _Done(error.subject, _remark(number, item, error.subject, reasons=(error.reason,)))
        try:
            facts = loaded.facts.checked()
            key = picture_key(self._id, loaded.subject, loaded.data)
            pictures = [Picture(item.label, loaded.data)]
            enrolled = self._patiently(
                lambda: self._gallery.enrol(
                    self._caller, self._name, loaded.subject, pictures, idempotency_key=key, consent=facts.consent
                )
            )
        except AllRejected as error:
            reasons = tuple(reason for _, given in error.rejected for reason in given)
            return _Done(loaded.subject, _remark(number, item, loaded.subject, reasons=reasons))
        except (InvalidInput, LegalHold, SampleElsewhere) as error:
            return _Done(loaded.subject, _remark(number, item, loaded.subject, reasons=(error.code,)))
        conflict = enrolled.samples[0].conflict
        remark = None if conflict is None else _remark(number, item, loaded.subject, conflict=conflict)
        return _Done(loaded.subject, remark, facts)

    def _patiently(self, work: Callable[[], T]) -> T:
        """The result of `work`, tried again while that may help."""
        for _ in range(TRIES):
            try:
                return work()
            except _PASSING:
                if self._ended.wait(TRY_AGAIN_AFTER_S):
                    raise
        return work()

    def _put_facts(self, id: str, facts: Facts) -> None:
        """Join what the source says of a subject to what is known of it; what was put already is not put again."""
        if self._put.get(id) == facts:
            return
        try:
            there = Facts.of(self._gallery.subject(self._caller, self._name, id)[0])
        except SubjectNotFound:  # erased a moment ago: it does not come back for its facts
            return
        joined = facts.over(there)
        if joined != there:
            self._gallery.put_subject(
                self._caller,
                self._name,
                id,
                metadata=joined.metadata,
                consent=joined.consent,
                valid_from=joined.valid_from,
                valid_until=joined.valid_until,
            )
        self._put[id] = facts


def _remark(
    number: int, item: Item, subject: str, *, reasons: tuple[str, ...] = (), conflict: EnrolConflict | None = None
) -> dict[str, object]:
    found: dict[str, object] = {"number": number, "path": item.label, "subject": subject, "reasons": list(reasons)}
    if conflict is not None:
        found["conflict"] = {
            "kind": conflict.kind,
            "similarity": round(conflict.similarity, 4),
            "subject": conflict.subject,
        }
    return found
