"""One to many, among strangers: who is found (rank-1), who is missed (FNIR) at a rate of false alarms (FPIR).

Open set: some of each enrolled person's pictures are in the gallery and their others search it; strangers' pictures
search it too, and any candidate for them is a false alarm. A search misses when the best subject is the wrong one or
scores no higher than the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.domain import Floats, Labels
from lookalike.fusion import templates as fused_templates

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Best scores of searches. M mated: mated_best, mated_right (the best subject is the right one), mated_person.

    S of strangers: stranger_best, stranger_person. size: subjects enrolled.
    """

    size: int
    mated_best: Numbers
    mated_right: Flags
    mated_person: Labels
    stranger_best: Numbers
    stranger_person: Labels


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate with its 95 % interval."""

    value: float
    low: float
    high: float


def open_set(probes: Floats, templates: Floats, person: Labels, gallery: Labels, strangers: Labels) -> OpenSet:
    """Search a gallery. probes, templates: (N, D); person: (N,); gallery: rows enrolled; strangers: rows that search.

    Rows of one person in the gallery are fused as the service does. Mated searches are the others of the enrolled.
    """
    names = [str(who) for who in person[gallery]]
    enrolled, owners = fused_templates(templates[gallery], names)
    owner = np.array(owners, np.int64)
    rest = np.setdiff1d(np.arange(len(person)), gallery)
    mated = rest[np.isin(person[rest], owner)]
    best, who = _best(probes[mated], enrolled)
    stranger_best, _ = _best(probes[strangers], enrolled)
    return OpenSet(len(owner), best, owner[who] == person[mated], person[mated], stranger_best, person[strangers])


def split_people(person: Labels, seed: int = 1, samples: int = 1) -> tuple[Labels, Labels]:
    """(gallery rows, strangers' rows): those with two pictures are enrolled; those with one are the strangers.

    Enrolled are a person's first pictures, `samples` of them at most, and never the last one. Where people with one
    picture are fewer than a quarter, a third of all people, drawn by chance, are strangers instead.
    """
    people, inverse, pictures = np.unique(person, return_inverse=True, return_counts=True)
    single = pictures == 1
    if single.sum() * 4 < len(people):
        drawn = np.random.default_rng(seed).permutation(len(people))[: max(1, len(people) // 3)]
        single = np.isin(np.arange(len(people)), drawn)
    order = np.argsort(inverse, kind="stable")
    starts = np.cumsum(pictures) - pictures
    nth = np.empty(len(person), np.int64)
    nth[order] = np.arange(len(person)) - np.repeat(starts, pictures)
    enrolled = (nth < np.minimum(samples, pictures[inverse] - 1)) & ~single[inverse]
    return np.flatnonzero(enrolled), np.flatnonzero(single[inverse])


def rank_one(searches: OpenSet) -> float:
    """The share of mated searches whose best subject is the right one."""
    return float(searches.mated_right.mean())


def threshold_at(stranger_best: Numbers, fpir: float) -> float:
    """The lowest similarity that at most this share of strangers lies above."""
    allowed = math.floor(fpir * len(stranger_best) + 1e-9)
    return float(np.sort(stranger_best)[::-1][allowed]) if allowed < len(stranger_best) else -1.0


def fnir_at(searches: OpenSet, fpir: float) -> float:
    """The share of mated searches missed at this rate of false alarms."""
    bar = threshold_at(searches.stranger_best, fpir)
    return 1.0 - float((searches.mated_right & (searches.mated_best > bar)).mean())


def fnir_estimate(searches: OpenSet, fpir: float, resamples: int = 300, seed: int = 1) -> Estimate:
    """FNIR with an interval from resampling people, enrolled and strangers, the threshold found anew each time.

    Where nobody was missed resampling shows nothing: then the upper bound is exact, for so many people.
    """
    rng = np.random.default_rng(seed)
    mated, strangers = _rows_by_person(searches.mated_person), _rows_by_person(searches.stranger_person)
    found = []
    for _ in range(resamples):
        m, s = _drawn(mated, rng), _drawn(strangers, rng)
        bar = threshold_at(searches.stranger_best[s], fpir)
        found.append(1.0 - float((searches.mated_right[m] & (searches.mated_best[m] > bar)).mean()))
    low, high = np.quantile(found, [0.025, 0.975])
    value = fnir_at(searches, fpir)
    return Estimate(value, float(low), float(high) if value > 0 else exact_interval(0, len(mated))[1])


def exact_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
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


def _best(queries: Floats, gallery: Floats) -> tuple[Numbers, Labels]:
    scores, who = [np.zeros(0)], [np.zeros(0, np.int64)]
    for start in range(0, len(queries), 1024):
        block = queries[start : start + 1024] @ gallery.T
        who.append(block.argmax(axis=1))
        scores.append(block.max(axis=1).astype(np.float64))
    return np.concatenate(scores), np.concatenate(who)


def _rows_by_person(person: Labels) -> list[Labels]:
    order = np.argsort(person, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(person[order])) + 1)


def _drawn(groups: list[Labels], rng: np.random.Generator) -> Labels:
    return np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
