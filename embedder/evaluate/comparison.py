"""Is one model better than another on these pictures? Paired resampling of people, and a verdict whose rule is stated.

Both models see the same pictures and the same resamples (see intervals.py), so what they find equally hard cancels
out. Of the 95 % interval of a difference, "better" and "worse" mean that it excludes 0; "same" that it lies within the
margin on both sides, which is a test of equivalence (D. Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987);
"unclear" that neither holds: too few people to say. The first figure judges, chosen before anything was seen; the
others inform, since of several figures one or another comes out well by chance.

Drawing few people again tells little of people in general: below `FEW_GROUPS` the sentence says so.

A training run is one of many that other seeds would have given. Given several, their mean is judged, and how they
differ widens the interval by Student's t. With one seed the verdict speaks for that run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from embedder.evaluate.figures import Figure, Measured, measure_faces, measure_items
from embedder.evaluate.intervals import RESAMPLES, Estimate, Numbers, draw_weights, exact_interval, percentiles
from embedder.evaluate.verification import DrawnPairs, draw_pairs
from embedder.pipeline import unit_rows
from lookalike.domain import Floats, Labels
from lookalike.errors import InvalidInput

Kind = Literal["face", "image"]
Verdict = Literal["better", "worse", "same", "unclear"]
Runs = Floats | Sequence[Floats]
"""(N, D), or one such for each seed."""

Run = tuple[Floats, Floats]
Figures = dict[str, Figure]
T = TypeVar("T")

MARGIN = 0.01
"""Differences up to this count as none: a point of per cent."""

ENOUGH_SEEDS = 3

FEW_GROUPS = 10
"""Intervals from drawing fewer people or classes again are too narrow."""

JUDGES: dict[Kind, tuple[str, ...]] = {
    "face": ("fnir@0.01", "fnir@0.1", "tar@0.001", "tar@0.0001", "accuracy", "rank-1"),
    "image": ("map@r", "recall@1", "recall@5", "fnir@0.1"),
}
"""The figures that are compared; the first that the pictures allow is the judge."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both models, means over seeds. gain: how much better A is than B, whichever way the figure points.

    seeds: the gain of each seed.
    """

    key: str
    measure: str
    a: float
    b: float
    gain: Estimate
    verdict: Verdict
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model A against model B. differences: the judge first; groups: people or classes; margin: what counts as none."""

    names: tuple[str, str]
    differences: tuple[Difference, ...]
    kind: Kind
    pictures: int
    groups: int
    margin: float
    runs: int

    @property
    def judge(self) -> Difference:
        """The figure that decides."""
        return self.differences[0]

    @property
    def verdict(self) -> Verdict:
        """Of the judge."""
        return self.judge.verdict

    @property
    def sentence(self) -> str:
        """The verdict in words, with what it rests on."""
        return f"{in_words(self.judge, self.names, self.margin)} {self._rests_on}"

    @property
    def _rests_on(self) -> str:
        runs = "one run of each" if self.runs == 1 else f"the mean of {self.runs} seeds"
        who = "people" if self.kind == "face" else "classes"
        return f"({self.pictures:,} pictures of {self.groups:,} {who}, {runs}{caution(self.groups, self.runs)})"

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "kind": self.kind,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "margin": self.margin,
            "pictures": self.pictures,
            "groups": self.groups,
            "runs": self.runs,
            "differences": [
                {
                    "key": each.key,
                    "measure": each.measure,
                    "a": each.a,
                    "b": each.b,
                    "gain": {"value": each.gain.value, "low": each.gain.low, "high": each.gain.high},
                    "seeds": list(each.seeds),
                    "verdict": each.verdict,
                }
                for each in self.differences
            ],
        }


