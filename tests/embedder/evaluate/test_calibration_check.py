from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedder.evaluate.calibration_check import check_calibration, promised_curve, stranger_scores
from embedder.evaluate.intervals import draw_weights
from lookalike.calibration import Calibration
from lookalike.impostors import GRID
from lookalike.thresholds import learn

PEOPLE = 400


def faces(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(vectors, person): two pictures each of people drawn from one population."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(PEOPLE), 2)
    raw = rng.normal(size=(PEOPLE, 24))[person] + 0.5 * rng.normal(size=(2 * PEOPLE, 24))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32), person


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    vectors, person = faces(1)
    scores = stranger_scores(vectors, vectors, person)
    return learn(((row, np.delete(each, row).astype(np.float32)) for row, each in enumerate(scores)), resamples=20)


def test_a_calibration_learned_from_like_people_keeps_its_promises(calibration: Calibration) -> None:
    vectors, person = faces(2)

    promises = check_calibration(calibration, vectors, vectors, person, draw_weights(PEOPLE))

    assert {(each.size, each.asked) for each in promises} >= {(None, 0.01), (None, 0.001), (50, 0.1), (50, 0.01)}
    assert sum(each.answer == "kept" for each in promises) >= len(promises) - 1
    assert all(each.observed.low <= each.observed.value <= each.observed.high for each in promises)


@pytest.mark.parametrize(("move", "answer"), [(-0.15, "more alarms than asked"), (0.15, "stricter than asked")])
def test_a_calibration_that_is_off_is_found_out(calibration: Calibration, move: float, answer: str) -> None:
    vectors, person = faces(2)
    moved = np.stack([[np.interp(GRID - move, GRID, row) for row in table] for table in calibration.levels])

    promises = check_calibration(replace(calibration, levels=moved), vectors, vectors, person, draw_weights(PEOPLE))

    # Rarer errors are too few among 400 people to find it out.
    shown = [each for each in promises if each.asked == (0.01 if each.size is None else 0.1)]
    assert [each.answer for each in shown] == [answer] * 2


def test_what_was_observed_is_what_a_slow_count_gives(calibration: Calibration) -> None:
    vectors, person = faces(2)
    promises = check_calibration(calibration, vectors, vectors, person, draw_weights(PEOPLE))
    asked = next(each for each in promises if each.size is None and each.asked == 0.01)

    accepted = 0
    for one in range(PEOPLE):
        for other in range(PEOPLE):
            probe, template = vectors[2 * one + 1], vectors[2 * other]
            accepted += one != other and float(probe @ template) >= asked.similarity

    assert asked.errors == accepted
    assert asked.observed.value == pytest.approx(accepted / (PEOPLE * (PEOPLE - 1)))


def test_the_curve_of_a_good_calibration_runs_along_the_diagonal(calibration: Calibration) -> None:
    vectors, person = faces(2)

    promised, observed = promised_curve(calibration, stranger_scores(vectors, vectors, person), 50)

    assert (np.diff(observed) > 0).all()
    middle = (observed > 0.02) & (observed < 0.4)
    assert np.abs(np.log(promised[middle] / observed[middle])).max() < np.log(1.6)


def test_too_few_people_try_no_promise(calibration: Calibration) -> None:
    vectors, person = faces(2)

    assert check_calibration(calibration, vectors[:40], vectors[:40], person[:40], draw_weights(20)) == []
