"""Does jobs one after another in a thread of its own, in the name of whoever asked, and takes up those left behind.

A job is durable before it is answered for. Whoever works on one holds a lease and renews it with its progress; if the
process dies the lease runs out and another, or the next start, goes on. Kinds are made so that going on is right. What
fails because the disk is full or a server is away is tried again after a pause, until it works or is cancelled.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from api.errors import JobNotCancellable
from api.logs import log_failure
from lookalike.answers import Caller
from lookalike.domain import Principal
from lookalike.errors import (
    IndexUnavailable,
    JobNotFound,
    LookalikeError,
    Overloaded,
    StorageFull,
    StorageUnavailable,
)
from lookalike.jobs import ENDED, Job, JobState, JobStore, Params, Result

MAX_WAITING = 100
LISTED = 1000
KEPT_S = 30 * 86_400.0
LEASE_S = 8.0
BEAT_EVERY_S = 2.0
TOLD_EVERY_S = 1.0
LOOK_EVERY_S = 1.0
END_WITHIN_S = 10.0
AGAIN_AFTER_S = 15.0
"""How long a job waits that could not go on: each try stands in the audit log."""

MAX_STARTS = 5
"""A job that took its process down so often without getting any further is not taken up again."""

Progress = Callable[[int, int], None]
Kind = Callable[[Caller, Job, Progress], Result]
"""Does a job's work: told who asks, the job, and whom to tell (done, total); begun again, it goes on."""


class _Ended(BaseException):
    """Raised inside a job that is to stop. state: what becomes of it."""

    def __init__(self, state: JobState) -> None:
        super().__init__()
        self.state = state


