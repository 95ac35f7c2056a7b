"""Do errors fall on some people more than on others? False matches and misses by cohort, at one common threshold.

One threshold serves everybody, so fairness is asked at that threshold: where all pictures together give the FMR (or
FPIR) that is wished for, which cohort has more false matches, and which more misses (ISO/IEC 19795-10:2024)? Pairs of
two people count where both are of the cohort, since people resemble their like most; searches by the cohort of who
searches, in the gallery of all.

The largest ratio between cohorts is above 1 even where cohorts are mere chance: the cohorts dealt anew among people say
how large it would be then in 95 of 100 deals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.evaluate.figures import Measured
from embedder.evaluate.identification import mated_rows, split_people, threshold_at
from embedder.evaluate.intervals import Numbers, percentiles, weighted_means, weighted_pairs
from embedder.evaluate.pair_figures import blocks
from lookalike.domain import Floats, Labels

Flags = NDArray[np.bool_]

FEWEST_PEOPLE = 20
"""A rate is stated for no fewer people."""

FEWEST_ERRORS = 10
"""FMR and FPIR are stated where so many false matches or alarms would be due at the rate of all pictures."""

ENOUGH_FALSE = 100
"""The common FMR is the rarest of a few at which so many pairs of two people are accepted."""

ENOUGH_ALARMS = 30
"""The common FPIR is 1 % where so many strangers would raise an alarm then, else 10 %."""

DEALS = 200
_BOUNDLESS = 12.0
"""The logarithm of a ratio that no data can tell from infinity."""

MEASURES = ("FMR", "FNMR", "FPIR", "FNIR")


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Every comparison and search at the common thresholds, by rows of pictures.

    genuine: (G, 2) pairs of one person, missed: (G,); false: (F, 2) pairs of two people accepted; mated: (M,) searches
    for somebody enrolled, lost: (M,); strangers: (S,) searches, alarms: (S,). fmr, fpir: what the thresholds were set
    to over all pictures, at these similarities.
    """

    person: Labels
    genuine: Labels
    missed: Flags
    false: Labels
    mated: Labels
    lost: Flags
    strangers: Labels
    alarms: Flags
    fmr: float
    fmr_similarity: float
    fpir: float
    fpir_similarity: float

    def rates(self, inside: Flags, weights: Numbers) -> dict[str, Numbers]:
        """(1 + B,) of each measure among the pictures `inside`, (N,). NaN where there is nothing to count."""
        genuine, mated, strangers = inside[self.genuine].all(axis=1), inside[self.mated], inside[self.strangers]

        def mean(failed: Flags, rows: Labels) -> Numbers:
            return weighted_means(failed.astype(np.float64), self.person[rows], weights)

        return {
            "FMR": self._false_matches(inside, weights),
            "FNMR": mean(self.missed[genuine], self.genuine[genuine, 0]),
            "FPIR": mean(self.alarms[strangers], self.strangers[strangers]),
            "FNIR": mean(self.lost[mated], self.mated[mated]),
        }

    def _false_matches(self, inside: Flags, weights: Numbers) -> Numbers:
        first, second = self.person[self.false[inside[self.false].all(axis=1)]].T
        pictures = np.bincount(self.person[inside], minlength=weights.shape[1])
        pairs = ((weights @ pictures) ** 2 - weights**2 @ pictures**2) / 2
        with np.errstate(invalid="ignore"):
            return np.asarray(weighted_pairs(first, second, weights) / pairs, np.float64)

    def counts(self, inside: Flags) -> dict[str, int]:
        """Among the pictures `inside`: pictures, people, pairs of two people, and people or probes behind each rate."""
        pictures = np.bincount(self.person[inside])
        genuine = inside[self.genuine].all(axis=1)
        return {
            "pictures": int(inside.sum()),
            "people": int((pictures > 0).sum()),
            "FMR": int((pictures.sum() ** 2 - (pictures**2).sum()) // 2),
            "FNMR": len(np.unique(self.person[self.genuine[genuine, 0]])),
            "FPIR": int(inside[self.strangers].sum()),
            "FNIR": len(np.unique(self.person[self.mated[inside[self.mated]]])),
        }

    def stated(self, measure: str, counts: Mapping[str, int]) -> bool:
        """Whether so few can show the rate."""
        if measure in ("FNMR", "FNIR"):
            return counts[measure] >= FEWEST_PEOPLE
        due = (self.fmr if measure == "FMR" else self.fpir) * counts[measure]
        return counts["people"] >= FEWEST_PEOPLE and due >= FEWEST_ERRORS


def outcomes(probes: Floats, person: Labels, measured: Measured) -> Outcomes:
    """probes: (N, D) unit; person: (N,) from 0; measured: what `measure_faces` gave for them."""
    curve, searches = measured.curve, measured.searches
    fmr = next((far for far in (1e-3, 1e-2) if far * curve.others >= ENOUGH_FALSE), 0.1)
    bar = float(curve.similarity[np.flatnonzero(curve.far <= fmr)[0]])
    genuine, missed, false = _judged(probes, person, bar)
    mated, strangers = np.zeros(0, np.int64), np.zeros(0, np.int64)
    lost, alarms = np.zeros(0, bool), np.zeros(0, bool)
    fpir, limit = 0.1, 1.0
    if searches is not None:
        gallery, strangers = split_people(person)
        mated = mated_rows(person, gallery)
        fpir = 0.01 if 0.01 * len(strangers) >= ENOUGH_ALARMS else 0.1
        limit = threshold_at(searches.stranger_best, fpir)
        lost, alarms = ~(searches.mated_right & (searches.mated_best > limit)), searches.stranger_best > limit
    return Outcomes(person, genuine, missed, false, mated, lost, strangers, alarms, fmr, bar, fpir, limit)


def _judged(probes: Floats, person: Labels, bar: float) -> tuple[Labels, Flags, Labels]:
    """(pairs of one person, whether missed, pairs of two people accepted) at a similarity."""
    genuine, missed, false = [], [], []
    for scores, first, second in blocks(probes):
        same = person[first][:, None] == person[second]
        later = second > first[:, None]
        row, column = np.nonzero(later & same)
        genuine.append(np.stack([first[row], second[column]], axis=1))
        missed.append(scores[row, column] < bar)
        row, column = np.nonzero(later & ~same & (scores >= bar))
        false.append(np.stack([first[row], second[column]], axis=1))
    return np.concatenate(genuine), np.concatenate(missed), np.concatenate(false)


# ------------------------------------------------------------------------------------- between cohorts


@dataclass(frozen=True, slots=True)
class Ratio:
    """The highest rate of a cohort over the lowest. by_chance: what 95 of 100 deals of the cohorts stay below.

    value: None where the lowest is 0; high: None where it has no bound, for resamples without an error in the best.
    """

    worst: str
    best: str
    value: float | None
    low: float | None = None
    high: float | None = None
    by_chance: float | None = None


def largest_ratio(rates: Mapping[str, Numbers], groups: int, dealt: Numbers | None) -> Ratio | None:
    """rates: (1 + B,) of each cohort that can be stated; groups: people of the smaller; dealt: ratios by chance."""
    if len(rates) < 2:
        return None
    worst, best = max(rates, key=lambda c: float(rates[c][0])), min(rates, key=lambda c: float(rates[c][0]))
    if not rates[best][0] > 0:
        return Ratio(worst, best, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.clip(np.log(rates[worst]) - np.log(rates[best]), -_BOUNDLESS, _BOUNDLESS)
    low, high = percentiles(ratio, groups)
    upper = float(np.exp(high)) if high < _BOUNDLESS else None
    chance = None if dealt is None or not len(dealt) else float(np.quantile(dealt, 0.95, method="higher"))
    return Ratio(worst, best, float(np.exp(ratio[0])), float(np.exp(low)), upper, chance)


def dealt_ratios(
    found: Outcomes, cohort_of: Labels, compared: Mapping[str, Sequence[int]], seed: int = 1
) -> dict[str, Numbers]:
    """The largest ratios when cohorts are dealt anew among people. cohort_of: (P,), each person's, -1 for none.

    compared: for each measure, the cohorts that it can be stated for.
    """
    rng = np.random.default_rng(seed)
    even = np.ones((1, len(cohort_of)))
    known = np.flatnonzero(cohort_of >= 0)
    ratios: dict[str, list[float]] = {measure: [] for measure in compared}
    for _ in range(DEALS):
        dealt = cohort_of.copy()
        dealt[known] = rng.permutation(cohort_of[known])
        of_row = dealt[found.person]
        rates = [found.rates(of_row == each, even) for each in range(int(cohort_of.max()) + 1)]
        for measure, cohorts in compared.items():
            values = [float(rates[each][measure][0]) for each in cohorts]
            if len(values) > 1:
                ratios[measure].append(max(values) / min(values) if min(values) > 0 else np.inf)
    return {measure: np.array(values) for measure, values in ratios.items()}
