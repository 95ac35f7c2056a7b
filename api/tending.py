"""What a live service looks after by itself: galleries, thresholds, keys, what is past its time, unknown faces."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.calibrator import Calibrator
from api.job_kinds import SERVICE
from api.jobs import JobRunner
from lookalike.answers import Caller
from lookalike.domain import GenerationState
from lookalike.pending import PendingAnswers
from lookalike.ports import Records
from lookalike.retention import Retention
from lookalike.rosters import Rosters
from lookalike.unknowns import UnknownFaces

_SERVICE = Caller(SERVICE, "-")

SWEEP_EVERY_S = 30.0


class Tending:
    """Called now and then by the follower; what takes long becomes a job. sweep: deletes what jobs left behind."""

    def __init__(
        self,
        records: Records,
        rosters: Rosters,
        calibrator: Calibrator,
        jobs: JobRunner,
        unknowns: UnknownFaces,
        catch_up: Callable[[], None] = lambda: None,
        sweep: Callable[[], None] = lambda: None,
        key_care: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        retention: Retention | None = None,
        pending: PendingAnswers | None = None,
    ) -> None:
        """catch_up: brings erasures to the ledger that could not be written there before; key_care: of the keys."""
        self._retention = retention
        self._pending = pending
        self._catch_up = catch_up
        self._records = records
        self._rosters = rosters
        self._calibrator = calibrator
        self._jobs = jobs
        self._unknowns = unknowns
        self._sweep = sweep
        self._key_care = key_care
        self._swept_at = 0.0
        self._clock = clock
        self._asked: set[tuple[str, str]] = set()

    def __call__(self) -> None:
        self._catch_up()
        self._key_care()
        self._rosters.tend()
        self._calibrator()
        self._retire()
        self._keep_to_retention()
        self._unknowns.tend(_SERVICE)
        if self._pending is not None:
            self._pending.tend()
        if self._clock() - self._swept_at >= SWEEP_EVERY_S:
            self._swept_at = self._clock()
            self._sweep()

    def _keep_to_retention(self) -> None:
        """One job a day for each collection that has rules, by whichever replica comes first."""
        if self._retention is None:
            return
        for collection in self._retention.claim():
            try:
                self._jobs.submit("retention", SERVICE, (collection.name, collection.id))
            except BaseException:
                self._retention.release(collection)
                raise

    def _retire(self) -> None:
        """One job for each collection in which a generation's grace has ended."""
        now = self._clock()
        for collection in self._records.collections():
            for generation in collection.others:
                past = generation.state is GenerationState.STANDBY and generation.until <= now
                if past and (collection.id, generation.id) not in self._asked:
                    self._asked.add((collection.id, generation.id))
                    self._jobs.submit("retire", SERVICE, (collection.name, collection.id))
