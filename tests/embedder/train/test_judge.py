"""Better, worse or the same: plain differences are said and others are not, and intervals hold what they promise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.evaluate.retrieval import retrieval  # noqa: E402
from embedder.train.config import config_from  # noqa: E402
from embedder.train.judge import differences_of, judge  # noqa: E402
from embedder.train.measures import half_enrolled, measures, resampled  # noqa: E402
from embedder.train.vectors import Compared, Way  # noqa: E402
from lookalike.domain import Floats, Labels  # noqa: E402

pytestmark = pytest.mark.train

CLASSES, PICTURES = 60, 4
LABELS: Labels = np.repeat(np.arange(CLASSES), PICTURES)


def unit(points: Floats) -> Floats:
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def way(name: str, noise: float, seed: int, labels: Labels = LABELS, dimension: int = 24) -> Way:
    """Vectors of classes under noise: the more noise, the worse. The classes' own vectors are the same for any seed."""
    own = np.random.default_rng(99).normal(size=(labels.max() + 1, dimension))
    vectors = unit(own[labels] + noise * np.random.default_rng(seed).normal(size=(len(labels), dimension)))
    return Way(name, vectors, vectors)


def compared(trained: Way, *baselines: Way) -> Compared:
    network = torch.nn.Identity()
    return Compared(trained, baselines, LABELS, network, None, None)  # type: ignore[arg-type]


def config(kind: str) -> object:
    return config_from({"data": {"folders": ["x"], "kind": kind}})


@pytest.mark.parametrize("kind", ["image", "face"])
@pytest.mark.parametrize(("noise", "word"), [(0.5, "better"), (2.0, "worse")], ids=["plainly better", "spoiled"])
def test_a_plain_difference_is_said(kind: str, noise: float, word: str) -> None:
    verdict = judge(compared(way("trained", noise, 2), way("start", 1.1, 1)), config(kind))  # type: ignore[arg-type]
    assert verdict.word == word
    value, low, high = verdict.differences[verdict.measure]
    assert low < value < high
    assert (low > 0) == (word == "better")
    assert f"Trained is {word} than" in verdict.sentence
    assert f"{CLASSES} classes not trained on" in verdict.sentence


@pytest.mark.parametrize("kind", ["image", "face"])
def test_equal_ways_are_the_same_and_equally_good_ones_are_not_told_apart(kind: str) -> None:
    start = way("start", 1.1, 1)
    same = judge(compared(dataclasses.replace(start, name="trained"), start), config(kind))  # type: ignore[arg-type]
    assert same.word == "same"
    assert same.differences[same.measure] == (0, 0, 0)
    alike = judge(compared(way("trained", 1.1, 2), start), config(kind))  # type: ignore[arg-type]
    assert alike.word == "unclear"
    assert alike.sentence.startswith("Cannot tell trained from the best of what costs no training (start): ")


def test_the_rival_is_the_best_of_the_baselines() -> None:
    baselines = way("weak", 2.0, 1), way("strong", 0.8, 2), way("middling", 1.2, 3)
    verdict = judge(compared(way("trained", 1.2, 4), *baselines), config("image"))  # type: ignore[arg-type]
    assert verdict.rival == "strong"
    assert verdict.word == "worse"
    assert list(verdict.table) == ["weak", "strong", "middling", "trained"]
    metrics = verdict.metrics()
    assert metrics["map_r"]["value"] == pytest.approx(verdict.table["trained"][1], abs=1e-6)
    assert metrics["map_r less strong"]["high"] < 0  # type: ignore[operator]


def test_few_classes_are_said_to_be_few() -> None:
    few = LABELS < 4

    def of(way: Way) -> Way:
        return Way(way.name, way.probes[few], way.templates[few])

    narrow = dataclasses.replace(compared(of(way("trained", 0.5, 2)), of(way("start", 1.5, 1))), labels=LABELS[few])
    sentence = judge(narrow, config("image")).sentence  # type: ignore[arg-type]
    assert sentence.endswith("(4 classes not trained on; so few make the interval too narrow: take it as a hint)")
    whole = judge(compared(way("trained", 0.5, 2), way("start", 1.5, 1)), config("image"))  # type: ignore[arg-type]
    assert "few" not in whole.sentence
    assert f"({CLASSES} classes not trained on)" in whole.sentence


