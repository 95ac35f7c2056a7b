from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from lookalike.domain import Grant
from lookalike.errors import TamperedData
from lookalike.jobs import Job, JobState
from lookalike.ports import JobRow
from security.sealed_jobs import SealedJobs

JOB = Job(
    "j1",
    "reindex",
    "key:k1",
    "canary-collection",
    None,
    {"hold": True, "model": "canary-model"},
    (Grant("operator", "canary-collection"),),
    created_at=10.0,
    updated_at=10.0,
)


@pytest.fixture
def jobs(rows, keyring):
    return SealedJobs(rows, keyring)


def test_a_job_is_kept_as_it_was_put(jobs):
    ended = replace(JOB, state=JobState.FAILED, error=("conflict", "no"), result={"a": [1, 2.5]}, done=3, total=7)
    assert jobs.put(ended)
    assert jobs.job("j1") == ended and jobs.jobs(10) == [ended] and jobs.job("none") is None


def test_what_it_is_about_is_not_readable_in_the_rows(jobs, rows):
    jobs.put(JOB)
    row = rows.read().job("j1")
    assert row is not None and b"canary" not in row.payload and b"reindex" not in row.payload


def test_a_changed_or_moved_row_is_refused(jobs, rows):
    jobs.put(JOB)
    row = rows.read().job("j1")
    assert row is not None
    rows.write(lambda tx: tx.put_job(replace(row, id="j2")))
    with pytest.raises(TamperedData):
        jobs.job("j2")
    flipped = bytes([*row.payload[:-1], row.payload[-1] ^ 1])
    rows.write(lambda tx: tx.put_job(JobRow(row.id, None, row.state, 10.0, 10.0, 0.0, flipped)))
    with pytest.raises(TamperedData):
        jobs.job("j1")


def test_a_job_is_claimed_once_until_its_lease_runs_out(jobs):
    jobs.put(JOB)
    taken = jobs.claim(100.0, 120.0)
    assert taken is not None and (taken.state, taken.starts) == (JobState.RUNNING, 1)
    assert jobs.claim(119.0, 140.0) is None
    again = jobs.claim(121.0, 140.0)
    assert again is not None and again.starts == 2


def test_many_at_once_never_claim_the_same_job(jobs):
    for n in range(12):
        jobs.put(replace(JOB, id=f"j{n}", created_at=float(n)))
    taken: list[str] = []

    def claim() -> None:
        while (job := jobs.claim(100.0, 200.0)) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(f"j{n}" for n in range(12))


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_is_asked_to_end(jobs):
    jobs.put(JOB)
    assert jobs.cancel("j1").state is JobState.CANCELLED
    jobs.put(replace(JOB, id="j2"))
    running = jobs.claim(100.0, 120.0)
    assert jobs.cancel("j2").state is JobState.RUNNING
    assert jobs.put(replace(running, done=4)) and jobs.job("j2").cancel


def test_a_deleted_collection_takes_its_jobs_along(records, collection, jobs):
    from tests.security.conftest import ENTRY

    job = replace(JOB, collection_id=collection.id, starts=1, state=JobState.RUNNING)
    assert jobs.put(replace(job, starts=0))
    records.delete_collection(collection, ENTRY)
    assert jobs.job("j1") is None and not jobs.put(job) and jobs.jobs(10) == []


def test_jobs_that_ended_long_ago_are_forgotten(jobs):
    jobs.put(replace(JOB, state=JobState.DONE, updated_at=5.0))
    jobs.put(replace(JOB, id="j2"))
    assert jobs.forget(6.0) == 1 and [job.id for job in jobs.jobs(10)] == ["j2"]
