"""Counting false alarms of strangers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.impostors import (
    GRID,
    bootstrap_weights,
    count,
    implausible_from,
    level,
    levels_by_size,
    rate,
    shown_until,
    with_tail,
)
from tests.lookalike.strangers import another_picture, people, scores_of_strangers


def even(number: int) -> np.ndarray:
    return np.full((1, number), 1 / number)


def test_fpir_is_the_share_of_all_galleries_that_raise_an_alarm() -> None:
    rng = np.random.default_rng(3)
    scores = rng.uniform(-0.4, 0.9, size=(5, 7))

    table = rate(levels_by_size(count(enumerate(scores)), [1, 3, 7], even(5))[0])

    for row, size in enumerate((1, 3, 7)):
        for point in (60, 100, 130, 170):
            alarms = [
                max(row_of_scores[list(gallery)]) >= GRID[point]
                for row_of_scores in scores
                for gallery in itertools.combinations(range(7), size)
            ]
            assert table[row, point] == pytest.approx(np.mean(alarms), abs=1e-9)


def test_several_probes_of_a_person_count_as_one_person() -> None:
    loud, quiet = np.full(4, 0.8), np.full(4, 0.0)

    table = rate(levels_by_size(count([(0, loud), (0, loud), (0, loud), (1, quiet)]), [1], even(2))[0])

    assert table[0, 150] == pytest.approx(0.5)


def test_people_who_resemble_many_make_independence_wrong() -> None:
    wolf, lambs = np.full((1, 200), 0.7), np.full((19, 200), 0.0)
    impostors = count(enumerate(np.concatenate([wolf, lambs])))

    exact = rate(levels_by_size(impostors, [1, 100], even(20))[0])[:, 160]

    assert exact == pytest.approx([0.05, 0.05])
    assert 1 - (1 - exact[0]) ** 100 > 0.99  # what the formula for independent pairs would say


def test_a_score_at_a_point_of_the_grid_counts_there() -> None:
    impostors = count([(0, np.array([0.25, 0.3]))])

    assert impostors.at_least[0, np.searchsorted(GRID, [0.24, 0.25, 0.26, 0.3, 0.31])].tolist() == [2, 2, 1, 1, 0]


@given(st.floats(1e-12, 1 - 1e-9))
def test_a_rate_comes_back_from_its_level(chance: float) -> None:
    assert float(rate(level(chance))) == pytest.approx(chance, rel=1e-6)


def test_levels_are_finite_for_rates_of_nothing_and_of_all() -> None:
    assert np.isfinite(level(np.array([0.0, 1.0, 1.0 + 1e-12]))).all()


def test_the_tail_goes_on_as_steeply_as_it_began() -> None:
    levels = -40 * (GRID - 0.2)

    bent = levels.copy()
    bent[141:] = -3.0

    assert with_tail(bent, 120, 140) == pytest.approx(np.maximum(levels, -41))


def test_resampling_draws_as_many_people_as_there_are() -> None:
    weights = bootstrap_weights(7, 50, seed=1)

    assert weights[0] == pytest.approx(np.full(7, 1 / 7))
    assert weights.sum(axis=1) == pytest.approx(np.ones(51))
    assert len({tuple(row) for row in weights}) > 40


def test_what_is_shown_ends_where_few_people_raise_alarms() -> None:
    scores = np.zeros((50, 30))
    scores[:25, 0] = 0.5
    scores[:10, 1] = 0.8

    assert GRID[shown_until(count(enumerate(scores)))] == pytest.approx(0.5)


def model_tail(impostors) -> np.ndarray:
    seen = levels_by_size(impostors, [1], even(impostors.people))[0, 0]
    start, end = (int(np.flatnonzero(rate(seen) >= chance)[-1]) for chance in (1e-2, 1e-4))
    return rate(with_tail(seen, start, end))


def test_one_person_under_two_names_is_found_implausible() -> None:
    templates = people(600, seed=1)
    expected = model_tail(count(scores_of_strangers(templates, another_picture(templates, 2))))
    doubled = np.concatenate([templates, another_picture(templates[:5], 9)])

    impostors = count(scores_of_strangers(doubled, another_picture(doubled, 3)))
    point = implausible_from(impostors, expected)

    assert point is not None
    left = impostors.without_above(point)
    assert 10 <= impostors.pairs - left.pairs <= 14
    assert left.at_least[:, point:].sum() == 0


def test_different_people_are_not_found_implausible() -> None:
    templates = people(600, seed=1)
    expected = model_tail(count(scores_of_strangers(templates, another_picture(templates, 2))))
    others = people(600, seed=7)

    assert implausible_from(count(scores_of_strangers(others, another_picture(others, 8))), expected) is None
