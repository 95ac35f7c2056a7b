"""One to many, among strangers: who is found (rank-1), who is missed (FNIR) at a rate of false alarms (FPIR).

Open set: some of each enrolled person's pictures are in the gallery and their others search it; strangers' pictures
search it too, and any candidate for them is a false alarm. A search misses when the best subject is the wrong one or
scores no higher than the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedder.evaluate.intervals import (
    RESAMPLES,
    Estimate,
    Numbers,
    draw_weights,
    rate_estimate,
    weighted_means,
)
from lookalike.domain import Floats, Labels
from lookalike.fusion import templates as fused_templates

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


def open_set(probes: Floats, templates: Floats, person: Labels, gallery: Labels, strangers: Labels) -> OpenSet:
    """Search a gallery. probes, templates: (N, D); person: (N,); gallery: rows enrolled; strangers: rows that search.

    Rows of one person in the gallery are fused as the service does. Mated searches are the others of the enrolled.
    """
    names = [str(who) for who in person[gallery]]
    enrolled, owners = fused_templates(templates[gallery], names)
    owner = np.array(owners, np.int64)
    mated = mated_rows(person, gallery)
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


def mated_rows(person: Labels, gallery: Labels) -> Labels:
    """The rows that search for somebody enrolled: their people's, but for those in the gallery."""
    rest = np.setdiff1d(np.arange(len(person)), gallery)
    return rest[np.isin(person[rest], person[gallery])]


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


def fnir_figures(searches: OpenSet, fpir: float, weights: Numbers) -> Numbers:
    """FNIR and its resamples, the threshold found anew in each. weights: (1 + B, people) -> (1 + B,).

    Who is enrolled stays as it is: only whose searches count, and how often, is resampled.
    """
    by_score = np.argsort(-searches.stranger_best, kind="stable")
    alarms = np.cumsum(weights[:, searches.stranger_person[by_score]], axis=1)
    beyond = alarms > fpir * alarms[:, -1:] + 1e-9
    bars = np.where(beyond.any(axis=1), searches.stranger_best[by_score][beyond.argmax(axis=1)], -1.0)
    score, who = searches.mated_best[searches.mated_right], searches.mated_person[searches.mated_right]
    order = np.argsort(-score, kind="stable")
    kept = np.cumsum(weights[:, who[order]], axis=1)
    kept = np.concatenate([np.zeros((len(weights), 1)), kept], axis=1)
    above = np.searchsorted(-score[order], -bars, side="left")
    mated = weights @ np.bincount(searches.mated_person, minlength=weights.shape[1])
    with np.errstate(invalid="ignore"):
        return np.asarray(1.0 - kept[np.arange(len(weights)), above] / mated, np.float64)


def fnir_estimate(searches: OpenSet, fpir: float, resamples: int = RESAMPLES, seed: int = 1) -> Estimate:
    """FNIR with an interval from resampling people, enrolled and strangers."""
    people, number = np.unique(np.concatenate([searches.mated_person, searches.stranger_person]), return_inverse=True)
    mated = len(searches.mated_person)
    numbered = replace(searches, mated_person=number[:mated], stranger_person=number[mated:])
    figures = fnir_figures(numbered, fpir, draw_weights(len(people), resamples, seed))
    return rate_estimate(figures, len(np.unique(searches.mated_person)))


def rank_one_figures(searches: OpenSet, weights: Numbers) -> Numbers:
    """Rank-1 and its resamples. weights: (1 + B, people) -> (1 + B,)."""
    return weighted_means(searches.mated_right.astype(np.float64), searches.mated_person, weights)


def _best(queries: Floats, gallery: Floats) -> tuple[Numbers, Labels]:
    scores, who = [np.zeros(0)], [np.zeros(0, np.int64)]
    for start in range(0, len(queries), 1024):
        block = queries[start : start + 1024] @ gallery.T
        who.append(block.argmax(axis=1))
        scores.append(block.max(axis=1).astype(np.float64))
    return np.concatenate(scores), np.concatenate(who)
