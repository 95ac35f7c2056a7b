from __future__ import annotations

import numpy as np
import pytest

from embedder.evaluate.fairness import Outcomes, dealt_ratios, largest_ratio, outcomes
from embedder.evaluate.figures import measure_faces
from embedder.evaluate.intervals import draw_weights


def crowd(people: int = 90, pictures: int = 3, alike: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(vectors, person). alike: how much the first half of the people have in common."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), pictures)
    centres = rng.normal(size=(people, 16))
    centres[: people // 2] += alike * rng.normal(size=16)
    raw = centres[person] + 0.6 * rng.normal(size=(len(person), 16))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32), person


def found_for(vectors: np.ndarray, person: np.ndarray) -> tuple[Outcomes, np.ndarray]:
    weights = draw_weights(int(person.max()) + 1, 200)
    return outcomes(vectors, person, measure_faces(vectors, vectors, person, weights, None)), weights


def test_rates_of_a_cohort_are_what_a_slow_count_of_its_pairs_gives() -> None:
    vectors, person = crowd(alike=0.6)
    found, weights = found_for(vectors, person)
    inside = person < 30

    rates = found.rates(inside, weights)

    accepted = refused = others = genuine = 0
    for one in np.flatnonzero(inside):
        for other in range(one + 1, len(person)):
            if not inside[other]:
                continue
            alike = float(vectors[one] @ vectors[other]) >= found.fmr_similarity
            if person[one] == person[other]:
                genuine, refused = genuine + 1, refused + (not alike)
            else:
                others, accepted = others + 1, accepted + alike
    assert rates["FMR"][0] == pytest.approx(accepted / others)
    assert rates["FNMR"][0] == pytest.approx(refused / genuine)
    assert found.counts(inside)["FMR"] == others


def test_all_pictures_together_have_the_rate_that_the_threshold_was_set_to() -> None:
    vectors, person = crowd()
    found, weights = found_for(vectors, person)

    rates = found.rates(np.ones(len(person), bool), weights)

    assert found.fmr == 0.01
    assert 0.005 < rates["FMR"][0] <= 0.01
    assert rates["FPIR"][0] <= found.fpir


def test_a_cohort_whose_people_resemble_each_other_has_more_false_matches_than_chance_gives() -> None:
    vectors, person = crowd(alike=0.8)
    found, weights = found_for(vectors, person)
    cohort_of = (np.arange(90) >= 45).astype(np.int64)
    rates = {
        name: found.rates(cohort_of[person] == each, weights)["FMR"] for each, name in enumerate(("alike", "mixed"))
    }

    ratio = largest_ratio(rates, 45, dealt_ratios(found, cohort_of, {"FMR": [0, 1]})["FMR"])

    assert ratio is not None
    assert (ratio.worst, ratio.best) == ("alike", "mixed")
    assert ratio.low > 1
    assert ratio.value > ratio.by_chance > 1


def test_cohorts_that_mean_nothing_differ_no_more_than_chance() -> None:
    vectors, person = crowd()
    found, weights = found_for(vectors, person)
    cohort_of = np.arange(90) % 2
    rates = {str(each): found.rates(cohort_of[person] == each, weights)["FMR"] for each in (0, 1)}

    ratio = largest_ratio(rates, 45, dealt_ratios(found, cohort_of, {"FMR": [0, 1]})["FMR"])

    assert ratio is not None
    assert ratio.low < 1 < ratio.high
    assert ratio.value < ratio.by_chance


def test_no_ratio_is_given_to_a_cohort_without_an_error_or_to_one_cohort_alone() -> None:
    none, some = np.zeros(11), np.full(11, 0.1)

    assert largest_ratio({"a": some, "b": none}, 30, None).value is None
    assert largest_ratio({"a": some}, 30, None) is None


def test_a_ratio_to_a_cohort_with_hardly_an_error_has_no_upper_bound() -> None:
    some = np.full(201, 0.1)
    rare = np.where(np.arange(201) % 3 == 1, 0.0, 0.01)

    ratio = largest_ratio({"a": some, "b": rare}, 30, np.array([1.0, np.inf]))

    assert ratio.value == pytest.approx(10)
    assert ratio.low == pytest.approx(10)
    assert ratio.high is None
    assert ratio.by_chance == np.inf


def test_a_rate_is_not_stated_for_few_people_or_few_errors() -> None:
    vectors, person = crowd()
    found, _ = found_for(vectors, person)

    few, many = found.counts(person < 19), found.counts(person < 60)

    assert not any(found.stated(measure, few) for measure in ("FMR", "FNMR", "FPIR", "FNIR"))
    assert found.stated("FMR", many)
    assert found.stated("FNMR", many)
    assert not found.stated("FMR", many | {"FMR": 900})
