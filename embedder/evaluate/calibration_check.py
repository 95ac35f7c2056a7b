"""Does the calibration keep its promise on these pictures? Rates asked for against rates observed.

Each person's first picture is a template and the last one a probe, as calibrations are learned. A similarity promised
for an FMR is tried on every pair of two people, with an interval from resampling both sides. One promised for an FPIR
is tried on a gallery drawn by chance: one probe of everybody else searches it, which are independent, so the interval
is exact (Clopper-Pearson); the mean over `GALLERIES` galleries stands beside it. Pictures that the calibration was
learned from prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedder.evaluate.intervals import Estimate, Numbers, exact_interval, rate_estimate, weighted_pairs
from lookalike.calibration import Calibration
from lookalike.domain import Floats, Labels

FMRS = (1e-2, 1e-3, 1e-4)
FPIRS = (0.1, 0.01)
SIZES = (50, 300, 800)
GALLERIES = 40
FEWEST_PAIRS = 10
FEWEST_ALARMS = 3

Answer = Literal["kept", "more alarms than asked", "stricter than asked"]


@dataclass(frozen=True, slots=True)
class Promise:
    """A rate asked for and what came. size: of the gallery, None for a comparison; trials: pairs, or strangers.

    mean: over several galleries; source: of the similarity, as an answer of the service names it.
    """

    size: int | None
    asked: float
    similarity: float
    source: str
    observed: Estimate
    errors: int
    trials: int
    mean: float | None = None

    @property
    def answer(self) -> Answer:
        """Whether what was asked lies in the interval of what was observed."""
        if self.observed.low > self.asked:
            return "more alarms than asked"
        return "stricter than asked" if self.observed.high < self.asked else "kept"


def check_calibration(
    calibration: Calibration, probes: Floats, templates: Floats, person: Labels, weights: Numbers
) -> list[Promise]:
    """Every promise that so many people can try. probes, templates: (N, D) unit; person: (N,) from 0, ascending.

    weights: (1 + B, people).
    """
    scores = stranger_scores(probes, templates, person)
    return [*_of_pairs(calibration, scores, weights), *_of_galleries(calibration, scores)]


def stranger_scores(probes: Floats, templates: Floats, person: Labels) -> Numbers:
    """(P, P): each person's last picture against the first of every other; -1 on the diagonal."""
    order = np.argsort(person, kind="stable")
    _, first = np.unique(person[order], return_index=True)
    last = np.append(first[1:], len(order)) - 1
    scores = (probes[order[last]] @ templates[order[first]].T).astype(np.float64)
    np.fill_diagonal(scores, -1.0)
    return np.asarray(scores, np.float64)


def _of_pairs(calibration: Calibration, scores: Numbers, weights: Numbers) -> Iterator[Promise]:
    people = len(scores)
    pairs = people * (people - 1)
    of_two = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    for asked in FMRS:
        if asked * pairs < FEWEST_PAIRS:
            continue
        bar = calibration.threshold_for_fmr(asked)
        probe, template = np.nonzero(scores >= bar.similarity)
        figures = weighted_pairs(probe, template, weights) / of_two
        observed = rate_estimate(figures, people)
        yield Promise(None, asked, bar.similarity, bar.source, observed, len(probe), pairs)


def _of_galleries(calibration: Calibration, scores: Numbers) -> Iterator[Promise]:
    for size in (size for size in SIZES if size <= len(scores) // 2):
        best = [best_of_strangers(scores, size, draw) for draw in range(GALLERIES)]
        for asked in FPIRS:
            if asked * len(best[0]) < FEWEST_ALARMS:
                continue
            bar = calibration.threshold(asked, size)
            alarms = [each >= bar.similarity for each in best]
            errors, trials = int(alarms[0].sum()), len(alarms[0])
            observed = Estimate(errors / trials, *exact_interval(errors, trials))
            mean = float(np.mean([each.mean() for each in alarms]))
            yield Promise(size, asked, bar.similarity, bar.source, observed, errors, trials, mean)


def best_of_strangers(scores: Numbers, size: int, seed: int) -> Numbers:
    """Each stranger's highest score in a gallery of so many people drawn by chance. (P, P) -> (P - size,)."""
    order = np.random.default_rng(seed).permutation(len(scores))
    return np.asarray(scores[np.ix_(order[size:], order[:size])].max(axis=1), np.float64)


def promised_curve(calibration: Calibration, scores: Numbers, size: int | None) -> tuple[Numbers, Numbers]:
    """(promised, observed) rates at falling similarities, for the reliability plot. size: None for pairs."""
    if size is None:
        pool = scores[~np.eye(len(scores), dtype=bool)]
    else:
        pool = np.concatenate([best_of_strangers(scores, size, draw) for draw in range(GALLERIES)])
    pool = np.sort(pool)[::-1]
    ranks = np.unique(np.geomspace(FEWEST_PAIRS, len(pool) / 2, 80).astype(np.int64))
    promised = [calibration.fpir(float(pool[rank - 1]), size or 1) for rank in ranks]
    return np.array(promised), ranks / len(pool)
