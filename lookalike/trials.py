"""Trying a generation on live probes before it is promoted: beside the one that answers, or answering a share itself.

A probe in the share is searched by both. In shadow the active generation answers; as a canary the tried one does, and
if it fails the active one. The second search runs after the answer, in a thread of its own with a short queue: a busy
service skips comparisons rather than answers. Probes are kept in memory until then and nowhere else. A generation that
loses significantly more people than it gains is taken off its trial and cannot be promoted without insisting.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lookalike.domain import Collection, Generation
from lookalike.paired import Paired

QUEUE = 8
STOP_AT = 0.001
"""How unlikely so many losses must be for a trial to end by itself; stricter than one test, since it is made often."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one generation made of a probe's largest face. subject: the key of its first candidate, None for nobody."""

    subject: str | None
    ms: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What this process has counted since it began. skipped: for want of time; failed: the tried one raised.

    other: another first candidate; lost, gained: somebody before and nobody now, and the other way round; active_ms,
    tried_ms: mean time of a search.
    """

    compared: int = 0
    same: int = 0
    other: int = 0
    lost: int = 0
    gained: int = 0
    failed: int = 0
    skipped: int = 0
    active_ms: float = 0.0
    tried_ms: float = 0.0

    def with_pair(self, active: Seen, tried: Seen) -> Tally:
        lost = active.subject is not None and tried.subject is None
        gained = active.subject is None and tried.subject is not None
        same = active.subject == tried.subject
        count = self.compared + 1
        return replace(
            self,
            compared=count,
            same=self.same + same,
            lost=self.lost + lost,
            gained=self.gained + gained,
            other=self.other + (not (same or lost or gained)),
            active_ms=self.active_ms + (active.ms - self.active_ms) / count,
            tried_ms=self.tried_ms + (tried.ms - self.tried_ms) / count,
        )

    @property
    def is_worse(self) -> bool:
        """Losing an enrolled person and taking them for another count alike; a gain makes up for either."""
        return Paired(self.compared, self.lost + self.other, self.gained).chance < STOP_AT

    def as_json(self) -> dict[str, object]:
        facts = {name: getattr(self, name) for name in self.__slots__}
        return facts | {"verdict": Paired(self.compared, self.lost + self.other, self.gained).verdict}


class Trials:
    """Chooses the probes of a trial and counts what came of them. Thread-safe.

    stop: told the collection and the generation that turned out worse, once.
    """

    def __init__(self, stop: Callable[[Collection, Tally], None], draw: Callable[[], float] = random.random) -> None:
        self._stop = stop
        self._draw = draw
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._lock = threading.Lock()
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None

    def chosen(self, collection: Collection) -> Generation | None:
        """The generation on trial, if this probe is one of its share."""
        trial = collection.trial
        if trial is None or trial.share <= 0 or self._draw() >= trial.share:
            return None
        return collection.other(trial.generation)

    def tally(self, collection: Collection) -> Tally:
        """What was counted of the collection's trial."""
        trial = collection.trial
        return self._tallies.get((collection.id, trial.generation), Tally()) if trial is not None else Tally()

    def total(self) -> Tally:
        """What was counted of all trials of this process together, the mean times left out."""
        with self._lock:
            tallies = list(self._tallies.values())
        counts = ("compared", "same", "other", "lost", "gained", "failed", "skipped")
        return Tally(**{name: sum(getattr(tally, name) for tally in tallies) for name in counts})

    @property
    def waiting(self) -> int:
        """Comparisons that wait for time."""
        return self._waiting.qsize()

    def compare(self, collection: Collection, active: Callable[[], Seen], tried: Callable[[], Seen]) -> None:
        """Count a pair once there is time; either side may be known already."""

        def work() -> None:
            try:
                new = tried()
            except Exception:  # whatever it is, it would have been an error for the caller
                self.failed(collection)
                return
            try:
                old = active()
            except Exception:  # nothing to compare with
                self._count(collection, lambda t: replace(t, skipped=t.skipped + 1))
                return
            self._count(collection, lambda t: t.with_pair(old, new))

        self._start()
        try:
            self._waiting.put_nowait(work)
        except queue.Full:
            self._count(collection, lambda t: replace(t, skipped=t.skipped + 1))

    def failed(self, collection: Collection) -> None:
        """The tried generation could not answer, and the active one did."""
        self._count(collection, lambda t: replace(t, failed=t.failed + 1))

    def close(self) -> None:
        """Ends after the comparisons that wait."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            self._waiting.put(None)
            thread.join()

    def settle(self) -> None:
        """Return once everything that waited was compared."""
        self._waiting.join()

    def _count(self, collection: Collection, change: Callable[[Tally], Tally]) -> None:
        trial = collection.trial
        if trial is None:
            return
        key = (collection.id, trial.generation)
        with self._lock:
            before = self._tallies.get(key, Tally())
            after = self._tallies[key] = change(before)
        if after.is_worse and not before.is_worse:
            self._stop(collection, after)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trials", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            work = self._waiting.get()
            try:
                if work is None:
                    return
                work()
            finally:
                self._waiting.task_done()


def timed(search: Callable[[], str | None]) -> Seen:
    """What a search finds, with the time it took."""
    began = time.perf_counter()
    found = search()
    return Seen(found, (time.perf_counter() - began) * 1000)