class JobRunner:
    """Takes jobs and does them. Thread-safe; several processes may share a store.

    principal_of: who a principal's id stands for now, asked again while a job runs, so that what was taken from it
    ends its jobs. Raises: PermissionDenied, Unauthenticated.
    """

    def __init__(
        self,
        store: JobStore,
        kinds: Mapping[str, Kind],
        principal_of: Callable[[Job], Principal],
        clock: Callable[[], float] = time.time,
        again_after_s: float = AGAIN_AFTER_S,
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._principal_of = principal_of
        self._clock = clock
        self._again_after_s = again_after_s
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look for jobs from now on, those that another process left behind included."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
                self._thread.start()

    def submit(
        self, kind: str, principal: Principal, collection: tuple[str, str] | None = None, params: Params | None = None
    ) -> Job:
        """Queue a job. collection: its name and id. Raises: Overloaded when too many wait, JobNotFound, StorageFull."""
        waiting = sum(job.state not in ENDED for job in self._store.jobs(LISTED))
        if waiting >= MAX_WAITING:
            raise Overloaded("too many jobs wait")
        name, id = collection or (None, None)
        now = self._clock()
        job = Job(
            secrets.token_hex(8), kind, principal.id, name, id, params or {}, principal.grants,
            created_at=now, updated_at=now,
        )  # fmt: skip
        if not self._store.put(job):
            raise JobNotFound("the collection is gone, and the job with it")
        self.start()
        self._wake.set()
        return job

    def jobs(self) -> Sequence[Job]:
        """The last thousand, newest first."""
        return self._store.jobs(LISTED)

    def last(self, count: int) -> Sequence[Job]:
        """The newest of them, so many at most."""
        return self._store.jobs(count)

    def unended(self, kind: str, collection_id: str | None) -> Job | None:
        """A job of this kind on this collection, None for all, that waits or runs; it is taken up if it waits."""
        job = self._unended(kind, collection_id)
        if job is not None:
            self.start()
            self._wake.set()
        return job

    def end(self, kind: str, collection_id: str) -> None:
        """Cancel such a job, if there is one, and wait for its end. Raises: JobNotCancellable if it takes too long."""
        deadline = time.monotonic() + END_WITHIN_S
        while (job := self._unended(kind, collection_id)) is not None:
            if time.monotonic() > deadline:
                raise JobNotCancellable("its job is ending but has not ended yet: try again in a moment")
            self._store.cancel(job.id)
            time.sleep(0.1)

    def _unended(self, kind: str, collection_id: str | None) -> Job | None:
        found = (job for job in self._store.jobs(LISTED) if job.state not in ENDED)
        return next((job for job in found if (job.kind, job.collection_id) == (kind, collection_id)), None)

    def job(self, id: str) -> Job:
        """Raises: JobNotFound."""
        found = self._store.job(id)
        if found is None:
            raise JobNotFound("there is no such job")
        return found

    def cancel(self, id: str) -> Job:
        """Cancel a job that waits, or have a running one end within seconds. Raises: JobNotFound, JobNotCancellable."""
        before = self.job(id)
        if before.state in ENDED:
            raise JobNotCancellable("this job has ended already")
        return self._store.cancel(id) or before

    def close(self) -> None:
        """Ends soon: a running job goes back to the queue at its next step, for the next start to go on with."""
        self._stop.set()
        self._wake.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    # ------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                now = self._clock()
                job = self._store.claim(now, now + LEASE_S)
                if job is not None:
                    self._do(job)
                    continue
                self._store.forget(now - KEPT_S)
            except (StorageFull, StorageUnavailable):
                pass  # it is tried again; the lease of a job in hand runs out
            except Exception as error:  # the thread must outlive whatever it meets
                log_failure("jobs", error, "-")
            self._wake.wait(LOOK_EVERY_S)
            self._wake.clear()

    def _do(self, job: Job) -> None:
        step = _Step(self, replace(job, error=None))
        try:
            if job.kind not in self._kinds:
                raise JobNotFound(f"this release does not know jobs of the kind {job.kind!r}")
            if job.starts > MAX_STARTS:
                raise Overloaded(f"the job ended its process {MAX_STARTS} times and is not tried again")
            step.tell(force=True)
            result = self._kinds[job.kind](Caller(self._principal_of(job), f"job:{job.id}"), job, step)
        except _Ended as end:
            step.end(end.state)
        except (StorageFull, StorageUnavailable, IndexUnavailable) as error:
            step.wait(error)
        except LookalikeError as error:
            step.end(JobState.FAILED, error=(error.code, str(error)))
        except Exception as error:
            log_failure("job failed", error, job.id)
            step.end(JobState.FAILED, error=("internal_error", "the service failed"))
        else:
            step.end(JobState.DONE, result=result)


class _Step:
    """What a running job calls with its progress, which the store is told about once a second.

    A thread of its own renews the lease, so that a step that takes long is not taken for a dead process.
    """

    def __init__(self, runner: JobRunner, job: Job) -> None:
        self._runner = runner
        self._job = job
        self._told = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="job-lease", daemon=True).start()

    def __call__(self, done: int, total: int) -> None:
        with self._lock:
            starts = 1 if done > self._job.done_before else self._job.starts
            self._job = replace(self._job, done=done, total=total, starts=starts)
        self.tell()

    def tell(self, force: bool = False) -> None:
        """Raises: _Ended when the job is to stop; PermissionDenied, Unauthenticated if its asker lost the right."""
        if self._runner._stop.is_set():
            raise _Ended(JobState.QUEUED)
        if not force and time.monotonic() - self._told < TOLD_EVERY_S:
            return
        self._told = time.monotonic()
        self._runner._principal_of(self._job)
        self._renew()
        kept = self._runner._store.job(self._job.id)
        if kept is None or kept.cancel:
            raise _Ended(JobState.CANCELLED)

    def end(self, state: JobState, *, error: tuple[str, str] | None = None, result: Result | None = None) -> None:
        with self._lock:
            done = self._job.total if state is JobState.DONE else self._job.done
            self._leave(replace(self._job, state=state, error=error, result=result, done=done))

    def wait(self, error: LookalikeError) -> None:
        """Put it back for a while, saying why; this start does not count."""
        with self._lock:
            again = self._runner._clock() + self._runner._again_after_s
            job = replace(self._job, state=JobState.QUEUED, error=(error.code, str(error)), starts=self._job.starts - 1)
            self._leave(job, again)

    def _leave(self, job: Job, until: float = 0.0) -> None:
        self._ended.set()
        self._job = replace(job, updated_at=self._runner._clock(), leased_until=until)
        self._runner._store.put(self._job)

    def _renew(self) -> None:
        with self._lock:
            if not self._ended.is_set():
                now = self._runner._clock()
                self._job = replace(self._job, updated_at=now, leased_until=now + LEASE_S)
                self._runner._store.put(self._job)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_EVERY_S):
            try:
                self._renew()
            except Exception as error:  # the next beat may find the store well again
                log_failure("job lease", error, self._job.id)
