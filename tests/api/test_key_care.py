"""What a service does for its keys by itself."""

from __future__ import annotations

from dataclasses import replace

from api.job_kinds import SERVICE
from api.key_care import AGAIN_S, KeyCare
from lookalike.jobs import JobState
from tests.api.doubles import MemoryJobs, runner


class Rotation:
    """One collection waits as long as it is told to."""

    def __init__(self) -> None:
        self.followed = 0
        self.waiting = [("staff", "0" * 32)]
        self.asked: list[float] = []

    def follow(self) -> None:
        self.followed += 1

    def due(self, older_than_s: float) -> list[tuple[str, str]]:
        self.asked.append(older_than_s)
        return self.waiting


def test_a_collection_that_is_due_gets_one_job_and_another_only_after_an_hour() -> None:
    now, store, rotation = [1_000_000.0], MemoryJobs(), Rotation()
    jobs = runner({}, store)
    jobs.close()  # nothing is done, so that what was asked for stays
    care = KeyCare(rotation, jobs, 43_200.0, lambda: now[0])

    care()
    care()
    assert [(job.kind, job.collection, job.principal, dict(job.params)) for job in store.kept.values()] == [
        ("rotate", "staff", SERVICE.id, {"due": True})
    ]
    assert (rotation.followed, rotation.asked) == (2, [43_200.0, 43_200.0])

    for id in store.kept:
        store.kept[id] = replace(store.kept[id], state=JobState.FAILED)
    care()
    assert len(store.kept) == 1
    now[0] += AGAIN_S
    care()
    assert len(store.kept) == 2


def test_while_somebody_s_rotation_is_on_none_is_added() -> None:
    store, rotation = MemoryJobs(), Rotation()
    jobs = runner({}, store)
    jobs.close()
    jobs.submit("rotate", SERVICE, ("staff", "0" * 32))
    KeyCare(rotation, jobs, 0.0)()
    assert len(store.kept) == 1
