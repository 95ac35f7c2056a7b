"""One to one: accuracy by folds, equal error rate, and matches kept (TAR) at rates of false ones (FAR).

A rate at a threshold t counts the scores >= t. Curves over all pairs come from counts in bins of similarity that are
`BIN` wide, so that hundreds of millions of pairs need no memory; folds are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.evaluate.intervals import Numbers
from lookalike.domain import Floats, Labels

BIN = 1e-4
_BINS = round(2 / BIN) + 1
_ROWS = 512


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean over folds of the share judged rightly; error: its standard error; folds: each one's."""

    mean: float
    error: float
    folds: tuple[float, ...]


def accuracy_by_folds(scores: Numbers, same: NDArray[np.bool_], folds: Labels) -> Accuracy:
    """Each fold judged by the threshold that is best on the others. scores, same, folds: (P,)."""
    right = judged_rightly(scores, same, folds)
    shares = [float(right[folds == fold].mean()) for fold in np.unique(folds)]
    error = float(np.std(shares, ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else 0.0
    return Accuracy(float(np.mean(shares)), error, tuple(shares))


def judged_rightly(scores: Numbers, same: NDArray[np.bool_], folds: Labels) -> NDArray[np.bool_]:
    """(P,): whether the threshold that is best on the other folds calls the pair what it is."""
    right = np.zeros(len(scores), bool)
    for fold in np.unique(folds):
        test = folds == fold
        right[test] = (scores[test] >= best_threshold(scores[~test], same[~test])) == same[test]
    return right


def accuracy_figures(scores: Numbers, pairs: DrawnPairs, person: Labels, weights: Numbers) -> Numbers:
    """Accuracy by folds and its resamples of people, thresholds held. scores: (P,) of the pairs -> (1 + B,).

    Pairs of one person and of two keep their shares, which would otherwise change by chance. weights: (1 + B, people).
    """
    right = judged_rightly(scores, pairs.same, pairs.fold)
    first, second = person[pairs.first], person[pairs.second]
    by_kind = []
    for same in (True, False):
        of_kind = pairs.same == same
        weight = weights[:, first[of_kind]] * (1.0 if same else weights[:, second[of_kind]])
        with np.errstate(invalid="ignore"):
            by_kind.append((weight @ right[of_kind]) / weight.sum(axis=1))
    share = float(pairs.same.mean())
    figures = share * by_kind[0] + (1 - share) * by_kind[1]
    mean = accuracy_by_folds(scores, pairs.same, pairs.fold).mean
    return np.asarray(np.clip(figures - figures[0] + mean, 0.0, 1.0), np.float64)


def best_threshold(scores: Numbers, same: NDArray[np.bool_]) -> float:
    """Half-way between two neighbouring scores, where most pairs are judged rightly."""
    order = np.argsort(scores, kind="stable")
    ranked, right = scores[order], same[order]
    # With the bar below ranked[i], the i pairs under it are called different and the rest the same.
    correct = np.concatenate([[0], np.cumsum(~right)]) + right.sum() - np.concatenate([[0], np.cumsum(right)])
    possible = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])  # equal scores can't be parted
    best = int(np.argmax(np.where(possible, correct, -1)))
    if best == 0:
        return float(ranked[0])
    return float((ranked[best - 1] + ranked[best]) / 2) if best < len(ranked) else float(np.nextafter(ranked[-1], 2))


@dataclass(frozen=True, slots=True, eq=False)
class DrawnPairs:
    """P pairs. first, second: rows of pictures; same: whether one person; fold: no person is in two of them."""

    first: Labels
    second: Labels
    same: NDArray[np.bool_]
    fold: Labels


def draw_pairs(person: Labels, folds: int = 10, seed: int = 1) -> DrawnPairs | None:
    """One pair of each person with two pictures, and as many of two people; None where each fold has none.

    The same each time. Every fold holds three people with two pictures or more, so fewer people give fewer folds.
    """
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(person == who) for who in rng.permutation(np.unique(person))]
    rows.sort(key=lambda of_one: len(of_one) == 1)  # stable: those with two pictures are dealt first, evenly
    folds = min(folds, sum(len(of_one) > 1 for of_one in rows) // 3)
    if folds < 2:
        return None
    found: list[tuple[int, int, bool, int]] = []
    for fold in range(folds):
        people = rows[fold::folds]
        matching = [rng.choice(of_one, 2, replace=False) for of_one in people if len(of_one) > 1]
        found += [(int(a), int(b), True, fold) for a, b in matching]
        for _ in matching:
            one, other = rng.choice(len(people), 2, replace=False)
            found.append((int(rng.choice(people[one])), int(rng.choice(people[other])), False, fold))
    first, second, same, fold_of = zip(*found, strict=True)
    return DrawnPairs(np.array(first), np.array(second), np.array(same, bool), np.array(fold_of))


@dataclass(frozen=True, slots=True)
class Curve:
    """similarity: (B,) ascending; tar, far: (B,), shares of matching and of other pairs at it or above."""

    similarity: Numbers
    tar: Numbers
    far: Numbers
    matching: int
    others: int

    def tar_at(self, far: float) -> float:
        """The most matches kept with at most this share of false ones."""
        allowed = np.flatnonzero(self.far <= far)
        return float(self.tar[allowed[0]]) if len(allowed) else 0.0

    def equal_error_rate(self) -> float:
        """Where as many matches are lost as false ones are made, between two points of the curve."""
        gap = self.far - (1 - self.tar)
        after = int(np.flatnonzero(gap <= 0)[0])
        if after == 0:
            return float(self.far[0])
        share = gap[after - 1] / (gap[after - 1] - gap[after])
        return float(self.far[after - 1] + share * (self.far[after] - self.far[after - 1]))


def curve_over_all_pairs(probes: Floats, person: Labels) -> Curve:
    """Every unordered pair of pictures, compared as `compare` does. (N, D) unit, (N,)."""
    matching, others = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64)
    for start in range(0, len(probes), _ROWS):
        block = probes[start : start + _ROWS]
        scores = block @ probes[start:].T
        bins = np.clip(np.floor((scores.astype(np.float64) + 1) / BIN), 0, _BINS - 1).astype(np.int64)
        later = np.arange(scores.shape[1]) > np.arange(len(block))[:, None]
        same = person[start : start + _ROWS, None] == person[None, start:]
        matching += np.bincount(bins[later & same], minlength=_BINS)
        others += np.bincount(bins[later & ~same], minlength=_BINS)
    return _curve(matching, others)


def curve_over_pairs(scores: Sequence[float] | Numbers, same: NDArray[np.bool_]) -> Curve:
    """A list of pairs. (P,) scores, (P,) whether they match."""
    bins = np.clip(np.floor((np.asarray(scores, np.float64) + 1) / BIN), 0, _BINS - 1).astype(np.int64)
    return _curve(np.bincount(bins[same], minlength=_BINS), np.bincount(bins[~same], minlength=_BINS))


def _curve(matching: Labels, others: Labels) -> Curve:
    def share(counts: Labels) -> Numbers:
        at_least = np.append(np.cumsum(counts[::-1])[::-1], 0)
        return np.asarray(at_least / max(int(counts.sum()), 1), np.float64)

    similarity = np.append(np.arange(_BINS) * BIN - 1, np.inf)
    return Curve(similarity, share(matching), share(others), int(matching.sum()), int(others.sum()))
