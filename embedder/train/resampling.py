"""The difference of two ways of making vectors, with its interval from drawing classes again.

Retrieval figures are means over queries, so a draw of classes weighs queries. Open-set searches are made once for each
gallery, and people drawn again among those who search and those who are strangers, with the threshold found anew (as
`lookalike evaluate` does for one model). What is searched among stays as it is: a class drawn twice is no distractor
of itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.evaluate.identification import open_set
from embedder.evaluate.retrieval import retrieval
from embedder.train.measures import GALLERIES, half_enrolled
from embedder.train.vectors import Way
from lookalike.domain import Labels

DRAWS = 1_000
FPIR = 0.01

Numbers = NDArray[np.float64]


def difference_interval(
    ours: Way, theirs: Way, labels: Labels, kind: str, seed: int = 1
) -> dict[str, tuple[float, float, float]]:
    """Measure → (ours - theirs, low, high), of 95 %, for recall_1, map_r and, for faces, open_set."""
    return mean_difference_interval([(ours, theirs)], labels, kind, seed)


def mean_difference_interval(
    pairs: Sequence[tuple[Way, Way]], labels: Labels, kind: str, seed: int = 1
) -> dict[str, tuple[float, float, float]]:
    """The same of the mean over several pairs, such as of several seeds, on the same pictures."""
    found = [[retrieval(way.probes, labels) for way in pair] for pair in pairs]
    firsts = np.mean([a.found_within(1) - b.found_within(1) for a, b in found], axis=0)
    precisions = np.mean([a.average_precision - b.average_precision for a, b in found], axis=0)
    label = found[0][0].label
    differences = {"recall_1": _of_means(firsts, label, seed), "map_r": _of_means(precisions, label, seed)}
    if kind == "face":
        differences["open_set"] = _of_open_sets(pairs, labels, seed)
    return differences


def _of_means(values: Numbers, label: Labels, seed: int) -> tuple[float, float, float]:
    """The mean over queries, with classes drawn again."""
    classes, inverse = np.unique(label, return_inverse=True)
    sums, counts = np.bincount(inverse, values), np.bincount(inverse)
    weights = np.random.default_rng(seed).multinomial(len(classes), np.full(len(classes), 1 / len(classes)), DRAWS)
    drawn = (weights @ sums) / np.maximum(weights @ counts, 1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _of_open_sets(ways: Sequence[tuple[Way, Way]], labels: Labels, seed: int) -> tuple[float, float, float]:
    """1 - FNIR at FPIR 1 %: the mean difference over galleries; a draw weighs people alike in all of them."""
    classes = np.unique(labels)
    pairs = []
    for gallery in range(GALLERIES):
        enrolled, strangers = half_enrolled(labels, gallery)
        pairs += [[_Weighed(way, labels, enrolled, strangers, classes) for way in pair] for pair in ways]
    rng = np.random.default_rng(seed)
    even = np.ones(len(classes), np.int64)
    drawn = [even, *rng.multinomial(len(classes), even / len(classes), DRAWS)]
    differences = [np.mean([a.found(times) - b.found(times) for a, b in pairs]) for times in drawn]
    low, high = np.quantile(differences[1:], [0.025, 0.975])
    return float(differences[0]), float(low), float(high)


class _Weighed:
    """One gallery's searches, measured again for each draw of people."""

    def __init__(self, way: Way, labels: Labels, enrolled: Labels, strangers: Labels, classes: Labels) -> None:
        searches = open_set(way.probes, way.templates, labels, enrolled, strangers)
        order = np.argsort(-searches.stranger_best)
        self._alarms = searches.stranger_best[order]
        self._stranger = np.searchsorted(classes, searches.stranger_person[order])
        self._mated = np.searchsorted(classes, searches.mated_person)
        self._score = np.where(searches.mated_right, searches.mated_best, -2.0)

    def found(self, times: Labels) -> float:
        """1 - FNIR at FPIR 1 %, each person counted as often as they were drawn. times: (C,)."""
        weights = times[self._stranger].cumsum()
        above = int(np.searchsorted(weights, FPIR * weights[-1] + 1e-9, side="right"))
        bar = float(self._alarms[above]) if above < len(self._alarms) else -1.0
        mated = times[self._mated]
        return float(mated[self._score > bar].sum() / max(int(mated.sum()), 1))
