"""Jobs that outlive their request, kept in memory and done one after another by a thread of their own."""

from __future__ import annotations

import enum
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from api.errors import JobNotCancellable
from api.logs import log_failure
from lookalike.errors import JobNotFound, LookalikeError, Overloaded

MAX_WAITING = 100
MAX_KEPT = 1000

Result = Mapping[str, object]


class JobState(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work and how far it is. error: a stable code and its text."""

    id: str
    kind: str
    collection: str | None
    state: JobState = JobState.QUEUED
    done: int = 0
    total: int = 1
    error: tuple[str, str] | None = None
    result: Result | None = None
    created_at: float = field(default_factory=time.time)


class JobRunner:
    """Takes jobs, does them in turn, remembers the last thousand. Thread-safe."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "job")

    def submit(self, kind: str, collection: str | None, work: Callable[[], Result]) -> Job:
        """Queue a job. Raises: Overloaded when too many wait."""
        job = Job(secrets.token_hex(8), kind, collection)
        with self._lock:
            waiting = sum(j.state in (JobState.QUEUED, JobState.RUNNING) for j in self._jobs.values())
            if waiting >= MAX_WAITING:
                raise Overloaded("too many jobs wait")
            self._jobs[job.id] = job
            while len(self._jobs) > MAX_KEPT:
                self._jobs.popitem(last=False)
        self._thread.submit(self._do, job.id, work)
        return job

    def jobs(self) -> list[Job]:
        """All that are remembered, newest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def job(self, id: str) -> Job:
        """Raises: JobNotFound."""
        with self._lock:
            found = self._jobs.get(id)
        if found is None:
            raise JobNotFound("there is no such job")
        return found

    def cancel(self, id: str) -> Job:
        """Cancel a job that has not begun. Raises: JobNotFound, JobNotCancellable."""
        self.job(id)
        if not self._move(id, JobState.QUEUED, state=JobState.CANCELLED):
            raise JobNotCancellable("only a job that has not begun can be cancelled")
        return self.job(id)

    def close(self) -> None:
        """Ends after the job that is running."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _do(self, id: str, work: Callable[[], Result]) -> None:
        if not self._move(id, JobState.QUEUED, state=JobState.RUNNING):
            return
        try:
            result = work()
        except LookalikeError as error:
            self._move(id, JobState.RUNNING, state=JobState.FAILED, error=(error.code, str(error)))
        except Exception as error:
            log_failure("job failed", error, id)
            self._move(id, JobState.RUNNING, state=JobState.FAILED, error=("internal_error", "the service failed"))
        else:
            self._move(id, JobState.RUNNING, state=JobState.DONE, done=1, result=result)

    def _move(self, id: str, source: JobState, **changes: object) -> bool:
        with self._lock:
            job = self._jobs.get(id)
            if job is None or job.state is not source:
                return False
            self._jobs[id] = replace(job, **changes)  # type: ignore[arg-type]
            return True
