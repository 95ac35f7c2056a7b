"""Joins the crops of requests that wait at the same moment into one batch, without threads and without delay.

The caller that finds a free slot leads: it takes what waits, its own rows among it, runs them and hands each caller
its part. Nobody waits for a batch to fill: a lone request runs at once. A batch that fails is run again request by
request, so that an error reaches only the one that caused it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lookalike.domain import Floats
from lookalike.stages import Stage, watching


@dataclass(eq=False, slots=True)
class _Job:
    rows: Floats
    queued_s: float = field(default_factory=time.perf_counter)
    taken_s: float = 0.0
    result: Floats | None = None
    error: Exception | None = None
    done: bool = False


class Batcher:
    """Calls `run`, (N, …) → (N, D), from at most `slots` callers at once, with at most `max_rows` rows each."""

    def __init__(self, run: Callable[[Floats], Floats], slots: int, max_rows: int = 8) -> None:
        self._run = run
        self._max_rows = max_rows
        self._free = slots
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()

    def __call__(self, rows: Floats) -> Floats:
        """The result for these rows, in order. Raises: what `run` raised for them."""
        jobs = [_Job(rows[i : i + self._max_rows]) for i in range(0, len(rows), self._max_rows)]
        with self._changed:
            self._waiting.extend(jobs)
        for job in jobs:
            self._finish(job)
        watch = watching()
        if watch is not None:
            for job in jobs:
                watch.ended(Stage.BATCH, job.queued_s, job.taken_s - job.queued_s, False)
        for job in jobs:
            if job.error is not None:
                raise job.error
        return np.concatenate([job.result for job in jobs if job.result is not None])

    def _finish(self, job: _Job) -> None:
        """Lead batches, or wait for those who do, until this job is done."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: job.done or self._free > 0)
                if job.done:
                    return
                self._free -= 1
                batch = self._take()
            try:
                self._lead(batch)
            finally:
                with self._changed:
                    self._free += 1
                    for taken in batch:
                        taken.done = True
                    self._changed.notify_all()

    def _take(self) -> list[_Job]:
        """The oldest waiting jobs that fit one batch; called with the lock held."""
        batch: list[_Job] = []
        rows = 0
        while self._waiting and rows + len(self._waiting[0].rows) <= self._max_rows:
            batch.append(self._waiting.popleft())
            rows += len(batch[-1].rows)
        for job in batch:
            job.taken_s = time.perf_counter()
        watch = watching()
        if watch is not None:
            watch.batched(rows)
        return batch

    def _lead(self, batch: list[_Job]) -> None:
        """Run the batch and give every job its result or its error."""
        try:
            results = self._run(np.concatenate([job.rows for job in batch]) if len(batch) > 1 else batch[0].rows)
        except Exception as error:
            for job in batch if len(batch) > 1 else ():
                self._lead([job])
            if len(batch) == 1:
                batch[0].error = error
            return
        start = 0
        for job in batch:
            job.result = results[start : start + len(job.rows)]
            start += len(job.rows)
