"""A calibration's answers, in order and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.calibration import Calibration
from lookalike.errors import BadModel, InvalidInput
from lookalike.thresholds import learn
from tests.lookalike.strangers import another_picture, people, scores_of_strangers


def _learned() -> Calibration:
    templates = people(400, seed=1)
    return learn(scores_of_strangers(templates, another_picture(templates, 2)), resamples=40)


CALIBRATION = _learned()

similarities = st.floats(-1, 1)
sizes = st.integers(0, 5_000_000)
targets = st.floats(1e-6, 0.999)


@given(similarities, similarities, sizes)
def test_fpir_falls_with_the_similarity(a: float, b: float, size: int) -> None:
    low, high = min(a, b), max(a, b)

    assert CALIBRATION.fpir(low, size) >= CALIBRATION.fpir(high, size)


@given(similarities, sizes, sizes)
def test_fpir_grows_with_the_gallery(similarity: float, a: int, b: int) -> None:
    assert CALIBRATION.fpir(similarity, min(a, b)) <= CALIBRATION.fpir(similarity, max(a, b))


@given(similarities, sizes)
def test_fpir_is_a_chance_within_its_interval(similarity: float, size: int) -> None:
    low, high = CALIBRATION.interval(similarity, size)

    assert 0 <= low <= CALIBRATION.fpir(similarity, size) <= high <= 1


@given(targets, sizes)
def test_at_the_threshold_alarms_are_as_rare_as_asked(target: float, size: int) -> None:
    found = CALIBRATION.threshold(target, size)

    fpir = CALIBRATION.fpir(found.similarity, max(size, 1))
    assert fpir <= target * 1.001 or found.similarity == 1.0
    if -1 < found.similarity < 1:
        assert fpir == pytest.approx(target, rel=1e-3)


@given(targets, targets, sizes)
def test_rarer_alarms_need_a_higher_threshold(a: float, b: float, size: int) -> None:
    assert CALIBRATION.threshold(min(a, b), size).similarity >= CALIBRATION.threshold(max(a, b), size).similarity


def test_an_empty_gallery_raises_no_alarm() -> None:
    found = CALIBRATION.threshold(0.01, 0)

    assert CALIBRATION.fpir(-1.0, 0) == 0.0
    assert (found.gallery_size, found.interval) == (0, (0.0, 0.0))


def test_a_gallery_of_one_is_a_single_comparison() -> None:
    assert CALIBRATION.fmr(0.4) == CALIBRATION.fpir(0.4, 1)
    assert CALIBRATION.threshold_for_fmr(0.01) == CALIBRATION.threshold(0.01, 1)


def test_an_answer_says_whether_data_shows_it() -> None:
    shown = CALIBRATION.threshold(0.1, 300)
    too_rare = CALIBRATION.threshold(1e-5, 300)
    too_large = CALIBRATION.threshold(0.999, 400)

    assert (shown.source, shown.target, shown.gallery_size) == ("model", 0.1, 300)
    assert too_rare.source == too_large.source == "extrapolated"
    assert shown.similarity <= CALIBRATION.shown < too_rare.similarity


def test_beyond_the_counted_galleries_no_fewer_alarms_are_expected_than_there_are() -> None:
    """The first hundred people are counted, four hundred are searched."""
    templates = people(600, seed=1)
    probes = another_picture(templates, 2)
    counted = learn(scores_of_strangers(templates[:101], probes[:101]), resamples=10)

    similarity = counted.threshold(0.1, 100).similarity
    alarms = float(((probes[400:] @ templates[:400].T).max(axis=1) >= similarity).mean())

    assert counted.fpir(similarity, 400) >= 0.8 * alarms
    assert counted.fpir(similarity, 400) == pytest.approx(1 - (1 - counted.fpir(similarity, 100)) ** 4, rel=0.05)


@pytest.mark.parametrize("similarity", [math.nan])
def test_a_similarity_must_be_a_number(similarity: float) -> None:
    with pytest.raises(InvalidInput):
        CALIBRATION.fpir(similarity, 10)


@pytest.mark.parametrize(("target", "size"), [(0.0, 1), (1.0, 1), (-0.1, 1), (math.nan, 1), (0.01, -1)])
def test_what_cannot_be_aimed_at_is_refused(target: float, size: int) -> None:
    with pytest.raises(InvalidInput):
        CALIBRATION.threshold(target, size)


def test_json_gives_the_same_calibration_back() -> None:
    again = Calibration.from_json(CALIBRATION.to_json())

    assert again.to_json() == CALIBRATION.to_json()
    assert np.array_equal(again.levels, CALIBRATION.levels)
    assert again.threshold(0.01, 123) == CALIBRATION.threshold(0.01, 123)


def test_json_is_small_enough_to_ship() -> None:
    assert len(CALIBRATION.to_json()) < 200_000


@pytest.mark.parametrize(
    "change",
    [
        {"format": "lookalike-calibration/2"},
        {"grid": [-1.0, 1.0, 101]},
        {"sizes": [2, 1]},
        {"sizes": []},
        {"sizes": None},
        {"shown": 7},
        {"shown": "high"},
        {"source": "explicit"},
        {"levels_e3": []},
        {"levels_e3": [[1, 2], [3]]},
        {"levels_e3": "none"},
        {"provenance": 3},
    ],
    ids=str,
)
def test_a_damaged_document_is_refused(change: dict[str, object]) -> None:
    document = json.loads(CALIBRATION.to_json()) | change

    with pytest.raises(BadModel):
        Calibration.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"format": "lookalike-calibration/1"}'])
def test_what_is_no_calibration_is_refused(text: str) -> None:
    with pytest.raises(BadModel):
        Calibration.from_json(text)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(word: str) -> None:
    text = CALIBRATION.to_json().replace('"shown":', f'"shown":{word},"was":', 1)

    with pytest.raises(BadModel):
        Calibration.from_json(text)


def test_rates_out_of_order_are_refused() -> None:
    for axis in (0, 1, 2):
        upside_down = dataclasses.replace(CALIBRATION, levels=np.flip(CALIBRATION.levels, axis))

        with pytest.raises(BadModel):
            Calibration.from_json(upside_down.to_json())
