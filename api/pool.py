"""The bounded pool of threads that does the work, with a queue beyond which requests are shed at once.

There are two threads more than cores: while one waits for its audit entry to become durable, another computes. More
of them only cost: 8 clients on two cores took 39.6, 41.2, 42.6 and 44.3 ms of processor time a request with 2, 3, 4
and 6 threads (benchmarks/serve.py).

A burst, or many clients that each wait for their answer, queue up to `max_queue`. Once that overflows, more comes in
than can be done, and a queue that stays full only makes every answer late: from then on no more wait than work, until
nothing had to be shed for a while (benchmarks/pressure.py).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from lookalike.errors import Overloaded
from lookalike.stages import Stage, passed

P = ParamSpec("P")
T = TypeVar("T")

EXTRA_THREADS = 2
LOOKUP_THREADS = 2
CALM_S = 2.0
"""For how long nothing must have been shed before the queue may fill again: longer than Retry-After asks for."""


def threads_for(workers: int) -> int:
    """workers: as set; 0 takes the cores and two more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return workers or cores + EXTRA_THREADS


class Pool:
    """Runs blocking work for the event loop. Used from one event loop only."""

    def __init__(self, workers: int, max_queue: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads_for(workers)
        self._max_queue = max_queue
        self._clock = clock
        self._calm_at = 0.0
        self._pending = 0
        self._workers = ThreadPoolExecutor(self._threads, "worker")
        self._lookups = ThreadPoolExecutor(LOOKUP_THREADS, "lookup")

    @property
    def full(self) -> bool:
        """Whether one more piece of work would be shed."""
        under_pressure = self._clock() < self._calm_at
        waiting = min(self._threads, self._max_queue) if under_pressure else self._max_queue
        return self._pending >= self._threads + waiting

    def sheds(self) -> bool:
        """Whether a piece of work that has come is shed, which is remembered."""
        if self.full:
            self._calm_at = self._clock() + CALM_S
            return True
        return False

    @property
    def queue_depth(self) -> int:
        return max(0, self._pending - self._threads)

    @property
    def running(self) -> int:
        return min(self._pending, self._threads)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work`, done by a worker. Raises: Overloaded when the queue is full, and what `work` raises.

        Work whose caller goes away is dropped if it has not begun; once begun it counts until it ends.
        """
        if self.sheds():
            raise Overloaded("all workers are busy and the queue is full")
        loop = asyncio.get_running_loop()
        queued_s = time.perf_counter()

        def begin() -> T:
            passed(Stage.QUEUE, queued_s)
            return work(*args, **kwargs)

        future = self._workers.submit(copy_context().run, begin)  # whoever watches the request goes along
        self._pending += 1
        future.add_done_callback(lambda _: _on_loop(loop, self._one_less))
        return await asyncio.wrap_future(future)

    async def look_up(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for what takes microseconds and must not wait behind pictures."""
        return await asyncio.wrap_future(self._lookups.submit(work, *args, **kwargs))

    def _one_less(self) -> None:
        self._pending -= 1

    def close(self) -> None:
        """Waits for the work that has begun and drops the rest."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._lookups.shutdown(wait=True, cancel_futures=True)


def _on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        return  # The loop has ended, and its count with it.
