"""Enrols many pictures through the client, several at a time, and goes on past those that are refused.

A picture is sent under an idempotency key made of the collection, the subject and the picture itself, so that a run
which was killed can be started again: nothing is lost and nothing is doubled. Should a first answer be given again for
a sample that was erased since, the picture is enrolled anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, cast

from api.client import Client, ClientError
from api.client_shapes import ConsentJson, RejectedJson, SampleJson, SubjectJson
from api.commands.journal import Journal, key_of, mark_of
from lookalike.bulk import Facts, Item, Loaded, Unreadable
from lookalike.domain import Consent
from lookalike.errors import InvalidInput

CONCERN_ALL: Final = frozenset({401, 403, 404, 429, 500, 501, 502, 503, 504, 507, 0})
"""Statuses after which the next picture would fare no better."""


@dataclass(frozen=True, slots=True, repr=False)
class Refused:
    """A picture that was not enrolled. reasons: stable words."""

    label: str
    subject: str
    reasons: tuple[str, ...]


@dataclass(slots=True, repr=False)
class Outcome:
    """How a run went. skipped: enrolled before; stopped: why it ended.

    conflicts: enrolled, but worth a second look: label, subject, and why.
    """

    enrolled: int = 0
    skipped: int = 0
    rejected: list[Refused] = field(default_factory=list)
    conflicts: list[tuple[str, str, Mapping[str, object]]] = field(default_factory=list)
    stopped: ClientError | KeyboardInterrupt | None = None


class Enroller:
    """Enrols pictures into one collection.

    identity: tells this collection from a later one of the same name. What a source says of a subject besides is put
    once it has a sample; what the subject has besides stays.
    """

    def __init__(
        self,
        client: Client,
        collection: str,
        identity: str,
        journal: Journal,
        *,
        max_bytes: int,
    ) -> None:
        self._client = client
        self._collection = collection
        self._identity = identity
        self._journal = journal
        self._put: dict[str, Facts] = {}
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._marks: set[str] = set()
        self._live: dict[str, frozenset[str]] = {}
        self.outcome = Outcome()

    def run(self, pictures: Sequence[Item], threads: int, on_done: Callable[[], None]) -> Outcome:
        """Enrol them all, or stop at what concerns every picture, or at Ctrl-C once what was sent is answered."""
        todo = iter(pictures)
        with ThreadPoolExecutor(threads, thread_name_prefix="enrol") as pool:
            try:
                running = self._submit(pool, todo, 2 * threads)
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
                        on_done()
                    running |= self._submit(pool, todo, len(done))
            except (ClientError, KeyboardInterrupt) as stop:
                self.outcome.stopped = stop
                pool.shutdown(wait=True, cancel_futures=True)
        return self.outcome

    def _submit(self, pool: ThreadPoolExecutor, todo: Iterator[Item], count: int) -> set[Future[None]]:
        return {pool.submit(self._picture, picture) for picture in islice(todo, count)}

    # --------------------------------------------------------------------------------------- one picture

    def _picture(self, picture: Item) -> None:
        """Raises: ClientError for what concerns every picture."""
        try:
            loaded = picture.load(self._max_bytes)
            loaded.facts.checked()
        except Unreadable as error:
            self._refuse(picture, error.subject, (error.reason,))
            return
        except InvalidInput as error:
            self._refuse(picture, loaded.subject, (error.code,))
            return
        mark = mark_of(self._identity, loaded.subject, loaded.data)
        with self._lock:
            seen = mark in self._marks
            self._marks.add(mark)
        if seen or self._is_enrolled(loaded.subject, mark):
            with self._lock:
                self.outcome.skipped += 1
        elif not self._enrol(picture, loaded, mark):
            return
        try:
            self._put_facts(loaded)
        except ClientError as error:
            if error.status in CONCERN_ALL:
                raise
            self._refuse(picture, loaded.subject, _reasons(error))

    def _is_enrolled(self, subject: str, mark: str) -> bool:
        """Whether the journal knows the picture and the service still has what it became."""
        sample = self._journal.sample_of(mark)
        if sample is None:
            return False
        if subject not in self._live:
            self._live[subject] = self._samples(subject)
        return sample in self._live[subject]

    def _samples(self, subject: str) -> frozenset[str]:
        try:
            return frozenset(sample["id"] for sample in self._client.subject(self._collection, subject)["samples"])
        except ClientError as error:
            if error.code != "subject_not_found":
                raise
            return frozenset()

    def _enrol(self, picture: Item, loaded: Loaded, mark: str) -> bool:
        try:
            sample, again = self._send(loaded, mark)
        except ClientError as error:
            if error.status in CONCERN_ALL:
                raise
            self._refuse(picture, loaded.subject, _reasons(error))
            return False
        self._journal.add(mark, sample["id"])
        with self._lock:
            self.outcome.skipped += again
            self.outcome.enrolled += not again
            if conflict := sample.get("conflict"):
                self.outcome.conflicts.append((picture.label, loaded.subject, conflict))
        return True

    def _send(self, loaded: Loaded, mark: str) -> tuple[SampleJson, bool]:
        """The sample, and whether it was there before."""
        attempt = 0
        consent = None if loaded.facts.consent is None else _consent(loaded.facts.consent)
        while True:
            pictures = [("image", loaded.data)]
            answer, again = self._client.enrol_pictures(
                self._collection, loaded.subject, pictures, key_of(mark, attempt), consent
            )
            sample = answer["samples"][0]
            if not again or sample["id"] in self._samples(loaded.subject):
                return sample, again
            attempt += 1

    def _put_facts(self, loaded: Loaded) -> None:
        """Join what the source says of a subject to what is known of it, once a run."""
        subject = loaded.subject
        with self._lock:
            if not loaded.facts or self._put.get(subject) == loaded.facts:
                return
            self._put[subject] = loaded.facts
        self._join_facts(subject, loaded.facts, self._client.subject(self._collection, subject))

    def _join_facts(self, subject: str, facts: Facts, found: SubjectJson) -> None:
        metadata = {**found["metadata"], **facts.metadata}
        kept = found.get("consent")
        if kept is not None and "withdrawn_at" in kept:
            kept = None  # the service goes on keeping it
        consent = kept if facts.consent is None else _consent(facts.consent)
        valid_from = facts.valid_from or found.get("valid_from")
        valid_until = facts.valid_until or found.get("valid_until")
        before = (found["metadata"], kept, found.get("valid_from"), found.get("valid_until"))
        if (metadata, consent, valid_from, valid_until) != before:
            self._client.put_subject(
                self._collection,
                subject,
                metadata=metadata,
                consent=consent,
                valid_from=valid_from,
                valid_until=valid_until,
            )

    def _refuse(self, picture: Item, subject: str, reasons: tuple[str, ...]) -> None:
        with self._lock:
            self.outcome.rejected.append(Refused(picture.label, subject, reasons))


def _consent(consent: Consent) -> ConsentJson:
    return {"basis": consent.basis, "reference": consent.reference, "expires_at": consent.expires_at}


def _reasons(error: ClientError) -> tuple[str, ...]:
    rejected = cast("list[RejectedJson]", error.problem.get("rejected") or [])
    return tuple(reason for picture in rejected for reason in picture["reasons"]) or (error.code,)
