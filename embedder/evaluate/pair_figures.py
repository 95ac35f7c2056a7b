"""How sure the figures over all pairs are: EER and TAR at a FAR under resampled people, without resampling pairs.

A pair of one person weighs what that person does, a pair of two the product of both (see intervals.py), and the
threshold is found anew in each resample. A FAR is decided among the most similar pairs of two people, so only pairs
beyond `ROOM` times the FAR are kept, thinned evenly by chance where they are more than `MOST`. Thinning moves all
resamples alike, so they are laid around the figure over all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from embedder.evaluate.intervals import Numbers
from embedder.evaluate.verification import Curve
from lookalike.domain import Floats, Labels

MOST = 60_000
ROOM = 4.0
"""In a resample the threshold may lie as much lower as where this many times the FAR's pairs are."""

FEWEST = 100
"""Where errors are rarer than that, the equal error rate is decided among so many times `ROOM` pairs of two people."""

_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """n pairs, most similar first. score, first, second: (n,), the people of both; share: of such pairs, those kept."""

    score: Numbers
    first: Labels
    second: Labels
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class PairFigures:
    """(1 + B,) each. tar: in the order of the FARs asked for."""

    equal_error_rate: Numbers
    tar: tuple[Numbers, ...]


def pair_figures(
    probes: Floats, person: Labels, curve: Curve, fars: Sequence[float], weights: Numbers, seed: int = 1
) -> PairFigures:
    """probes: (N, D) unit; person: (N,) numbers; curve: over all their pairs; weights: (1 + B, people)."""
    rate = curve.equal_error_rate()
    wanted = [max(rate, FEWEST / max(curve.others, 1)), *fars]
    matching, *others = _collect(probes, person, curve, wanted, np.random.default_rng(seed))
    pictures = np.bincount(person, minlength=weights.shape[1])
    of_two = ((weights @ pictures) ** 2 - weights**2 @ pictures**2) / 2
    above = [np.searchsorted(-matching.score, -pairs.score, side="right") for pairs in others]
    figures = np.full((1 + len(fars), len(weights)), np.nan)
    for at, (weight, total) in enumerate(zip(weights, of_two, strict=True)):
        kept = np.concatenate([[0.0], np.cumsum(weight[matching.first])])
        if kept[-1] == 0 or total == 0:
            continue
        for row, (pairs, count) in enumerate(zip(others, above, strict=True)):
            alarms = np.cumsum(weight[pairs.first] * weight[pairs.second]) / (pairs.share * total)
            tar = kept / kept[-1]
            figures[row, at] = _equal(alarms, tar, count) if row == 0 else _tar(alarms, tar, count, wanted[row])
    values = [rate, *(curve.tar_at(far) for far in fars)]
    laid = [np.clip(figure - figure[0] + value, 0.0, 1.0) for figure, value in zip(figures, values, strict=True)]
    return PairFigures(laid[0], tuple(laid[1:]))


def _tar(alarms: Numbers, tar: Numbers, above: Labels, far: float) -> float:
    """The matches more similar than the first pair of two people that is one too many. above: (n,), matches >= each."""
    beyond = int(np.searchsorted(alarms, far * (1 + 1e-12), side="right"))
    return float(tar[above[min(beyond, len(above) - 1)]]) if len(above) else 1.0


def _equal(alarms: Numbers, tar: Numbers, above: Labels) -> float:
    """FAR where it comes to exceed the misses: FAR grows along the pairs and misses fall, so halving finds it."""
    low, high = 0, len(alarms)
    while low < high:
        middle = (low + high) // 2
        if alarms[middle] < 1 - tar[above[middle]]:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return float(min(alarms[0], 1 - tar[above[0]])) if len(alarms) else 0.0
    last = min(low, len(alarms) - 1)
    return float((alarms[last] + 1 - tar[above[last]]) / 2)


# -------------------------------------------------------------------------------------- which pairs


def _collect(
    probes: Floats, person: Labels, curve: Curve, fars: Sequence[float], rng: np.random.Generator
) -> list[Pairs]:
    """Pairs of one person, then for each FAR the pairs of two people that may decide it."""
    shares = [min(1.0, MOST / max(curve.matching, 1))]
    cuts = [-np.inf]
    for far in fars:
        allowed = np.flatnonzero(curve.far <= min(1.0, ROOM * far))
        cut = int(allowed[0]) - 1 if len(allowed) and allowed[0] > 0 else 0
        cuts.append(float(curve.similarity[cut]))
        shares.append(min(1.0, MOST / max(curve.far[cut] * curve.others, 1)))
    found: list[list[tuple[Numbers, Labels, Labels]]] = [[] for _ in cuts]
    for scores, first, second in blocks(probes):
        same = person[first][:, None] == person[second]
        later = second > first[:, None]
        for at, (cut_at, share) in enumerate(zip(cuts, shares, strict=True)):
            row, column = np.nonzero(later & same if at == 0 else later & ~same & (scores >= cut_at))
            if share < 1:
                chosen = rng.random(len(row)) < share
                row, column = row[chosen], column[chosen]
            found[at].append((scores[row, column].astype(np.float64), person[first[row]], person[second[column]]))
    return [_pairs(parts, share) for parts, share in zip(found, shares, strict=True)]


def blocks(probes: Floats) -> Iterator[tuple[Floats, Labels, Labels]]:
    """(scores, rows, columns) that hold every unordered pair of rows once where column > row."""
    for start in range(0, len(probes), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(probes)))
        yield probes[rows] @ probes[start:].T, rows, np.arange(start, len(probes))


def _pairs(parts: Sequence[tuple[Numbers, Labels, Labels]], share: float) -> Pairs:
    score, first, second = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(-score, kind="stable")
    return Pairs(score[order], first[order], second[order], share)
