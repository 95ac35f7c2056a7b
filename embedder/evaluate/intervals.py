"""How sure a figure is: 95 % intervals from resampling people (or classes), and exact ones where nothing went wrong.

Pictures of one person resemble each other, so neither pictures nor pairs are independent: people are. A resample draws
as many people as there are, with replacement, and weighs everything of a person by how often they were drawn; a pair of
two people weighs the product of both, since a person who resembles many stands on either side of their pairs. Sources:
the subset bootstrap (R. Bolle, N. Ratha, S. Pankanti, Evaluating authentication systems using bootstrap confidence
intervals, AutoID 1999; ICPR 2004), and for both sides the pigeonhole bootstrap (A. Owen, Annals of Applied
Statistics 1, 2007), which errs, if at all, on the side of too wide.

Arrays named `figures` hold a figure in their first place and its resamples after it: (1 + B,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lookalike.domain import Labels

Numbers = NDArray[np.float64]

RESAMPLES = 500
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def draw_weights(groups: int, resamples: int = RESAMPLES, seed: int = 1) -> Numbers:
    """(1 + B, groups): ones, which give the figure itself, then how often each resample drew each group."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    return np.concatenate([np.ones((1, groups)), drawn])


def weighted_means(values: Numbers, group: Labels, weights: Numbers) -> Numbers:
    """The mean of values, each weighing what its group does. (N,), (N,) groups, (1 + B, groups) -> (1 + B,) figures.

    NaN where a resample drew none of the groups.
    """
    groups = weights.shape[1]
    total = weights @ np.bincount(group, values, minlength=groups)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / (weights @ np.bincount(group, minlength=groups)), np.float64)


def weighted_pairs(first: Labels, second: Labels, weights: Numbers) -> Numbers:
    """The weight of all pairs of two groups, each the product of both. (K,), (K,), (1 + B, groups) -> (1 + B,)."""
    return np.array([float(weight[first] @ weight[second]) for weight in weights])


def rate_estimate(figures: Numbers, groups: int) -> Estimate:
    """A rate with its interval within 0..1. groups: people (or classes) that it rests on.

    Where nothing failed, or everything did, resampling shows nothing: then the interval is exact, for so many people.
    """
    value = float(figures[0])
    if value in (0.0, 1.0):
        return Estimate(value, *exact_interval(round(value) * groups, groups))
    low, high = percentiles(figures, groups)
    return Estimate(value, max(0.0, low), min(1.0, high))


def percentiles(figures: Numbers, groups: int) -> tuple[float, float]:
    """The interval between expanded percentiles of the resamples.

    Plain percentiles are too narrow for few people by the factor sqrt((n - 1) / n) and for want of Student's t; the
    levels are moved outwards accordingly (T. Hesterberg, The American Statistician 69, 2015, section 5.1).
    """
    resampled = figures[1:][np.isfinite(figures[1:])]
    if not len(resampled):
        return float(figures[0]), float(figures[0])
    degrees = max(groups - 1, 1)
    level = NormalDist().cdf(-math.sqrt((degrees + 1) / degrees) * student(degrees))
    low, high = np.quantile(resampled, [level, 1 - level])
    return float(low), float(high)


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, by its expansion around the normal one (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / float(degrees) ** (power + 1) for power, term in enumerate(terms))


# ------------------------------------------------------------------------------------------- exact


def exact_interval(hits: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of Clopper and Pearson (Biometrika 1934) for a share of hits, by bisection."""
    doubt = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _bisect(lambda p: 1 - _at_most(hits - 1, trials, p) - doubt)
    high = 1.0 if hits == trials else _bisect(lambda p: doubt - _at_most(hits, trials, p))
    return low, high


def _bisect(rising: Callable[[float], float]) -> float:
    """Where a rising function of 0..1 changes its sign."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def _at_most(hits: int, trials: int, chance: float) -> float:
    """The chance of no more hits than this: the binomial distribution, summed in logarithms."""
    if chance <= 0 or chance >= 1:
        return 1.0 if chance <= 0 else float(hits >= trials)
    return min(
        1.0,
        math.fsum(
            math.exp(
                math.lgamma(trials + 1)
                - math.lgamma(k + 1)
                - math.lgamma(trials - k + 1)
                + k * math.log(chance)
                + (trials - k) * math.log1p(-chance)
            )
            for k in range(hits + 1)
        ),
    )
