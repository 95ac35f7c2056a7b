"""Jobs go from queued to an end, and say which."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from api.errors import JobNotCancellable
from api.jobs import Job, JobRunner, JobState
from lookalike.errors import JobNotFound, NotCalibratable


@pytest.fixture
def runner() -> Iterator[JobRunner]:
    made = JobRunner()
    yield made
    made.close()


def ended(runner: JobRunner, job: Job) -> Job:
    """The job once it has ended: jobs are done in turn, so a later one's start tells."""
    later = threading.Event()
    runner.submit("marker", None, lambda: {"set": later.set()})
    assert later.wait(10)
    return runner.job(job.id)


def test_a_job_that_works_ends_done_with_its_result(runner):
    job = runner.submit("calibrate", "staff", lambda: {"pairs": 3})
    assert job.state is JobState.QUEUED
    found = ended(runner, job)
    assert (found.state, found.result, found.done, found.total) == (JobState.DONE, {"pairs": 3}, 1, 1)


def test_a_job_that_is_refused_ends_failed_with_its_code(runner):
    def refuse() -> dict[str, object]:
        raise NotCalibratable("at least 20 subjects are needed")

    found = ended(runner, runner.submit("calibrate", "staff", refuse))
    assert (found.state, found.error) == (JobState.FAILED, ("not_calibratable", "at least 20 subjects are needed"))


def test_a_job_that_breaks_tells_no_more_than_that(runner):
    def fail() -> dict[str, object]:
        raise KeyError("Ada Lovelace")

    found = ended(runner, runner.submit("calibrate", "staff", fail))
    assert found.state is JobState.FAILED and "Ada" not in str(found.error)


def test_a_waiting_job_can_be_cancelled_and_is_never_done(runner):
    hold, done = threading.Event(), []
    running = runner.submit("first", None, lambda: {"waited": hold.wait(10)})
    waiting = runner.submit("second", None, lambda: {"done": done.append(1)})
    assert runner.cancel(waiting.id).state is JobState.CANCELLED
    hold.set()
    assert ended(runner, running).state is JobState.DONE
    assert runner.job(waiting.id).state is JobState.CANCELLED and done == []
    with pytest.raises(JobNotCancellable):
        runner.cancel(running.id)


def test_jobs_are_listed_newest_first_and_unknown_ones_are_told(runner):
    first, second = runner.submit("a", None, dict), runner.submit("b", None, dict)
    assert [job.id for job in runner.jobs()] == [second.id, first.id]
    with pytest.raises(JobNotFound):
        runner.job("none")
