"""What is learned from scores holds for strangers who were not there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lookalike.calibration import Calibration
from lookalike.domain import Floats
from lookalike.errors import NotCalibratable
from lookalike.impostors import GRID
from lookalike.thresholds import MAX_PROBES, MAX_TEMPLATES, learn, recalibrate
from tests.lookalike.strangers import another_picture, people, photos, scores_of_strangers, unit


@pytest.fixture(scope="module")
def model() -> Calibration:
    persons = people(1200, seed=1)
    scores = scores_of_strangers(another_picture(persons, 101), another_picture(persons, 102))
    return learn(scores, resamples=30)


def wrong(model: Calibration, stretch: float, move: float) -> Calibration:
    """The model's calibration as if similarities were `stretch` times as high, and `move` more."""
    levels = np.stack([[np.interp((GRID - move) / stretch, GRID, row) for row in table] for table in model.levels])
    return dataclasses.replace(model, levels=levels)


def names(count: int) -> list[str]:
    return [f"subject {i}" for i in range(count)]


def alarms(gallery: Floats, strangers: Floats, similarity: float) -> float:
    return float(((strangers @ gallery.T).max(axis=1) >= similarity).mean())


@pytest.mark.parametrize("size", [50, 300, 800])
def test_new_strangers_raise_as_many_alarms_as_were_asked_for(model: Calibration, size: int) -> None:
    strangers = photos(6000, seed=12)

    for target in (0.1, 0.01):
        similarity = model.threshold(target, size).similarity
        observed = np.mean([alarms(photos(size, seed), strangers, similarity) for seed in range(20, 25)])
        assert target / 2 < observed < target * 2


@pytest.mark.parametrize(("stretch", "move"), [(1.0, 0.15), (1.0, -0.15), (0.5, 0.1), (1.5, 0.0)])
@pytest.mark.parametrize("size", [100, 800])
def test_a_collection_puts_a_wrong_calibration_right(
    model: Calibration, size: int, stretch: float, move: float
) -> None:
    gallery, strangers = photos(size, seed=11), photos(6000, seed=12)
    broken = wrong(model, stretch, move)

    learned = recalibrate(broken, gallery, names(size)).calibration

    before = alarms(gallery, strangers, broken.threshold(0.1, size).similarity)
    after = alarms(gallery, strangers, learned.threshold(0.1, size).similarity)
    assert not 0.05 < before < 0.2
    assert 0.05 < after < 0.2
    assert 0.004 < alarms(gallery, strangers, learned.threshold(0.01, size).similarity) < 0.025


def test_a_collection_whose_people_resemble_each_other_gets_a_higher_threshold(model: Calibration) -> None:
    kin = unit(photos(300, seed=5) + 0.5 * people(1, seed=6))

    learned = recalibrate(model, kin, names(300)).calibration

    assert learned.threshold(0.01, 300).similarity > model.threshold(0.01, 300).similarity + 0.1


def test_a_recalibration_says_what_it_was_learned_from(model: Calibration) -> None:
    found = recalibrate(model, photos(120, seed=3), names(120))

    assert (found.subjects, found.pairs, found.dropped_pairs) == (120, 120 * 119, 0)
    assert found.calibration.threshold(0.5, 50).source == "collection"
    assert found.calibration.threshold(1e-5, 120).source == "extrapolated"
    assert Calibration.from_json(found.calibration.to_json()).source == "collection"


def test_a_smaller_collection_gives_a_wider_interval(model: Calibration) -> None:
    def width(size: int) -> float:
        low, high = recalibrate(model, photos(size, seed=3), names(size)).calibration.interval(0.45, 300)
        return high / low

    assert width(40) > 1.5 * width(800)


def test_too_few_subjects_teach_nothing(model: Calibration) -> None:
    vectors = people(19, seed=4)

    with pytest.raises(NotCalibratable, match="19 subjects"):
        recalibrate(model, np.concatenate([vectors, vectors]), names(19) * 2)
    with pytest.raises(NotCalibratable):
        learn(scores_of_strangers(people(99, seed=1), people(99, seed=2)))


def test_pictures_of_one_person_only_teach_nothing(model: Calibration) -> None:
    one = np.repeat(people(1, seed=8), 40, axis=0)

    with pytest.raises(NotCalibratable):
        recalibrate(model, one, names(40))


def test_one_person_enrolled_twice_is_left_out_and_counted(model: Calibration) -> None:
    gallery = photos(300, seed=11)
    doubled = np.concatenate([gallery, another_picture(gallery[:6], 3, noise=0.3)])

    found = recalibrate(model, doubled, names(306))

    clean = recalibrate(model, gallery, names(300)).calibration.threshold(0.01, 300).similarity
    assert found.dropped_pairs == 12
    assert found.calibration.threshold(0.01, 300).similarity == pytest.approx(clean, abs=0.02)


def test_samples_of_a_subject_are_not_compared_with_its_own_template(model: Calibration) -> None:
    person = people(60, seed=13)
    samples = np.concatenate([another_picture(person, seed, noise=0.3) for seed in (1, 2, 3)])

    found = recalibrate(model, samples, names(60) * 3)

    assert (found.subjects, found.pairs, found.dropped_pairs) == (60, 60 * 59, 0)


def test_a_large_collection_is_sampled(model: Calibration) -> None:
    found = recalibrate(model, people(5100, seed=21, dimension=32), names(5100))

    assert found.subjects == 5100
    assert found.pairs == MAX_PROBES * (MAX_TEMPLATES - 1)


def test_the_same_scores_teach_the_same(model: Calibration) -> None:
    vectors = people(60, seed=13)

    assert (
        recalibrate(model, vectors, names(60)).calibration.to_json()
        == recalibrate(model, vectors, names(60)).calibration.to_json()
    )
