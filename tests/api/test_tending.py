"""What a service looks after by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from api.calibrator import Calibrator
from api.job_kinds import SERVICE
from api.jobs import MAX_WAITING, JobRunner
from api.tending import Tending
from lookalike.answers import Caller
from lookalike.domain import Collection, Generation, GenerationState, Kind
from lookalike.errors import Overloaded
from lookalike.jobs import Job
from tests.api.doubles import SPACE, MemoryJobs

OLD = Generation("old", SPACE, state=GenerationState.STANDBY, until=100.0)
STAFF = Collection("0" * 32, "staff", Kind.FACE, SPACE, generation="new", others=(OLD,))


class Records:
    def collections(self) -> list[Collection]:
        return [STAFF, replace(STAFF, id="1" * 32, name="visitors", others=())]


class Rosters:
    tended = 0

    def tend(self) -> None:
        self.tended += 1


class Unknowns:
    tended = 0

    def tend(self, caller: Caller) -> None:
        assert caller.principal is SERVICE
        self.tended += 1


class Gallery:
    def overdue(self, subjects: int) -> list[Collection]:
        return []


def test_a_generation_is_let_go_of_once_when_its_grace_has_ended() -> None:
    now, store, rosters = [99.0], MemoryJobs(), Rosters()
    jobs = JobRunner(store, {"retire": lambda caller, job, progress: {}}, lambda job: SERVICE)
    unknowns = Unknowns()
    tending = Tending(Records(), rosters, Calibrator(Gallery(), jobs, 0), jobs, unknowns, clock=lambda: now[0])
    tending()
    assert store.kept == {}
    now[0] = 101.0
    tending()
    tending()
    jobs.close()
    assert [(job.kind, job.collection, job.principal) for job in store.kept.values()] == [
        ("retire", "staff", "service")
    ]
    assert rosters.tended == unknowns.tended == 3


class Looks:
    """Retention of which one look is due until it is given out; what came back can be given out again."""

    def __init__(self) -> None:
        self.due = [STAFF]

    def claim(self) -> Iterator[Collection]:
        while self.due:
            yield self.due.pop()

    def release(self, collection: Collection) -> None:
        self.due.append(collection)


def looking_after(store: MemoryJobs, retention: Looks) -> tuple[Tending, JobRunner]:
    jobs = JobRunner(store, {"retention": lambda caller, job, progress: {}}, lambda job: SERVICE)
    calibrator = Calibrator(Gallery(), jobs, 0)
    return Tending(Records(), Rosters(), calibrator, jobs, Unknowns(), clock=lambda: 0.0, retention=retention), jobs


def test_a_look_that_is_due_becomes_one_job_in_the_name_of_the_service() -> None:
    store, retention = MemoryJobs(), Looks()
    tending, jobs = looking_after(store, retention)
    tending()
    tending()
    jobs.close()
    assert [(job.kind, job.collection, job.principal) for job in store.kept.values()] == [
        ("retention", "staff", "service")
    ]


def test_a_look_whose_job_could_not_be_queued_is_tried_again() -> None:
    store, retention = MemoryJobs(), Looks()
    tending, jobs = looking_after(store, retention)
    full = [Job(f"{n:016x}", "import", "key:x", "other", "1" * 32) for n in range(MAX_WAITING)]
    store.kept = {job.id: job for job in full}
    with pytest.raises(Overloaded):
        tending()
    assert retention.due == [STAFF]
    store.kept = {}
    tending()
    jobs.close()
    assert [job.kind for job in store.kept.values()] == ["retention"]
