from __future__ import annotations

import json

import numpy as np
import pytest

from embedder.evaluate.comparison import compare, judged
from embedder.evaluate.intervals import Estimate
from lookalike.errors import InvalidInput

LABELS = np.repeat(np.arange(60), 5)


def model(spread: float, seed: int = 0, labels: np.ndarray = LABELS) -> np.ndarray:
    """A model's vectors: the same world, seen the less clearly the larger the spread; the seed is the model's own."""
    world = np.random.default_rng(99).normal(size=(labels.max() + 1, 8))[labels]
    hard = np.random.default_rng(98).normal(size=(len(labels), 8))
    own = np.random.default_rng(seed).normal(size=(len(labels), 8))
    return (world + spread * (0.9 * hard + 0.4 * own)).astype(np.float32)


@pytest.mark.parametrize("kind", ["image", "face"])
def test_a_model_that_sees_more_clearly_is_better_and_the_other_worse(kind: str) -> None:
    labels = np.concatenate([LABELS, np.arange(60, 130)])
    clear, vague = model(0.7, 1, labels), model(1.1, 2, labels)

    forwards = compare(clear, vague, labels, kind=kind, names=("clear", "vague"))
    backwards = compare(vague, clear, labels, kind=kind)

    assert (forwards.verdict, backwards.verdict) == ("better", "worse")
    assert forwards.judge.gain.value == pytest.approx(-backwards.judge.gain.value)
    assert forwards.sentence.startswith("clear is better than vague: ")


def test_a_model_is_the_same_as_itself() -> None:
    found = compare(model(1.0), model(1.0), LABELS)

    assert found.verdict == "same"
    assert {each.gain for each in found.differences} == {Estimate(0.0, 0.0, 0.0)}


def test_few_classes_cannot_tell_models_apart_that_differ_by_chance() -> None:
    few = LABELS[:50]

    found = compare(model(1.0, 1)[:50], model(1.0, 2)[:50], few)

    assert found.verdict == "unclear"
    assert "Cannot tell" in found.sentence


def test_two_perfect_models_of_a_few_classes_are_not_called_the_same() -> None:
    labels = np.repeat(np.arange(10), 4)
    one = np.eye(10, dtype=np.float32)[labels]

    found = compare(one, 2 * one + 0.01, labels)

    assert (found.judge.a, found.judge.b) == (1.0, 1.0)
    assert found.verdict == "unclear"
    assert found.judge.gain.high == pytest.approx(1 - 0.025 ** (1 / 10))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.004, "better"),
        (-0.3, -0.001, "worse"),
        (-0.01, 0.01, "same"),
        (-0.011, 0.005, "unclear"),
        (0.0, 0.02, "unclear"),
    ],
)
def test_the_rule_of_the_verdict(low: float, high: float, verdict: str) -> None:
    assert judged(Estimate((low + high) / 2, low, high), 0.01) == verdict


def test_pairing_makes_a_difference_surer_than_two_intervals_would() -> None:
    a, b = model(1.0, 1), model(1.0, 2)

    paired = compare(a, b, LABELS).judge.gain
    alone = [compare(each, np.ones_like(each), LABELS).judge.gain for each in (a, b)]

    assert paired.value == pytest.approx(alone[0].value - alone[1].value)
    unpaired = np.hypot(*(each.high - each.low for each in alone))
    assert paired.high - paired.low < 0.8 * unpaired


def test_seeds_are_pooled_and_their_spread_widens_the_interval() -> None:
    alike = compare([model(0.9, s) for s in (1, 2, 3)], model(1.1, 9), LABELS)
    uneven = compare([model(s, 1) for s in (0.5, 0.9, 1.3)], model(1.1, 9), LABELS)

    assert alike.runs == 3
    assert alike.judge.gain.value == pytest.approx(np.mean(alike.judge.seeds))
    assert alike.verdict == "better"
    assert uneven.verdict == "unclear"
    assert "the mean of 3 seeds" in alike.sentence


def test_two_seeds_are_said_to_be_few() -> None:
    assert "fewer than 3 seeds" in compare([model(0.5, 1), model(0.5, 2)], model(2.0, 3), LABELS).sentence


def test_few_classes_are_said_to_be_few() -> None:
    few, enough = LABELS[:45], LABELS[:50]

    assert "so few make the interval too narrow" in compare(model(0.5, 1)[:45], model(2.0, 3)[:45], few).sentence
    assert "few" not in compare(model(0.5, 1)[:50], model(2.0, 3)[:50], enough).sentence


def test_a_comparison_is_the_same_each_time_and_goes_into_json() -> None:
    first, again = (compare(model(0.9, 1), model(1.0, 2), LABELS) for _ in range(2))

    assert first == again
    assert json.loads(json.dumps(first.to_dict(), allow_nan=False))["differences"][0]["key"] == "map@r"


def test_another_figure_can_be_the_judge_if_it_can_be_measured() -> None:
    found = compare(model(0.7, 1), model(1.1, 2), LABELS, judge="r_precision")

    assert (found.judge.key, found.differences[1].key) == ("r_precision", "map@r")
    with pytest.raises(InvalidInput, match="r_precision"):
        compare(model(0.7, 1), model(1.1, 2), LABELS, judge="fnir@0.0001")


def test_vectors_of_another_width_can_be_compared() -> None:
    assert compare(model(0.5), model(1.5)[:, :5], LABELS).verdict == "better"


@pytest.mark.parametrize(
    ("a", "b", "labels", "margin"),
    [
        (model(1.0), model(1.0)[:-1], LABELS, 0.01),
        (model(1.0), np.full_like(model(1.0), np.nan), LABELS, 0.01),
        ([model(1.0)] * 3, [model(1.0)] * 2, LABELS, 0.01),
        ([], model(1.0), LABELS, 0.01),
        (model(1.0), model(1.0), np.arange(300), 0.01),
        (model(1.0), model(1.0), LABELS, 0.0),
    ],
)
def test_what_cannot_be_compared_is_refused(a: object, b: object, labels: np.ndarray, margin: float) -> None:
    with pytest.raises(InvalidInput):
        compare(a, b, labels, margin=margin)