def test_nothing_held_out_is_said_to_be_untested() -> None:
    nothing = dataclasses.replace(compared(way("trained", 1, 1), way("start", 1, 2)), labels=LABELS[:0])
    verdict = judge(nothing, config("image"))  # type: ignore[arg-type]
    assert verdict.word == "untested"
    assert verdict.metrics() == {}


def test_the_difference_is_that_of_the_measures() -> None:
    one, other = way("one", 0.9, 1), way("other", 1.3, 2)
    found = differences_of([one], [other], LABELS, "face")
    a, b = (measures(w.probes, w.templates, LABELS, "face") for w in (one, other))
    for name in ("recall_1", "map_r", "open_set"):
        assert found[name].gain.value == pytest.approx(a[name] - b[name], abs=1e-9)


def test_a_draw_of_classes_weighs_each_as_if_it_were_there_so_often() -> None:
    labels = np.repeat([7, 3, 11], [4, 3, 2])
    vectors = way("", 1.2, 3, labels).probes
    drawn = resampled(vectors, vectors, labels, "image", np.array([[1.0, 1, 1], [2, 0, 1]]))
    hits = retrieval(vectors, labels).found_within(1)
    of_class = {kind: hits[labels == kind] for kind in (3, 7, 11)}
    assert drawn["recall_1"][0] == pytest.approx(hits.mean())
    assert drawn["recall_1"][1] == pytest.approx(np.concatenate([of_class[3], of_class[3], of_class[11]]).mean())


@pytest.mark.parametrize("measure", ["map_r", "recall_1"])
def test_intervals_hold_the_true_difference_about_as_often_as_they_say(measure: str) -> None:
    # Sets of 40 classes drawn from 2,000; the difference over all of them is the truth. What is searched among is
    # each class's own set of pictures, so that it is the same for any draw.
    rng = np.random.default_rng(0)
    better, worse = rng.beta(6, 2, size=2000), rng.beta(5, 2, size=2000)
    labels = np.repeat(np.arange(40), 3)
    held, trials = 0, 120
    pool = [(_with_hits(better[i], rng), _with_hits(worse[i], rng)) for i in range(2000)]
    truth = float(np.mean([np.mean(a) - np.mean(b) for a, b in pool]))
    for trial in range(trials):
        chosen = rng.choice(2000, 40, replace=False)
        ours, theirs = (_way_of([pool[i][side] for i in chosen], labels) for side in (0, 1))
        gain = differences_of([ours], [theirs], labels, "image", trial)[measure].gain
        held += gain.low <= truth <= gain.high
    assert 0.85 <= held / trials <= 1.0


def _with_hits(chance: float, rng: np.random.Generator) -> tuple[bool, ...]:
    """Of a class's pictures, which find another of it first."""
    return (bool(rng.random() < chance),) * 3


def _way_of(hits: list[tuple[bool, ...]], labels: Labels) -> Way:
    """Vectors in which exactly the classes that hit find themselves: theirs point one way, others' all ways at once."""
    vectors = np.zeros((len(labels), 3 * len(hits)), np.float32)
    for place, row in enumerate(labels):
        vectors[place, 3 * row + (0 if hits[row][0] else place % 3)] = 1
    return Way("", vectors, vectors)


def test_half_of_the_classes_are_enrolled_with_one_picture_and_the_others_are_strangers() -> None:
    for seed in range(5):
        gallery, strangers = half_enrolled(LABELS, seed)
        enrolled, others = set(LABELS[gallery].tolist()), set(LABELS[strangers].tolist())
        assert len(gallery) == len(enrolled) == CLASSES // 2
        assert len(strangers) == len(others)
        assert not enrolled & others
    assert not np.array_equal(half_enrolled(LABELS, 0)[0], half_enrolled(LABELS, 1)[0])
