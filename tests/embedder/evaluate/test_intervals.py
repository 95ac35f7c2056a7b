from __future__ import annotations

import numpy as np
import pytest

from embedder.evaluate.figures import Measured, measure_faces, measure_items
from embedder.evaluate.identification import fnir_figures, open_set, split_people, threshold_at
from embedder.evaluate.intervals import draw_weights, percentiles, rate_estimate, student, weighted_means
from embedder.evaluate.pair_figures import pair_figures
from embedder.evaluate.verification import accuracy_figures, curve_over_all_pairs, curve_over_pairs, draw_pairs


def crowd(counts: list[int], spread: float = 0.8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(vectors, person) of people with so many pictures each."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(len(counts)), counts)
    raw = rng.normal(size=(len(counts), 8))[person] + spread * rng.normal(size=(len(person), 8))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32), person


@pytest.mark.parametrize(("degrees", "quantile"), [(5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)])
def test_students_quantile_is_that_of_the_tables(degrees: int, quantile: float) -> None:
    assert student(degrees) == pytest.approx(quantile, abs=3e-4)


@pytest.mark.parametrize("groups", [12, 60])
def test_the_interval_holds_the_truth_about_95_times_in_100(groups: int) -> None:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        level = rng.normal(size=groups)  # what people differ by; their 20 pictures add little of their own
        person = np.repeat(np.arange(groups), 20)
        values = level[person] + 0.3 * rng.normal(size=len(person))
        low, high = percentiles(
            weighted_means(values, person, draw_weights(groups, 500, int(rng.integers(1e9)))), groups
        )
        held += low <= 0 <= high

    assert 0.92 <= held / 400 <= 0.98


def test_where_nothing_failed_the_interval_is_exact_for_so_many_people() -> None:
    perfect = rate_estimate(np.ones(11), 20)
    hopeless = rate_estimate(np.zeros(11), 20)

    assert (perfect.value, perfect.high, hopeless.low) == (1.0, 1.0, 0.0)
    assert perfect.low == pytest.approx(0.025 ** (1 / 20))
    assert hopeless.high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_every_resample_draws_as_many_people_and_the_same_ones_each_time() -> None:
    weights = draw_weights(30, 50, seed=3)

    assert np.array_equal(weights, draw_weights(30, 50, seed=3))
    assert (weights.sum(axis=1) == 30).all()
    assert (weights[0] == 1).all()


def test_rates_over_all_pairs_are_those_of_a_slow_count_that_weighs_both_sides() -> None:
    vectors, person = crowd([4] * 15 + [2] * 10)
    weights = draw_weights(25, 6)
    scores = vectors @ vectors.T
    first, second = np.triu_indices(len(person), 1)
    score, same = scores[first, second], person[first] == person[second]

    found = pair_figures(vectors, person, curve_over_all_pairs(vectors, person), (0.1, 0.02), weights)

    for row, weight in enumerate(weights):
        each = np.where(same, weight[person[first]], weight[person[first]] * weight[person[second]]).astype(int)
        curve = curve_over_pairs(np.repeat(score, each), np.repeat(same, each))
        for tar, far in zip(found.tar, (0.1, 0.02), strict=True):
            assert tar[row] == pytest.approx(curve.tar_at(far), abs=0.02)
        assert found.equal_error_rate[row] == pytest.approx(curve.equal_error_rate(), abs=0.01)


def test_thinning_pairs_changes_the_interval_little(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, person = crowd([4] * 60, spread=1.2)
    curve, weights = curve_over_all_pairs(vectors, person), draw_weights(60, 300)
    whole = pair_figures(vectors, person, curve, (0.1,), weights)

    monkeypatch.setattr("embedder.evaluate.pair_figures.MOST", 3000)
    thinned = pair_figures(vectors, person, curve, (0.1,), weights)

    assert thinned.tar[0][0] == whole.tar[0][0] == curve.tar_at(0.1)
    assert thinned.tar[0].std() == pytest.approx(whole.tar[0].std(), rel=0.25)
    assert thinned.equal_error_rate.std() == pytest.approx(whole.equal_error_rate.std(), rel=0.25)


def test_misses_are_those_of_searches_repeated_as_often_as_people_were_drawn() -> None:
    vectors, person = crowd([3] * 20 + [1] * 30)
    searches = open_set(vectors, vectors, person, *split_people(person))
    weights = draw_weights(50, 8)

    found = fnir_figures(searches, 0.1, weights)

    for row, weight in enumerate(weights.astype(int)):
        bar = threshold_at(np.repeat(searches.stranger_best, weight[searches.stranger_person]), 0.1)
        hit = np.repeat(searches.mated_right & (searches.mated_best > bar), weight[searches.mated_person])
        assert found[row] == pytest.approx(1 - hit.mean())


def test_accuracy_keeps_its_mean_and_moves_with_who_was_drawn() -> None:
    vectors, person = crowd([3] * 60, spread=1.2)
    pairs = draw_pairs(person)
    scores = (vectors[pairs.first] * vectors[pairs.second]).sum(axis=1)

    figures = accuracy_figures(scores, pairs, person, draw_weights(60, 400))

    assert 0.6 < figures[0] < 1
    # 60 pairs of one person and 60 of two: about as uncertain as 120 independent answers, and no less.
    alone = np.sqrt(figures[0] * (1 - figures[0]) / 120)
    assert 0.8 * alone < figures[1:].std() < 2 * alone


def measured() -> list[Measured]:
    vectors, person = crowd([4] * 30 + [1] * 40)
    weights = draw_weights(70, 100)
    return [
        measure_faces(vectors, vectors, person, weights, draw_pairs(person)),
        measure_items(vectors, vectors, person, weights),
    ]


@pytest.mark.parametrize("kind", [0, 1], ids=["faces", "items"])
def test_every_figure_that_is_stated_has_an_interval_around_it(kind: int) -> None:
    rows = [figure.row() for figure in measured()[kind].figures]

    stated = [row for row in rows if row.value is not None]
    assert len(stated) >= 8
    assert all(row.low <= row.value <= row.high and row.low < row.high for row in stated)
    assert all(row.note for row in rows if row.value is None)
