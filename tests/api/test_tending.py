"""What a service looks after by itself."""

from __future__ import annotations

from dataclasses import replace

from api.calibrator import Calibrator
from api.job_kinds import SERVICE
from api.jobs import JobRunner
from api.tending import Tending
from lookalike.answers import Caller
from lookalike.domain import Collection, Generation, GenerationState, Kind
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
