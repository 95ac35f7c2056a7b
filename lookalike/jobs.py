"""Jobs as values, and the port that keeps them: work that outlives its request and the process that does it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from lookalike.domain import Grant

LONGEST_LEASE_S: Final = 60.0
"""No lease is given for longer than this, unless whoever claims asks for longer."""

Params = Mapping[str, str | int | float | bool | None]
Result = Mapping[str, object]


class JobState(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work and how far it is.

    collection, collection_id: what it works on, by name and by random id; principal, grants: who asked, in whose name
    it works; error: a stable code and its text; starts: how often it was taken up; cancel: somebody wants it to end;
    started_at: when the present attempt began, and done_before what had been done by then.
    """

    id: str
    kind: str
    principal: str
    collection: str | None = None
    collection_id: str | None = None
    params: Params = field(default_factory=dict)
    grants: tuple[Grant, ...] = ()
    state: JobState = JobState.QUEUED
    done: int = 0
    total: int = 1
    error: tuple[str, str] | None = None
    result: Result | None = None
    starts: int = 0
    cancel: bool = False
    started_at: float = 0.0
    done_before: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0
    leased_until: float = 0.0


def latest_lease(now: float, until: float) -> float:
    """When the last lease ends that is believed by who claims a job `until`; later ones are of a clock that ran ahead.

    Else a machine whose clock was set back would leave the jobs of a process that died alone for just as long.
    """
    return max(until, now + LONGEST_LEASE_S)


class JobStore(Protocol):
    """Durable jobs. Thread-safe, and several processes may share one."""

    def put(self, job: Job) -> bool:
        """Insert or replace; False if its collection is gone, and the job with it. A wish to cancel is never lost."""
        ...

    def jobs(self, limit: int) -> Sequence[Job]:
        """Newest first."""
        ...

    def job(self, id: str) -> Job | None: ...
    def cancel(self, id: str) -> Job | None:
        """Cancel a job that waits, ask a running one to end, leave one that ended as it is."""
        ...

    def claim(self, now: float, until: float) -> Job | None:
        """The oldest that waits, or whose worker let its lease run out: it is running and the caller's until then.

        One that is to wait for a while has a lease, too, of nobody.
        """
        ...

    def forget(self, before: float) -> int:
        """Drop jobs that ended before this time."""
        ...
