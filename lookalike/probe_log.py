"""Counts what each probe was like, in memory, and hands the counts to their store now and then; never in a probe's way.

What was not handed over when a process is killed is lost; nothing is ever counted twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from lookalike.answers import Identification, IdentifiedFace
from lookalike.domain import AuditEntry, Collection, Space
from lookalike.drift import Baseline
from lookalike.errors import (
    CollectionNotFound,
    FaceNotFound,
    ImageTooLarge,
    ImageTooSmall,
    UnsupportedImage,
)
from lookalike.probe_counts import MEASURES, Counts, quarter_of

YES, NO = 1.0, 0.0

REFUSALS = (UnsupportedImage, ImageTooLarge, ImageTooSmall)
"""What is wrong with a picture itself; other refusals are about what was asked."""


class ProbeDays(Protocol):
    """Counts by collection, space and UTC day, and baselines. Thread-safe, and several processes may share one.

    What belongs to a collection goes with it.
    """

    def add(self, collection: Collection, space: str, days: Mapping[str, Counts]) -> None:
        """Add counts to days, by ISO date, in one transaction. Raises: CollectionNotFound."""
        ...

    def days(self, collection: Collection, space: str, first: str) -> dict[str, Counts]:
        """From the day `first` on."""
        ...

    def baseline(self, collection: Collection, space: str) -> Baseline | None: ...
    def put_baseline(self, collection: Collection, space: str, baseline: Baseline, entry: AuditEntry | None) -> None:
        """With an audit entry where somebody asked for it. Raises: CollectionNotFound."""
        ...

    def forget(self, collection: Collection, before: str) -> int:
        """Drop the days before this one. Returns how many."""
        ...


class ProbeLog:
    """Counts the probes of this process. Thread-safe. store: None counts nothing."""

    def __init__(self, store: ProbeDays | None, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._held: dict[tuple[str, str], tuple[Collection, dict[str, Counts]]] = {}

    def noting(
        self, where: Collection, answer: Callable[[], Identification], *, unfiltered: bool = True
    ) -> Identification:
        """The answer, once it is counted. unfiltered: nobody was left out of the search."""
        if self._store is None:
            return answer()
        try:
            found = answer()
        except (FaceNotFound, *REFUSALS) as error:
            readable = isinstance(error, FaceNotFound)
            self._count(where, where.space, lambda counts, quarter: _refused(counts, readable, quarter))
            raise
        tried = where.other(found.generation)
        space = where.space if tried is None else tried.space
        self._count(where, space, lambda counts, quarter: _searched(counts, found, unfiltered, quarter))
        return found

    def flush(self) -> None:
        """Hand over what was counted. What cannot be kept now is kept in memory, and the error raised."""
        if self._store is None:
            return
        with self._flushing:
            with self._lock:
                held, self._held = self._held, {}
            waiting = list(held.items())
            while waiting:
                (_, space), (collection, days) = waiting[-1]
                try:
                    self._store.add(collection, space, days)
                except CollectionNotFound:
                    pass  # it was deleted, and its probes with it
                except Exception:
                    self._take_back(dict(waiting))
                    raise
                waiting.pop()

    def _count(self, where: Collection, space: Space, count: Callable[[Counts, int], None]) -> None:
        now = self._clock()
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        with self._lock:
            _, days = self._held.setdefault((where.id, space.key), (where, {}))
            count(days.setdefault(day, Counts.none()), quarter_of(now))

    def _take_back(self, held: Mapping[tuple[str, str], tuple[Collection, dict[str, Counts]]]) -> None:
        with self._lock:
            for key, (collection, days) in held.items():
                _, since = self._held.setdefault(key, (collection, {}))
                for day, counts in days.items():
                    since[day] = since.get(day, Counts.none()) + counts


def _refused(counts: Counts, readable: bool, quarter: int) -> None:
    """readable: nothing was wrong with the picture but that it shows no face."""
    counts.add("refused", NO if readable else YES, quarter)
    if readable:
        counts.add("face_not_found", YES, quarter)


def _searched(counts: Counts, found: Identification, unfiltered: bool, quarter: int) -> None:
    counts.add("refused", NO, quarter)
    counts.add("face_not_found", NO, quarter)
    counts.add("faces", len(found.faces), quarter)
    if unfiltered:
        counts.add("gallery", found.threshold.gallery_size, quarter)
    for face in found.faces:
        _measured(counts, face, quarter)
        if unfiltered:
            _compared(counts, face, found.threshold.source != "explicit", quarter)


def _measured(counts: Counts, face: IdentifiedFace, quarter: int) -> None:
    quality = face.face.quality
    counts.add("quality", quality.score, quarter)
    for name in MEASURES:
        if name in quality.measures:
            counts.add(name, quality.measures[name], quarter)


def _compared(counts: Counts, face: IdentifiedFace, at_own_rate: bool, quarter: int) -> None:
    """at_own_rate: candidates were decided by a rate, not by a similarity that a caller chose."""
    if not face.nearest:
        return
    counts.add("nearest", face.nearest[0], quarter)
    if at_own_rate:
        counts.add("no_candidate", NO if face.candidates else YES, quarter)
    if len(face.nearest) > 1:
        counts.add("second", face.nearest[1], quarter)
        counts.add("margin", face.nearest[0] - face.nearest[1], quarter)
