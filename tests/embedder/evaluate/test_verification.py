from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.evaluate.verification import (
    accuracy_by_folds,
    best_threshold,
    curve_over_all_pairs,
    curve_over_pairs,
    draw_pairs,
)


def crowd(people: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of people, so that some pairs are hard."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, 8))
    raw = np.repeat(centres, each, axis=0) + rng.normal(size=(people * each, 8)) * 0.8
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return unit.astype(np.float32), np.repeat(np.arange(people), each)


def test_the_curve_over_all_pairs_is_what_a_slow_loop_counts() -> None:
    vectors, person = crowd(130, 5)  # more rows than one chunk holds

    curve = curve_over_all_pairs(vectors, person)

    scores = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    same = [scores[i, j] for i in range(650) for j in range(i + 1, 650) if person[i] == person[j]]
    other = [scores[i, j] for i in range(650) for j in range(i + 1, 650) if person[i] != person[j]]
    assert (curve.matching, curve.others) == (len(same), len(other))
    for bar in (-0.5, 0.0, 0.3, 0.6, 0.9):
        at = int(np.argmin(np.abs(curve.similarity[:-1] - bar)))
        assert curve.tar[at] == pytest.approx(np.mean(np.array(same) >= bar), abs=2 / len(same))
        assert curve.far[at] == pytest.approx(np.mean(np.array(other) >= bar), abs=2e-4)


def test_tar_at_far_keeps_the_most_pairs_without_more_false_ones_than_allowed() -> None:
    vectors, person = crowd(100, 4)
    curve = curve_over_all_pairs(vectors, person)
    scores = vectors @ vectors.T
    upper = np.triu(np.ones_like(scores, bool), 1)
    alike = person[:, None] == person[None, :]
    other, same = scores[upper & ~alike], scores[upper & alike]

    for far in (0.1, 0.01, 0.001):
        bars = np.arange(-1, 1, 1e-3)
        best = max(np.mean(same >= bar) for bar in bars if np.mean(other >= bar) <= far)
        assert curve.tar_at(far) == pytest.approx(best, abs=0.02)


def test_the_equal_error_rate_lies_where_both_errors_meet() -> None:
    same, other = np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.5, 0.1, 0.0, -0.1])

    curve = curve_over_pairs(np.concatenate([same, other]), np.repeat([True, False], 4))

    assert curve.equal_error_rate() == pytest.approx(0.25)


def test_parted_scores_have_no_error() -> None:
    curve = curve_over_pairs(np.array([0.9, 0.8, 0.1, 0.2]), np.array([True, True, False, False]))

    assert curve.equal_error_rate() == 0.0
    assert curve.tar_at(1e-5) == 1.0


@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=1, max_size=25))
def test_no_threshold_judges_more_pairs_rightly_than_the_best(pairs: list[tuple[int, bool]]) -> None:
    scores, same = np.array([s / 10 for s, _ in pairs]), np.array([m for _, m in pairs])

    found = best_threshold(scores, same)

    def right(bar: float) -> int:
        return sum((score >= bar) == match for score, match in zip(scores, same, strict=True))

    assert right(found) == max(right(bar) for bar in np.linspace(-1.05, 1.05, 43))


def test_a_fold_is_judged_by_the_threshold_of_the_others_only() -> None:
    # Within the second fold 0.1 would part the pairs; the first fold's 0.475 misses its matching pair.
    scores = np.array([0.9, 0.05, 0.2, 0.0])
    same = np.array([True, False, True, False])

    found = accuracy_by_folds(scores, same, np.array([0, 0, 1, 1]))

    assert found.folds == (1.0, 0.5)
    assert found.mean == 0.75
    assert found.error == pytest.approx(0.25)


def test_drawn_pairs_are_balanced_and_no_person_is_in_two_folds() -> None:
    person = np.array([who for who in range(40) for _ in range(3 if who < 30 else 1)])
    person = np.random.default_rng(1).permutation(person)

    pairs = draw_pairs(person)

    assert pairs is not None
    assert pairs.same.sum() == (~pairs.same).sum() == 30
    assert np.array_equal(person[pairs.first] == person[pairs.second], pairs.same)
    assert (pairs.first != pairs.second).all()
    folds_of: dict[int, set[int]] = {}
    for first, second, fold in zip(pairs.first, pairs.second, pairs.fold, strict=True):
        for row in (first, second):
            folds_of.setdefault(int(person[row]), set()).add(int(fold))
    assert len(np.unique(pairs.fold)) == 10
    assert all(len(folds) == 1 for folds in folds_of.values())


def test_too_few_people_give_no_pairs() -> None:
    assert draw_pairs(np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])) is None