def compare(
    vectors_a: Runs,
    vectors_b: Runs,
    labels: Labels | Sequence[int] | Sequence[str],
    *,
    kind: Kind = "image",
    names: tuple[str, str] = ("A", "B"),
    templates_a: Runs | None = None,
    templates_b: Runs | None = None,
    pairs: DrawnPairs | None = None,
    judge: str | None = None,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> Comparison:
    """A (a candidate) against B (a baseline) on N pictures. labels: (N,), who or what is in each.

    vectors: (N, D) of either, or one such array for each seed; one of B stands for all seeds of A. templates: what
    enrolment would give, where that differs; pairs: for faces' accuracy, else drawn; judge: the key of the
    figure that decides, the first of `JUDGES` by default. Widths D may differ.
    Raises: InvalidInput where shapes disagree or no two pictures can be compared.
    """
    if not 0 < margin < 1:
        raise InvalidInput("a margin lies between 0 and 1: 0.01 is one point of per cent")
    classes, label, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if len(classes) < 2 or counts.max() < 2:
        raise InvalidInput("two people or classes, and two pictures of one of them, are needed to compare models")
    sides = [_runs(vectors_a, templates_a, len(label)), _runs(vectors_b, templates_b, len(label))]
    runs = max(len(side) for side in sides)
    if any(len(side) not in (1, runs) for side in sides):
        raise InvalidInput("both models need as many seeds, or one of them a single one")
    weights = draw_weights(len(classes), resamples, seed)
    chosen = draw_pairs(label) if pairs is None and kind == "face" else pairs
    measured = [[_measured(kind, run, label, weights, chosen) for run in side] for side in sides]
    alike = all(np.array_equal(a, b) for a, b in zip(*(_as_many(side, runs) for side in sides), strict=True))
    a, b = (_as_many([each.by_key() for each in side], runs) for side in measured)
    keys = tuple(dict.fromkeys((*((judge,) if judge else ()), *JUDGES[kind])))
    if judge is not None and not all(judge in run for run in (*a, *b)):
        raise InvalidInput(f"these pictures cannot show {judge!r}; one of {', '.join(sorted(set(a[0]) & set(b[0])))}")
    differences = _differences(keys, a, b, margin=margin, alike=alike, seed=seed)
    return Comparison(names, differences, kind, len(label), len(classes), margin, runs)


def in_words(found: Difference, names: tuple[str, str], margin: float) -> str:
    """One sentence. names: of A and B."""
    figures = f"{found.measure} {100 * found.a:.2f} % against {100 * found.b:.2f} %"
    span = f"{100 * found.gain.low:+.2f} to {100 * found.gain.high:+.2f}"
    size = f"±{points(margin)}"
    if found.verdict == "same":
        return f"{names[0]} and {names[1]} are the same within {size}: {figures}, gain {span} points."
    if found.verdict == "unclear":
        return f"Cannot tell {names[0]} from {names[1]}: {figures}; the gain, {span} points, may be 0 or beyond {size}."
    little = f", by less than {points(margin)}" if -margin < found.gain.low and found.gain.high < margin else ""
    return f"{names[0]} is {found.verdict} than {names[1]}{little}: {figures}, gain {span} points."


def caution(groups: int, runs: int) -> str:
    """What makes a verdict a hint: few people or classes, or few seeds. Nothing where there are enough of both."""
    few = "; so few make the interval too narrow: take it as a hint" if groups < FEW_GROUPS else ""
    return few + (f"; fewer than {ENOUGH_SEEDS} seeds say little of the next" if 1 < runs < ENOUGH_SEEDS else "")


def points(margin: float) -> str:
    """0.01 as "1 point"."""
    return f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"


def judged(gain: Estimate, margin: float) -> Verdict:
    """By the rule at the head of this file."""
    if gain.low > 0:
        return "better"
    if gain.high < 0:
        return "worse"
    return "same" if -margin <= gain.low and gain.high <= margin else "unclear"


# ----------------------------------------------------------------------------------------- one figure


def _differences(
    keys: Sequence[str], a: Sequence[Figures], b: Sequence[Figures], *, margin: float, alike: bool, seed: int
) -> tuple[Difference, ...]:
    """a, b: each run's figures, as many of both."""
    shown = [key for key in keys if all(key in run for run in (*a, *b))]
    if not shown:
        raise InvalidInput("too few people or classes for any figure to compare two models by")
    found = []
    for key in shown:
        first = a[0][key]
        ours, theirs = (np.stack([_sampled(run[key]) for run in side]) for side in (a, b))
        one = difference(key, first.measure, ours, theirs, first.groups, higher=first.higher, alike=alike, seed=seed,
                         margin=margin)  # fmt: skip
        found.append(one)
    return tuple(found)


def difference(
    key: str,
    measure: str,
    ours: Numbers,
    theirs: Numbers,
    groups: int,
    *,
    higher: bool = True,
    alike: bool = False,
    margin: float = MARGIN,
    seed: int = 1,
) -> Difference:
    """One figure of two models, judged. ours, theirs: (seeds, 1 + B), the figure and its paired resamples.

    groups: people or classes that were drawn again; alike: both models gave the same vectors.
    """
    gains = ours - theirs if higher else theirs - ours
    gain = _pooled(gains, groups, alike, seed)
    means = float(ours[:, 0].mean()), float(theirs[:, 0].mean())
    return Difference(key, measure, *means, gain, judged(gain, margin), tuple(float(each) for each in gains[:, 0]))


def _pooled(gains: Numbers, groups: int, alike: bool, seed: int) -> Estimate:
    """The mean gain over seeds. gains: (seeds, 1 + B); alike: both models gave the same vectors."""
    seeds = len(gains)
    mean = gains.mean(axis=0)
    if not alike and not gains.any():  # no outcome differs; a person for whom one would may not have been drawn
        bound = exact_interval(0, groups)[1]
        return Estimate(0.0, -bound, bound)
    value = float(mean[0])
    if seeds > 1:
        error = float(gains[:, 0].std(ddof=1)) / np.sqrt(seeds)
        noise = np.random.default_rng(seed).standard_t(seeds - 1, len(mean) - 1)
        mean = np.concatenate([mean[:1], mean[1:] + error * noise])
    low, high = percentiles(mean, groups)
    return Estimate(value, low, high)


def _sampled(figure: Figure) -> Numbers:
    if figure.figures is None:
        raise InvalidInput("a figure that could not be measured cannot be compared")
    return figure.figures


def _measured(kind: Kind, run: Run, label: Labels, weights: Numbers, pairs: DrawnPairs | None) -> Measured:
    if kind == "face":
        return measure_faces(run[0], run[1], label, weights, pairs)
    return measure_items(run[0], run[1], label, weights)


def _runs(vectors: Runs, templates: Runs | None, pictures: int) -> list[Run]:
    """Each seed's probes and templates, as unit vectors. Raises: InvalidInput."""
    probes, enrolled = _each(vectors), _each(vectors if templates is None else templates)
    if not probes or len(probes) != len(enrolled):
        raise InvalidInput("a model needs as many templates as vectors, of one seed at least")
    for each in (*probes, *enrolled):
        if each.ndim != 2 or len(each) != pictures or not np.isfinite(each).all():
            raise InvalidInput("comparing needs a finite vector of each picture for every seed")
    return [(unit_rows(one), unit_rows(other)) for one, other in zip(probes, enrolled, strict=True)]


def _each(vectors: Runs) -> list[Floats]:
    return [vectors] if isinstance(vectors, np.ndarray) and vectors.ndim < 3 else list(vectors)


def _as_many(side: list[T], runs: int) -> list[T]:
    """One run stands for as many as the other side has."""
    return side * runs if len(side) == 1 else side
