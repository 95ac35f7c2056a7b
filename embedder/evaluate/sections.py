"""The parts of a report below its table: cohorts, the calibration's promises, one model against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from embedder.evaluate.calibration_check import Promise, check_calibration, promised_curve, stranger_scores
from embedder.evaluate.cohorts import UNKNOWN, Cohorts
from embedder.evaluate.comparison import Comparison
from embedder.evaluate.fairness import (
    FEWEST_PEOPLE,
    MEASURES,
    Flags,
    Outcomes,
    Ratio,
    dealt_ratios,
    largest_ratio,
    outcomes,
)
from embedder.evaluate.figures import Measured, measure_faces, plain, rows_of
from embedder.evaluate.intervals import Estimate, Numbers, draw_weights, rate_estimate
from embedder.evaluate.plots import draw_cohorts, draw_gains, draw_reliability
from embedder.evaluate.protocol import Picture
from embedder.evaluate.report import Row, Section
from embedder.evaluate.verification import DrawnPairs, draw_pairs
from lookalike.calibration import Calibration
from lookalike.domain import Floats, Labels

COHORT_RESAMPLES = 300
SAID = {"better": "better", "worse": "worse", "same": "the same", "unclear": "cannot tell"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Faces:
    """N pictures of faces and all that was measured of them. person: (N,) from 0; weights: (1 + B, people)."""

    pictures: Sequence[Picture]
    probes: Floats
    templates: Floats
    person: Labels
    pairs: DrawnPairs | None
    measured: Measured
    weights: Numbers

    def __repr__(self) -> str:
        return f"Faces({len(self.person)} pictures)"


# ------------------------------------------------------------------------------------------- cohorts


def cohort_sections(faces: Faces, cohorts: Cohorts, out_dir: Path) -> list[Section]:
    """One for each column of the file."""
    found = outcomes(faces.probes, faces.person, faces.measured)
    return [
        _cohort_section(faces, found, cohorts, column, number, out_dir) for number, column in enumerate(cohorts.columns)
    ]


def _cohort_section(
    faces: Faces, found: Outcomes, cohorts: Cohorts, column: str, number: int, out_dir: Path
) -> Section:
    cohort_of_row = np.array(cohorts.of(column, faces.pictures))
    names = sorted(set(cohort_of_row.tolist()) - {UNKNOWN})
    rows: list[Row] = []
    shown: dict[str, dict[str, Numbers]] = {measure: {} for measure in MEASURES}
    estimates: dict[str, dict[str, Estimate]] = {measure: {} for measure in MEASURES}
    smallest = {measure: len(faces.person) for measure in MEASURES}
    for name in names:
        inside = cohort_of_row == name
        counts = found.counts(inside)
        rows += _counted(f"{column}: {name}", counts)
        for measure, figures in found.rates(inside, faces.weights).items():
            stated = found.stated(measure, counts) and bool(np.isfinite(figures[0]))
            estimate = rate_estimate(figures, min(counts["people"], counts[measure])) if stated else None
            rows.append(_rate_row(f"{column}: {name}", measure, estimate, counts[measure]))
            if estimate is not None:
                shown[measure][name], estimates[measure][name] = figures, estimate
                smallest[measure] = min(smallest[measure], counts["people"])
        rows += _own_rows(faces, inside, f"{column}: {name}")
    dealt = _dealt(found, cohort_of_row, names, shown) if cohorts.by == "person" else {}
    ratios = {m: largest_ratio(shown[m], smallest[m], dealt.get(m)) for m in MEASURES}
    rows = [*(_ratio_row(column, m, ratio) for m, ratio in ratios.items()), *rows]
    unknown = int((cohort_of_row == UNKNOWN).sum())
    unsaid = f" {unknown:,} of {len(cohort_of_row):,} pictures are of no cohort." if unknown else ""
    return Section(
        f"Cohorts by {column}",
        f"One threshold for all: FMR {plain(found.fmr)} over all pictures is similarity {found.fmr_similarity:.3f}, "
        f"FPIR {100 * found.fpir:g} % is {found.fpir_similarity:.3f}. FMR counts pairs of two people of one cohort. "
        f"Figures below a cohort's four rates are its own, with a threshold of its own.{unsaid}",
        tuple(rows),
        draw_cohorts(out_dir / f"cohorts-{number + 1}.png", column, estimates),
    )


def _counted(group: str, counts: Mapping[str, int]) -> list[Row]:
    few = counts["people"] < FEWEST_PEOPLE
    warning = f"WARNING: fewer than {FEWEST_PEOPLE} people: too few to say how such people fare" if few else ""
    return [
        Row(group, "people", float(counts["people"]), kind="count", note=warning),
        Row(group, "pictures", float(counts["pictures"]), kind="count"),
    ]


def _rate_row(group: str, measure: str, found: Estimate | None, count: int) -> Row:
    what = {"FMR": "pairs of two people", "FNMR": "people with two pictures", "FPIR": "searches by strangers"}
    note = f"{count:,} {what.get(measure, 'people searched for')}"
    name = f"{measure} at the common threshold"
    if found is None:
        return Row(group, name, None, note=f"WARNING: {note}: too few to say", meaning=MEANINGS[measure])
    return Row(group, name, found.value, found.low, found.high, note, meaning=MEANINGS[measure])


def _own_rows(faces: Faces, inside: Flags, group: str) -> list[Row]:
    """The table again, of these pictures alone; nothing where they allow no comparison."""
    rows = np.flatnonzero(inside)
    people, person, counts = np.unique(faces.person[rows], return_inverse=True, return_counts=True)
    if len(people) < 2 or counts.max() < 2:
        return []
    pairs = draw_pairs(person) if faces.pairs is None else _within(faces.pairs, inside)
    weights = draw_weights(len(people), COHORT_RESAMPLES)
    measured = measure_faces(faces.probes[rows], faces.templates[rows], person, weights, pairs)
    own = [row for row in rows_of(measured.figures) if row.value is not None and "up to" not in row.group]
    return [replace(row, group=group, measure=f"{row.measure} ({row.group})") for row in own]


def _within(pairs: DrawnPairs, inside: Flags) -> DrawnPairs:
    """Those whose pictures are both of the cohort, by their place in it."""
    kept = inside[pairs.first] & inside[pairs.second]
    place = np.cumsum(inside) - 1
    return DrawnPairs(place[pairs.first[kept]], place[pairs.second[kept]], pairs.same[kept], pairs.fold[kept])


def _dealt(
    found: Outcomes, cohort_of_row: Labels, names: Sequence[str], shown: Mapping[str, Mapping[str, Numbers]]
) -> dict[str, Numbers]:
    number = {name: at for at, name in enumerate(names)}
    cohort_of = np.full(int(found.person.max()) + 1, -1)
    cohort_of[found.person] = [number.get(str(name), -1) for name in cohort_of_row]
    return dealt_ratios(found, cohort_of, {m: [number[name] for name in rates] for m, rates in shown.items()})


def _ratio_row(column: str, measure: str, ratio: Ratio | None) -> Row:
    group, name = f"{column}: largest ratio", f"{measure}, highest over lowest"
    if ratio is None:
        return Row(group, name, None, note="fewer than two cohorts can be compared", kind="ratio")
    if ratio.value is None:
        return Row(group, name, None, note=f"no error was seen in {ratio.best}", kind="ratio")
    note = f"{ratio.worst} over {ratio.best}"
    if ratio.by_chance is not None:
        beyond = "more than" if ratio.value > ratio.by_chance else "no more than"
        end = f"stay below {ratio.by_chance:.2f} in 95 of 100 deals"
        if not np.isfinite(ratio.by_chance):
            end = "often leave one without an error"
        note += f"; {beyond} chance: cohorts dealt at random {end}"
    return Row(group, name, ratio.value, ratio.low, ratio.high, note, "ratio", MEANINGS["ratio"])


# --------------------------------------------------------------------------------------- calibration


def calibration_section(faces: Faces, calibration: Calibration, out_dir: Path) -> Section:
    """Asked for against observed."""
    promises = check_calibration(calibration, faces.probes, faces.templates, faces.person, faces.weights)
    scores = stranger_scores(faces.probes, faces.templates, faces.person)
    sizes = sorted({promise.size for promise in promises}, key=lambda size: size or 0)
    curves = {size: promised_curve(calibration, scores, size) for size in sizes}
    kept = sum(promise.answer == "kept" for promise in promises)
    intro = "These are too few people to try the calibration's promises on."
    if promises:
        intro = (
            f"{kept} of {len(promises)} promises of the calibration are kept here: the rate asked for lies in the "
            "interval of the one observed. Stricter costs misses; more alarms than asked calls for `calibrate`."
        )
    return Section(
        "What the calibration promises",
        intro,
        tuple(_promise_row(promise) for promise in promises),
        draw_reliability(out_dir / "reliability.png", promises, curves) if promises else (),
        {"promises": [asdict(promise) | {"answer": promise.answer} for promise in promises]},
    )


def _promise_row(promise: Promise) -> Row:
    group = "calibration: two pictures" if promise.size is None else f"calibration: {promise.size} enrolled"
    rate, who = ("FMR", "pairs") if promise.size is None else ("FPIR", "strangers")
    note = f"{promise.answer}; {promise.errors:,} of {promise.trials:,} {who} at similarity {promise.similarity:.3f}"
    if promise.mean is not None:
        note += f"; {100 * promise.mean:.2f} % over many galleries"
    if promise.source == "extrapolated":
        note += "; extrapolated"
    seen = promise.observed
    name = f"{rate} observed, asked {100 * promise.asked:g} %"
    return Row(group, name, seen.value, seen.low, seen.high, note, meaning=MEANINGS["promise"])


# ---------------------------------------------------------------------------------------- comparison


def comparison_section(found: Comparison, out_dir: Path, left_out: int) -> Section:
    """The verdict, and each figure of both. left_out: pictures that only one of the two models could read."""
    rows = [
        Row(
            "against" if each is not found.judge else "against, the judge",
            f"{each.measure}: gain",
            each.gain.value,
            each.gain.low,
            each.gain.high,
            f"{SAID[each.verdict]}: {100 * each.a:.2f} % against {100 * each.b:.2f} %",
            "gain",
            MEANINGS["gain"],
        )
        for each in found.differences
    ]
    common = f"Left out, since only one of them could read it: {left_out:,} of the pictures." if left_out else ""
    return Section(
        f"{found.names[0]} against {found.names[1]}",
        f"{found.sentence} {common}".strip(),
        tuple(rows),
        draw_gains(out_dir / "against.png", found),
        {"comparison": found.to_dict() | {"read_by_one_only": left_out}},
    )


MEANINGS = {
    "FMR": "Share of pairs of two people of the cohort that are taken for one.",
    "FNMR": "Share of pairs of one person's pictures that are not recognised as one.",
    "FPIR": "Share of the cohort's strangers that raise an alarm.",
    "FNIR": "Share of searches for the cohort's enrolled people that miss them.",
    "ratio": "Near 1 is fair. Of many cohorts the extremes are picked, so compare it with what chance alone gives.",
    "promise": "Kept where what was asked for lies in the interval of what was observed.",
    "gain": "How much better the first model is, in points of per cent; below 0 it is worse.",
}
"""What each figure says, in a sentence for the report."""
