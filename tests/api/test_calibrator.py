"""Collections that grew learn from their own pairs, once for each time that they are due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from api.calibrator import SERVICE, Calibrator
from api.job_kinds import job_kinds
from api.jobs import JobRunner
from lookalike.answers import CalibrationReport, Caller
from lookalike.domain import Collection, Kind, Permission, Threshold
from lookalike.errors import NotCalibratable
from lookalike.jobs import JobState
from tests.api import doubles

BAR = Threshold(0.4, "collection", 0.01, 200)


class Growing:
    """The part of a gallery that is asked."""

    def __init__(self) -> None:
        self.due = ["staff"]
        self.calibrated: list[tuple[str, str]] = []
        self.failing = False

    def overdue(self, subjects: int) -> list[Collection]:
        return [Collection("0" * 32, name, Kind.FACE, doubles.SPACE) for name in self.due]

    def calibrate(self, caller: Caller, name: str) -> CalibrationReport:
        if self.failing:
            raise NotCalibratable("no spread")
        self.calibrated.append((caller.principal.id, name))
        return CalibrationReport(200, 39_800, 0, BAR, BAR)


@pytest.fixture
def gallery() -> Growing:
    return Growing()


@pytest.fixture
def jobs(gallery: Growing) -> Iterator[JobRunner]:
    kinds = job_kinds(gallery, None, SimpleNamespace(run=None), None, None)
    made = JobRunner(doubles.MemoryJobs(), kinds, lambda job: SERVICE)
    yield made
    made.close()


def settled(jobs: JobRunner) -> list[JobState]:
    deadline = time.monotonic() + 30
    while any(job.state in (JobState.QUEUED, JobState.RUNNING) for job in jobs.jobs()):
        assert time.monotonic() < deadline, "a job does not end"
        time.sleep(0.01)
    return [job.state for job in jobs.jobs()]


def test_a_collection_that_is_due_is_calibrated_once_by_the_service(gallery: Growing, jobs: JobRunner) -> None:
    calibrator = Calibrator(gallery, jobs, 200)
    calibrator()
    calibrator()
    assert settled(jobs) == [JobState.DONE]
    assert gallery.calibrated == [("service", "staff")]


def test_it_is_calibrated_again_when_it_is_due_again(gallery: Growing, jobs: JobRunner) -> None:
    calibrator = Calibrator(gallery, jobs, 200)
    for due in (["staff"], [], ["staff"]):
        gallery.due = due
        calibrator()
    assert settled(jobs) == [JobState.DONE, JobState.DONE]


def test_one_that_cannot_be_calibrated_is_not_tried_over_and_over(gallery: Growing, jobs: JobRunner) -> None:
    gallery.failing = True
    calibrator = Calibrator(gallery, jobs, 200)
    for _ in range(3):
        calibrator()
    assert settled(jobs) == [JobState.FAILED]


def test_zero_leaves_it_to_the_operator(jobs: JobRunner) -> None:
    Calibrator(Growing(), jobs, 0)()
    assert settled(jobs) == []


def test_the_service_may_do_nothing_else() -> None:
    rules = {Permission.MANAGE_COLLECTIONS, Permission.ERASE, Permission.RETENTION}
    assert SERVICE.rights == {None: frozenset({*rules, Permission.RUN_JOBS, Permission.MANAGE_KEYS})}
