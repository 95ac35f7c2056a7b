from __future__ import annotations

from math import comb

import numpy as np
import pytest

from embedder.evaluate.identification import (
    OpenSet,
    fnir_at,
    fnir_estimate,
    open_set,
    rank_one,
    split_people,
    threshold_at,
)
from embedder.evaluate.intervals import exact_interval


def crowd(counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probes, templates, person) of people with so many pictures each."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(size=(len(counts), 6))

    def pictures() -> np.ndarray:
        raw = centres[person] + rng.normal(size=(len(person), 6)) * 0.7
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)

    return pictures(), pictures(), person


def slow_fnir(probes, templates, person, gallery, strangers, fpir: float) -> float:
    """By the definition, one search after the other."""
    people = sorted({int(person[row]) for row in gallery})

    def search(probe: np.ndarray) -> tuple[float, int]:
        scores = []
        for who in people:
            mean = sum(templates[row] for row in gallery if person[row] == who)
            scores.append((float(probe @ mean / np.linalg.norm(mean)), who))
        return max(scores)

    alarms = [search(probes[row])[0] for row in strangers]
    bar = min(b for b in [*alarms, -1.0] if sum(a > b for a in alarms) <= fpir * len(alarms) + 1e-9)
    mated = [row for row in range(len(person)) if row not in set(gallery) and int(person[row]) in people]
    answers = [(search(probes[row]), int(person[row])) for row in mated]
    return sum(not (who == truth and score > bar) for (score, who), truth in answers) / len(answers)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("fpir", [0.5, 0.1, 0.02])
def test_misses_are_what_a_slow_search_finds(samples: int, fpir: float) -> None:
    probes, templates, person = crowd([4] * 12 + [2] * 8 + [1] * 25)
    gallery, strangers = split_people(person, samples=samples)

    searches = open_set(probes, templates, person, gallery, strangers)

    assert fnir_at(searches, fpir) == pytest.approx(slow_fnir(probes, templates, person, gallery, strangers, fpir))


def test_people_with_one_picture_are_strangers_and_everyone_else_keeps_a_probe() -> None:
    person = np.array([0, 1, 1, 2, 3, 3, 3, 3, 4, 5])

    one, strangers = split_people(person)
    three, _ = split_people(person, samples=3)

    assert sorted(person[one]) == [1, 3]
    assert sorted(person[three]) == [1, 3, 3, 3]
    assert sorted(person[strangers]) == [0, 2, 4, 5]


def test_without_people_of_one_picture_some_are_set_aside_whole() -> None:
    person = np.repeat(np.arange(30), 3)

    gallery, strangers = split_people(person)

    assert len(np.unique(person[strangers])) == 10
    assert not set(person[gallery]) & set(person[strangers])
    assert len(strangers) == 30


@pytest.mark.parametrize(("fpir", "alarms"), [(0.0, 0), (0.1, 1), (0.29, 2), (0.3, 3), (1.0, 10)])
def test_no_more_strangers_than_asked_lie_above_the_threshold(fpir: float, alarms: int) -> None:
    best = np.arange(10) / 10

    assert int((best > threshold_at(best, fpir)).sum()) == alarms


def test_the_wrong_person_in_front_is_a_miss_however_high_the_score() -> None:
    searches = OpenSet(
        2, np.array([0.9, 0.9]), np.array([True, False]), np.array([0, 1]), np.array([0.1, 0.2]), np.array([7, 8])
    )

    assert rank_one(searches) == 0.5
    assert fnir_at(searches, 0.5) == 0.5


def test_the_interval_is_of_people_not_of_pictures() -> None:
    # Ten people; all pictures of one of them are missed: resampling people moves the rate by whole people.
    person = np.repeat(np.arange(10), 50)
    best = np.where(person == 0, 0.0, 0.9)
    searches = OpenSet(10, best, np.ones(500, bool), person, np.linspace(0.1, 0.4, 100), np.arange(100) + 10)

    found = fnir_estimate(searches, 0.1)

    assert found.value == pytest.approx(0.1)
    assert found.low == 0.0
    assert found.high >= 0.2


def test_where_nobody_was_missed_the_interval_still_says_how_few_were_asked() -> None:
    searches = OpenSet(
        10, np.full(40, 0.9), np.ones(40, bool), np.repeat(np.arange(10), 4), np.zeros(30), np.arange(30)
    )

    found = fnir_estimate(searches, 0.1)

    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 10), rel=1e-6)


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (3, 40), (12, 1215), (20, 20)])
def test_the_exact_interval_holds_the_share_whose_tails_are_a_fortieth(hits: int, trials: int) -> None:
    low, high = exact_interval(hits, trials)

    def at_most(k: int, p: float) -> float:
        return sum(comb(trials, i) * p**i * (1 - p) ** (trials - i) for i in range(k + 1))

    assert (low == 0.0) if hits == 0 else (1 - at_most(hits - 1, low) == pytest.approx(0.025, rel=1e-6))
    assert (high == 1.0) if hits == trials else (at_most(hits, high) == pytest.approx(0.025, rel=1e-6))
