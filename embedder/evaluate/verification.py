"""One against one: how often two pictures of a person match, and two of different people wrongly do.

Everything is computed from arrays of cosine similarities. Among all pairs of a set, scores are counted in cells of
1e-4, so the set may be large; the rates at each cell's lower edge are exact. Terms are those of ISO/IEC 19795-1: FAR
is the share of pairs of different people that score at or above a threshold, TAR that of pairs of one person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.domain import Floats, Labels

Counts = NDArray[np.int64]
Rates = NDArray[np.float64]
Flags = NDArray[np.bool_]

CELLS = 20_000
EDGES: Rates = np.linspace(-1.0, 1.0, CELLS + 1)
"""The lower edges of the cells, and 1."""

WANTED_FARS = (1e-2, 1e-3, 1e-4, 1e-5)
FEWEST_BEYOND = 10
"""A FAR is stated only where at least so many pairs of different people lie beyond it."""

_ROWS = 512


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of pairs judged rightly, each fold by the threshold best on the others. error: of the mean."""

    mean: float
    error: float
    folds: tuple[float, ...]
    thresholds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TarAtFar:
    """tar and threshold are None where too few pairs lie beyond this FAR to say."""

    far: float
    tar: float | None
    threshold: float | None


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PairCounts:
    """Pairs by cell of similarity. genuine, impostor: (CELLS,) counts of pairs of one person, of different people."""

    genuine: Counts
    impostor: Counts

    def __repr__(self) -> str:
        return f"PairCounts({self.genuine.sum()} genuine, {self.impostor.sum()} impostor)"


def accuracy_by_folds(scores: Floats, same: Flags, fold: Labels) -> Accuracy | None:
    """(P,) similarities, whether each pair is one person, and its fold; None with fewer than two folds."""
    folds = np.unique(fold)
    if len(folds) < 2:
        return None
    found, thresholds = [], []
    for each in folds:
        inside = fold == each
        threshold = best_threshold(scores[~inside], same[~inside])
        thresholds.append(threshold)
        found.append(float(np.mean((scores[inside] >= threshold) == same[inside])))
    error = float(np.std(found, ddof=1) / np.sqrt(len(found)))
    return Accuracy(float(np.mean(found)), error, tuple(found), tuple(thresholds))


def best_threshold(scores: Floats, same: Flags) -> float:
    """The similarity from which on calling pairs one person is right most often; midway between two scores."""
    order = np.argsort(-scores, kind="stable")
    ranked, matched = scores[order].astype(np.float64), same[order]
    # right[k]: pairs judged rightly when the k highest are called one person.
    right = np.concatenate([[0], np.cumsum(np.where(matched, 1, -1))])
    cut_here = np.concatenate([[True], ranked[1:] < ranked[:-1], [True]])
    best = int(np.argmax(np.where(cut_here, right, -len(scores) - 1)))
    bounds = np.concatenate([[1.0], ranked, [-1.0]])
    return float((bounds[best] + bounds[best + 1]) / 2)


def count_all_pairs(templates: Floats, probes: Floats, person: Labels) -> PairCounts:
    """Each picture's template with each later picture's probe. (N, D), (N, D) unit float32, (N,)."""
    genuine, impostor = np.zeros(CELLS, np.int64), np.zeros(CELLS, np.int64)
    places = np.arange(len(person))
    for start in range(0, len(person), _ROWS):
        rows = slice(start, start + _ROWS)
        cells = cells_of(templates[rows] @ probes[start:].T)
        later = places[rows, None] < places[None, start:]
        same = person[rows, None] == person[None, start:]
        genuine += np.bincount(cells[later & same], minlength=CELLS)
        impostor += np.bincount(cells[later & ~same], minlength=CELLS)
    return PairCounts(genuine, impostor)


def cells_of(scores: Floats) -> Labels:
    """The cell that each similarity lies in, 0 to CELLS - 1."""
    # A hair is added so that a score printed as an edge lies in the cell above it despite float32.
    cells = np.floor((scores.astype(np.float64) + 1.0) * (CELLS / 2) + 1e-3)
    return np.asarray(np.clip(cells, 0, CELLS - 1), np.int64)


def rates(counts: PairCounts) -> tuple[Rates, Rates]:
    """(FAR, TAR) when a pair matches from each of EDGES on. -> (CELLS + 1,) twice, falling; NaN without pairs."""
    return _share_from(counts.impostor), _share_from(counts.genuine)


def tar_at_far(counts: PairCounts, wanted: tuple[float, ...] = WANTED_FARS) -> tuple[TarAtFar, ...]:
    """The TAR at the lowest edge whose FAR is not above each of those wanted."""
    far, tar = rates(counts)
    impostors, genuine = int(counts.impostor.sum()), int(counts.genuine.sum())
    answers = []
    for limit in wanted:
        if impostors * limit < FEWEST_BEYOND or not genuine:
            answers.append(TarAtFar(limit, None, None))
            continue
        at = int(np.argmax(far <= limit))
        answers.append(TarAtFar(limit, float(tar[at]), float(EDGES[at])))
    return tuple(answers)


def equal_error_rate(counts: PairCounts) -> float | None:
    """The error where as many pairs of one person are missed as others match; None without pairs of both kinds."""
    if not counts.impostor.sum() or not counts.genuine.sum():
        return None
    far, tar = rates(counts)
    missed = 1.0 - tar
    at = int(np.argmin(np.abs(far - missed)))
    return float((far[at] + missed[at]) / 2)


def _share_from(counts: Counts) -> Rates:
    total = int(counts.sum())
    beyond = np.append(np.cumsum(counts[::-1])[::-1], 0)
    return beyond / total if total else np.full(len(beyond), np.nan)
