"""Search by likeness among known classes: recall at k, R-precision and mAP@R, each picture searching all the others.

With R other pictures of a query's class, at the ranks r_1 < r_2 < … < r_R of what it found:
recall@k is 1 where r_1 <= k, else 0; R-precision is the share of r_j <= R; and
mAP@R is the mean over queries of 1/R * sum over r_j <= R of j / r_j, which also rewards right answers that come first
(K. Musgrave, S. Belongie, S.-N. Lim, A Metric Learning Reality Check, ECCV 2020, section 3.2).

Answers as similar as a right one, up to `TIE`, rank before it: a network that gives one vector for everything finds
nothing, whatever the order of the files. Pictures alone in their class search nothing and distract the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.pipeline import unit_rows
from lookalike.domain import Floats, Labels
from lookalike.errors import InvalidInput

Numbers = NDArray[np.float64]

KS = (1, 5, 10)
TIE = 1e-6
"""Cosines of float32 vectors that differ by less than this are equal."""

_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """Figures of each of Q queries, in 0..1. query: (Q,) its row; label: (Q,) its class; first: (Q,) rank of the first
    right answer, from 1; r_precision, average_precision: (Q,); pictures: all that were searched among.
    """

    query: Labels
    label: Labels
    first: Labels
    r_precision: Numbers
    average_precision: Numbers
    pictures: int

    def found_within(self, k: int) -> Numbers:
        """(Q,): 1 where a right answer is among the first k, else 0."""
        return np.asarray(self.first <= k, np.float64)

    def recall_at(self, k: int) -> float:
        """The share of queries with a right answer among the first k."""
        return float(self.found_within(k).mean())

    @property
    def mean_r_precision(self) -> float:
        """Of as many answers as there are right ones, the share that is right."""
        return float(self.r_precision.mean())

    @property
    def map_at_r(self) -> float:
        """Mean average precision at R."""
        return float(self.average_precision.mean())

    @property
    def summary(self) -> dict[str, float]:
        """The means by name: recall@1, recall@5, recall@10, r_precision, map@r."""
        recalls = {f"recall@{k}": self.recall_at(k) for k in KS}
        return recalls | {"r_precision": self.mean_r_precision, "map@r": self.map_at_r}


def retrieval(vectors: Floats, labels: Labels | Sequence[int] | Sequence[str]) -> Retrieval:
    """Every picture of a class with another one searches all the other pictures. (N, D), (N,).

    Vectors need not be of unit length. Raises: InvalidInput where no class has two pictures, or vectors are not finite.
    """
    if vectors.ndim != 2 or len(vectors) != len(labels) or not np.isfinite(vectors).all():
        raise InvalidInput("retrieval needs a finite vector and a class for each picture")
    _, label, size = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    queries = np.flatnonzero(size[label] > 1)
    if not len(queries):
        raise InvalidInput("retrieval needs a class with two pictures")
    unit = unit_rows(vectors)
    first = np.empty(len(queries), np.int64)
    r_precision, average_precision = np.empty(len(queries)), np.empty(len(queries))
    for start in range(0, len(queries), _ROWS):
        rows = queries[start : start + _ROWS]
        scores = unit @ unit[rows].T
        for at, row in enumerate(rows, start):
            ranks = _ranks(scores[:, at - start], label == label[row], row)
            first[at] = ranks[0]
            inside = ranks <= len(ranks)
            r_precision[at] = inside.mean()
            average_precision[at] = (inside * np.arange(1, len(ranks) + 1) / ranks).mean()
    return Retrieval(queries, label[queries], first, r_precision, average_precision, len(vectors))


def _ranks(scores: Floats, right: NDArray[np.bool_], query: int) -> Labels:
    """Where the right answers stand, ascending from 1. (N,) scores, (N,) whether of the query's class -> (R,)."""
    wrong = np.sort(scores[~right])
    right = right.copy()
    right[query] = False
    wanted = np.sort(scores[right])[::-1]
    before = len(wrong) - np.searchsorted(wrong, wanted - TIE)
    return np.asarray(np.arange(1, len(wanted) + 1) + before, np.int64)
