"""The figures of an evaluation, each with its resamples: for faces and for items, from vectors and who is in them.

The same weights give paired resamples: two models measured with them differ by what they do, not by who was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedder.evaluate.identification import OpenSet, fnir_figures, open_set, rank_one_figures, split_people
from embedder.evaluate.intervals import Numbers, rate_estimate, weighted_means
from embedder.evaluate.pair_figures import pair_figures
from embedder.evaluate.report import Row
from embedder.evaluate.retrieval import KS, Retrieval, retrieval
from embedder.evaluate.verification import Curve, DrawnPairs, accuracy_figures, curve_over_all_pairs
from lookalike.domain import Floats, Labels

FARS = (1e-2, 1e-3, 1e-4, 1e-5)
FPIRS = (0.1, 0.01, 0.003)
FEWEST_PAIRS = 10
"""A TAR is stated only where at least so many pairs of different people lie beyond its FAR."""

FEWEST_ALARMS, FEW_ALARMS = 3, 10
"""A FNIR is stated only where so many strangers may raise an alarm, and with a warning below the second number."""

SEVERAL = 3
"""Pictures enrolled of each person, at most, in the second open-set table."""


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A measure. figures: (1 + B,) itself and its resamples, None where the data cannot show it; groups: people or
    classes that it rests on; key: its stable name; higher: whether more is better.
    """

    key: str
    group: str
    measure: str
    figures: Numbers | None
    groups: int
    note: str
    meaning: str
    higher: bool = True

    def row(self) -> Row:
        """The figure with its interval."""
        if self.figures is None:
            return Row(self.group, self.measure, None, note=self.note, meaning=self.meaning)
        found = rate_estimate(self.figures, self.groups)
        return Row(self.group, self.measure, found.value, found.low, found.high, self.note, meaning=self.meaning)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Figures in the order of the table, with what curves are drawn from; retrieval: of items."""

    figures: tuple[Figure, ...]
    curve: Curve
    searches: OpenSet | None
    retrieval: Retrieval | None = None

    def by_key(self) -> dict[str, Figure]:
        """Those that could be measured."""
        return {figure.key: figure for figure in self.figures if figure.figures is not None}


def measure_faces(
    probes: Floats, templates: Floats, person: Labels, weights: Numbers, pairs: DrawnPairs | None, listed: int = 0
) -> Measured:
    """Verification and open-set identification. probes, templates: (N, D) unit; person: (N,) from 0, all of them there.

    pairs: for the accuracy; listed: how many the protocol names, 0 where they were drawn; weights: (1 + B, people).
    """
    curve = curve_over_all_pairs(probes, person)
    figures = [_accuracy(probes, person, weights, pairs, listed), *_all_pairs(probes, person, curve, weights)]
    searches, found = _searches(probes, templates, person, weights, "people")
    return Measured((*figures, *found), curve, searches)


def measure_items(probes: Floats, templates: Floats, label: Labels, weights: Numbers) -> Measured:
    """Search among classes, and open-set search with classes that nobody enrolled. Shapes as `measure_faces`."""
    found = retrieval(probes, label)
    note = f"{len(found.query):,} pictures search {found.pictures - 1:,} others"
    values = [(f"recall@{k}", f"recall@{k}", "recall", found.found_within(k)) for k in KS]
    values += [("map@r", "mAP@R", "map", found.average_precision)]
    values += [("r_precision", "R-precision", "r-precision", found.r_precision)]
    classes = len(np.unique(found.label))
    figures = [
        Figure(key, "search", name, weighted_means(each, found.label, weights), classes, note, MEANINGS[meaning])
        for key, name, meaning, each in values
    ]
    searches, open_figures = _searches(probes, templates, label, weights, "classes")
    return Measured((*figures, *open_figures), curve_over_all_pairs(probes, label), searches, found)


# ------------------------------------------------------------------------------------ one group each


def _accuracy(probes: Floats, person: Labels, weights: Numbers, pairs: DrawnPairs | None, listed: int) -> Figure:
    name, meaning = "accuracy, threshold from the other folds", MEANINGS["accuracy"]
    if pairs is None or not pairs.same.any() or pairs.same.all() or len(np.unique(pairs.fold)) < 2:
        return Figure("accuracy", "pairs", name, None, 0, "too few people for two folds", meaning)
    compared = (probes[pairs.first] * probes[pairs.second]).sum(axis=1).astype(np.float64)
    figures = accuracy_figures(compared, pairs, person, weights)
    where = f"of {listed} listed" if listed else "drawn from the folder"
    note = f"{len(pairs.same)} pairs {where}, {len(np.unique(pairs.fold))} folds"
    people = len(np.unique(person[np.concatenate([pairs.first, pairs.second])]))
    return Figure("accuracy", "pairs", name, figures, people, note, meaning)


def _all_pairs(probes: Floats, person: Labels, curve: Curve, weights: Numbers) -> list[Figure]:
    pairs = f"{curve.matching:,} pairs of one person, {curve.others:,} of two"
    matched = int((np.bincount(person) > 1).sum())
    shown = [far for far in FARS if far * curve.others >= FEWEST_PAIRS]
    found = pair_figures(probes, person, curve, shown, weights)
    figures = [
        Figure("eer", "all pairs", "equal error rate", found.equal_error_rate, matched, pairs, MEANINGS["eer"], False)
    ]
    tars = dict(zip(shown, found.tar, strict=True))
    for far in FARS:
        few = f"only {far * curve.others:.1f} pairs of two people lie beyond: too few to say"
        note = "" if far in tars else few
        name = f"TAR at FAR {plain(far)}"
        figures.append(Figure(f"tar@{far:g}", "all pairs", name, tars.get(far), matched, note, MEANINGS["tar"]))
    return figures


def _searches(
    probes: Floats, templates: Floats, person: Labels, weights: Numbers, who: str
) -> tuple[OpenSet | None, list[Figure]]:
    """Of one enrolled picture, and of several where there are; the searches are those of the first."""
    first: OpenSet | None = None
    figures: list[Figure] = []
    for samples in (1, SEVERAL) if np.bincount(person).max() > 2 else (1,):
        gallery, strangers = split_people(person, samples=samples)
        if not len(gallery) or not len(strangers):
            break
        found = open_set(probes, templates, person, gallery, strangers)
        if not len(found.mated_best):
            break
        first = first or found
        figures += _open_set(found, samples, weights, who)
    return first, figures


def _open_set(searches: OpenSet, samples: int, weights: Numbers, who: str) -> list[Figure]:
    strangers = len(searches.stranger_best)
    group, end = ("open set", "") if samples == 1 else (f"open set, up to {samples} pictures", f"/{samples}")
    setting = f"{searches.size} {who} enrolled, {len(searches.mated_best)} mated and {strangers} stranger probes"
    mated, ranked = len(np.unique(searches.mated_person)), rank_one_figures(searches, weights)
    figures = [Figure(f"rank-1{end}", group, "rank-1", ranked, mated, setting, MEANINGS["rank-1"])]
    for fpir in FPIRS:
        alarms = fpir * strangers
        figure, note = None, f"{alarms:.1f} strangers would be alarms: too few to say"
        if alarms >= FEWEST_ALARMS:
            figure = fnir_figures(searches, fpir, weights)
            note = f"only {alarms:.1f} alarms to go by" if alarms < FEW_ALARMS else ""
        key, name = f"fnir@{fpir:g}{end}", f"FNIR at FPIR {100 * fpir:g} %"
        figures.append(Figure(key, group, name, figure, mated, note, MEANINGS["fnir"], False))
    return figures


def plain(rate: float) -> str:
    """1e-05 as 0.00001."""
    return f"{rate:.6f}".rstrip("0")


def rows_of(figures: Sequence[Figure]) -> tuple[Row, ...]:
    """Each figure with its interval."""
    return tuple(figure.row() for figure in figures)


MEANINGS = {
    "accuracy": "Share of pairs rightly called one person or two, by the similarity that was best on the other folds.",
    "eer": "Where as many pairs of one person are missed as pairs of two are accepted; lower is better.",
    "tar": "Share of pairs of one person accepted when this share of pairs of different people is accepted too.",
    "rank-1": "Share of searches for somebody enrolled in which the right one comes first, whatever the threshold.",
    "fnir": "Share of searches for an enrolled person that miss them when this share of strangers raises an alarm.",
    "recall": "Share of searches with a picture of the right class among the first so many answers.",
    "map": "How far right answers come first among the R there are, averaged over searches; 100 % is a perfect order.",
    "r-precision": "Of the first R answers, R being the pictures of the class that there are, the share that is right.",
}
"""What each figure says, in a sentence for the report."""
