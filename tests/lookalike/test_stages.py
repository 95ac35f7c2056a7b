from __future__ import annotations

import contextvars
import threading
import time

import pytest

from lookalike.stages import Stage, passed, stage, staged, watched_by, watching


class Notes:
    """The port Watch, which keeps what it was told."""

    def __init__(self) -> None:
        self.stages: list[tuple[Stage, float, bool]] = []

    def ended(self, stage: Stage, began_s: float, seconds: float, failed: bool) -> None:
        self.stages.append((stage, seconds, failed))

    def batched(self, rows: int) -> None:
        raise AssertionError("nothing was batched")

    def answered(self, matched: int, unmatched: int) -> None:
        raise AssertionError("nothing was answered")


def test_whoever_watches_is_told_of_each_stage_once_it_is_over() -> None:
    notes = Notes()

    with watched_by(notes):
        with stage(Stage.DECODE):
            assert notes.stages == []
        staged(Stage.SEARCH)(lambda: time.sleep(0.01))()

    (decode, _, _), (search, seconds, failed) = notes.stages
    assert (decode, search, failed) == (Stage.DECODE, Stage.SEARCH, False)
    assert seconds >= 0.01


def test_a_stage_that_ends_by_an_error_is_told_as_failed_and_the_error_goes_on() -> None:
    notes = Notes()

    with watched_by(notes), pytest.raises(KeyError), stage(Stage.AUDIT):
        raise KeyError("lost")

    assert [(name, failed) for name, _, failed in notes.stages] == [(Stage.AUDIT, True)]


def test_what_nobody_watches_is_told_to_nobody() -> None:
    notes = Notes()
    with watched_by(notes):
        pass

    with stage(Stage.DECODE):
        passed(Stage.QUEUE, time.perf_counter())

    assert watching() is None and notes.stages == []


def test_a_thread_that_is_given_the_context_tells_the_same_one_and_another_thread_tells_nobody() -> None:
    notes = Notes()

    def work() -> None:
        with stage(Stage.EMBED):
            pass

    with watched_by(notes):
        threads = [threading.Thread(target=work), threading.Thread(target=contextvars.copy_context().run, args=(work,))]
        for thread in threads:
            thread.start()
            thread.join()

    assert [name for name, _, _ in notes.stages] == [Stage.EMBED]


def test_of_two_requests_side_by_side_each_one_s_watch_is_told_of_its_own() -> None:
    first, second = Notes(), Notes()

    with watched_by(first):
        with watched_by(second), stage(Stage.DETECT):
            pass
        with stage(Stage.DECODE):
            pass

    assert [name for name, _, _ in first.stages] == [Stage.DECODE]
    assert [name for name, _, _ in second.stages] == [Stage.DETECT]
