"""Jobs go from queued to an end, say which, and survive the process that does them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from api.errors import JobNotCancellable
from api.jobs import MAX_STARTS, JobRunner
from lookalike.domain import Principal
from lookalike.errors import (
    IndexUnavailable,
    JobNotFound,
    NotCalibratable,
    PermissionDenied,
    StorageFull,
    StorageUnavailable,
)
from lookalike.jobs import ENDED, Job, JobState
from tests.api.doubles import SERVANT, MemoryJobs, runner

STAFF = ("staff", "0" * 32)


@pytest.fixture
def started():
    """Makes runners that are closed at the end."""
    made: list[JobRunner] = []

    def start(**kinds) -> JobRunner:
        made.append(runner(kinds))
        return made[-1]

    yield start
    for each in made:
        each.close()


def ended(jobs: JobRunner, id: str) -> Job:
    deadline = time.monotonic() + 20
    while jobs.job(id).state not in ENDED:
        assert time.monotonic() < deadline, "the job does not end"
        time.sleep(0.01)
    return jobs.job(id)


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_job_that_works_ends_done_with_its_result_in_the_name_of_who_asked(started):
    seen = []
    jobs = started(count=lambda caller, job, progress: seen.append(caller.principal.id) or {"pairs": job.params["n"]})
    job = jobs.submit("count", SERVANT, STAFF, {"n": 3})
    assert job.state is JobState.QUEUED
    found = ended(jobs, job.id)
    assert (found.state, found.result, found.done, found.collection) == (JobState.DONE, {"pairs": 3}, 1, "staff")
    assert seen == ["key:servant"]


def test_a_job_that_is_refused_ends_failed_with_its_code(started):
    def refuse(caller, job, progress):
        raise NotCalibratable("at least 20 subjects are needed")

    jobs = started(learn=refuse)
    found = ended(jobs, jobs.submit("learn", SERVANT).id)
    assert (found.state, found.error) == (JobState.FAILED, ("not_calibratable", "at least 20 subjects are needed"))


def test_a_job_that_breaks_tells_no_more_than_that(started):
    def fail(caller, job, progress):
        raise KeyError("Ada Lovelace")

    jobs = started(fail=fail)
    found = ended(jobs, jobs.submit("fail", SERVANT).id)
    assert found.state is JobState.FAILED and "Ada" not in str(found.error)


def test_a_waiting_job_can_be_cancelled_and_is_never_done(started):
    hold, done = threading.Event(), []
    jobs = started(
        wait=lambda caller, job, progress: {"waited": hold.wait(10)},
        do=lambda caller, job, progress: {"done": done.append(1)},
    )
    running, waiting = jobs.submit("wait", SERVANT), jobs.submit("do", SERVANT)
    assert jobs.cancel(waiting.id).state is JobState.CANCELLED
    hold.set()
    assert ended(jobs, running.id).state is JobState.DONE
    assert jobs.job(waiting.id).state is JobState.CANCELLED and done == []
    with pytest.raises(JobNotCancellable):
        jobs.cancel(running.id)


def forever(caller, job, progress):
    for step in range(1_000_000):
        progress(step, 1_000_000)
        time.sleep(0.01)
    return {}


def test_a_running_job_ends_soon_after_it_is_cancelled(started):
    jobs = started(long=forever)
    job = jobs.submit("long", SERVANT)
    until(lambda: jobs.job(job.id).done > 0)
    jobs.cancel(job.id)
    assert ended(jobs, job.id).state is JobState.CANCELLED


def test_a_job_can_be_ended_by_what_it_works_on(started):
    jobs = started(long=forever)
    job = jobs.submit("long", SERVANT, STAFF)
    until(lambda: jobs.job(job.id).done > 0)
    jobs.end("long", "another collection")
    assert jobs.job(job.id).state is JobState.RUNNING
    jobs.end("long", STAFF[1])
    assert jobs.job(job.id).state is JobState.CANCELLED
    jobs.end("long", STAFF[1])


def test_a_service_that_stops_leaves_its_job_for_the_next_which_goes_on():
    store, seen = MemoryJobs(), []

    def go_on(caller, job, progress):
        seen.append(job.starts)
        return forever(caller, job, progress) if job.starts == 1 else {"went": "on"}

    first = runner({"long": go_on}, store)
    job = first.submit("long", SERVANT)
    until(lambda: store.kept[job.id].done > 0)
    first.close()
    assert store.kept[job.id].state is JobState.QUEUED

    second = runner({"long": go_on}, store)
    second.start()
    assert ended(second, job.id).result == {"went": "on"} and seen == [1, 2]
    second.close()


def test_a_job_whose_process_died_is_taken_up_once_its_lease_has_run_out():
    store = MemoryJobs()
    store.put(Job("j1", "do", "key:servant", state=JobState.RUNNING, leased_until=time.time() - 1, starts=1))
    store.put(Job("j2", "do", "key:servant", state=JobState.RUNNING, leased_until=time.time() + 50, starts=1))
    jobs = runner({"do": lambda caller, job, progress: {"by": "another"}}, store)
    jobs.start()
    assert ended(jobs, "j1").state is JobState.DONE
    assert jobs.job("j2").state is JobState.RUNNING
    jobs.close()


def test_a_job_that_takes_its_process_down_again_and_again_is_given_up():
    store = MemoryJobs()
    store.put(Job("j1", "do", "key:servant", state=JobState.RUNNING, starts=MAX_STARTS))
    jobs = runner({"do": lambda caller, job, progress: {}}, store)
    jobs.start()
    found = ended(jobs, "j1")
    assert found.state is JobState.FAILED and found.error is not None and str(MAX_STARTS) in found.error[1]
    jobs.close()


def test_a_job_that_gets_further_each_time_is_never_given_up():
    store = MemoryJobs()
    store.put(Job("j1", "do", "key:servant", state=JobState.RUNNING, starts=MAX_STARTS - 1, done=3, total=9))
    there = threading.Event()

    def further(caller, job, progress):
        progress(4, 9)
        return {"waited": there.wait(20)}

    jobs = runner({"do": further}, store)
    jobs.start()
    until(lambda: store.kept["j1"].done == 4)
    assert store.kept["j1"].starts == 1
    there.set()
    jobs.close()


@pytest.mark.parametrize("away", [StorageUnavailable, StorageFull, IndexUnavailable])
def test_a_job_whose_disk_or_server_is_away_says_so_and_goes_on_once_it_is_back(away):
    store, back = MemoryJobs(), threading.Event()

    def work(caller, job, progress):
        if not back.is_set():
            raise away("not now")
        return {"worked": True}

    jobs = JobRunner(store, {"work": work}, lambda job: SERVANT, again_after_s=0.01)
    job = jobs.submit("work", SERVANT, STAFF)
    until(lambda: jobs.job(job.id).error == (away.code, "not now"))
    assert jobs.job(job.id).state not in ENDED and jobs.job(job.id).starts <= 1

    back.set()
    found = ended(jobs, job.id)
    assert (found.state, found.error, found.result) == (JobState.DONE, None, {"worked": True})
    jobs.close()


def test_a_job_that_waits_for_a_server_can_be_cancelled_at_once():
    def work(caller, job, progress):
        raise IndexUnavailable("not now")

    jobs = JobRunner(MemoryJobs(), {"work": work}, lambda job: SERVANT, again_after_s=50.0)
    job = jobs.submit("work", SERVANT, STAFF)
    until(lambda: jobs.job(job.id).error is not None)
    jobs.end("work", STAFF[1])

    assert jobs.job(job.id).state is JobState.CANCELLED
    jobs.close()


def test_what_is_taken_from_its_asker_ends_a_job():
    revoked = threading.Event()

    def who(job: Job) -> Principal:
        if revoked.is_set():
            raise PermissionDenied("the key is gone")
        return SERVANT

    jobs = JobRunner(MemoryJobs(), {"long": forever}, who)
    job = jobs.submit("long", SERVANT)
    until(lambda: jobs.job(job.id).done > 0)
    revoked.set()
    found = ended(jobs, job.id)
    assert found.state is JobState.FAILED and found.error == ("permission_denied", "the key is gone")
    jobs.close()


def test_a_kind_of_a_later_release_is_told_plainly(started):
    jobs = started()
    found = ended(jobs, jobs.submit("dance", SERVANT).id)
    assert found.state is JobState.FAILED and found.error is not None and "'dance'" in found.error[1]


def test_jobs_are_listed_newest_first_and_unknown_ones_are_told(started):
    jobs = started()
    first, second = jobs.submit("a", SERVANT), jobs.submit("b", SERVANT)
    assert [job.id for job in jobs.jobs()] == [second.id, first.id]
    with pytest.raises(JobNotFound):
        jobs.job("none")


def test_progress_does_not_undo_a_wish_to_cancel():
    store = MemoryJobs()
    job = Job("j1", "long", "key:servant")
    store.put(job)
    store.cancel("j1")
    store.put(replace(job, done=5))
    assert store.kept["j1"].cancel
