"""Evaluates a model on a protocol: the verification table, open-set identification, plots and one HTML page.

Verification compares pictures as `compare` does, probe with probe; identification searches enrolment templates, of one
picture a person and then of several, as `identify` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.evaluate.identification import OpenSet, exact_interval, fnir_estimate, open_set, rank_one, split_people
from embedder.evaluate.protocol import Protocol, read_protocol
from embedder.evaluate.report import Report, Row, write_report
from embedder.evaluate.vectors import Embedded, Progress, embed
from embedder.evaluate.verification import Curve, DrawnPairs, accuracy_by_folds, curve_over_all_pairs, draw_pairs
from lookalike.errors import InvalidInput
from lookalike.ports import FaceEncoder

FARS = (1e-2, 1e-3, 1e-4, 1e-5)
FPIRS = (0.1, 0.01, 0.003)
FEWEST_PAIRS = 10
"""A TAR is stated only where at least so many pairs of different people lie beyond its FAR."""

FEWEST_ALARMS, FEW_ALARMS = 3, 10
"""A FNIR is stated only where so many strangers may raise an alarm, and with a warning below the second number."""

SEVERAL = 3
"""Pictures enrolled of each person, at most, in the second open-set table."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A table with the curves behind it."""

    rows: tuple[Row, ...]
    curve: Curve
    searches: OpenSet | None


def evaluate(
    path: Path,
    encoder: FaceEncoder,
    out_dir: Path,
    on_progress: Progress | None = None,
    *,
    pictures: Path | None = None,
) -> Report:
    """Measure, and write report.html, report.json, roc.png and det.png. path: a pairs file or a folder of people.

    pictures: the folder of people that a pairs file speaks of, else found beside it.
    Raises: InvalidInput where there is nothing to measure.
    """
    protocol = read_protocol(path, pictures)
    out_dir.mkdir(parents=True, exist_ok=True)  # refused now rather than after the work
    embedded = embed(protocol.pictures, encoder, on_progress, central=protocol.central)
    measured = measure(protocol, embedded)
    absent = tuple((name, "absent") for name in protocol.absent)
    return write_report(
        out_dir,
        title=protocol.name,
        model=f"{encoder.space.model} ({encoder.runtime})",
        rows=measured.rows,
        left_out=(*embedded.left_out, *absent),
        curve=measured.curve,
        searches=measured.searches,
    )


def measure(protocol: Protocol, embedded: Embedded) -> Measured:
    """Every figure that the protocol allows. Raises: InvalidInput where no two pictures can be compared."""
    people, counts = np.unique(embedded.person, return_counts=True)
    if len(people) < 2 or counts.max() < 2:
        raise InvalidInput("at least two people, and two pictures of one of them, must show a face")
    chosen = f"of several, the {'one nearest the centre' if protocol.central else 'largest'} counts"
    rows = [
        Row("pictures", "people", float(len(people)), kind="count"),
        Row("pictures", "with a face", float(len(embedded.place)), kind="count", note=chosen),
        Row("pictures", "left out", float(len(embedded.left_out) + len(protocol.absent)), kind="count"),
    ]
    curve = curve_over_all_pairs(embedded.probes, embedded.person)
    rows += [_accuracy_row(protocol, embedded), *_all_pairs_rows(curve)]
    searches = None
    for samples in (1, SEVERAL) if counts.max() > 2 else (1,):
        gallery, strangers = split_people(embedded.person, samples=samples)
        if not len(gallery) or not len(strangers):
            break
        found = open_set(embedded.probes, embedded.templates, embedded.person, gallery, strangers)
        if not len(found.mated_best):
            break
        searches = searches or found
        rows += _open_set_rows(found, samples)
    return Measured(tuple(rows), curve, searches)


def _accuracy_row(protocol: Protocol, embedded: Embedded) -> Row:
    """On the protocol's pairs, or on pairs drawn from a folder's people."""
    pairs = _listed_pairs(protocol, embedded) if protocol.pairs else draw_pairs(embedded.person)
    name = "accuracy, threshold from the other folds"
    if pairs is None or not pairs.same.any() or pairs.same.all() or len(np.unique(pairs.fold)) < 2:
        return Row("pairs", name, None, note="too few people for two folds", meaning=MEANINGS["accuracy"])
    compared = embedded.probes[pairs.first] * embedded.probes[pairs.second]
    found = accuracy_by_folds(compared.sum(axis=1).astype(np.float64), pairs.same, pairs.fold)
    interval = (max(0.0, found.mean - 1.96 * found.error), min(1.0, found.mean + 1.96 * found.error))
    if found.mean == 1.0:  # folds without a mistake do not differ, yet say no more than so many pairs can
        interval = exact_interval(len(pairs.same), len(pairs.same))
    listed = f"of {len(protocol.pairs)} listed" if protocol.pairs else "drawn from the folder"
    note = f"{len(pairs.same)} pairs {listed}, {len(found.folds)} folds"
    return Row("pairs", name, found.mean, *interval, note=note, meaning=MEANINGS["accuracy"])


def _listed_pairs(protocol: Protocol, embedded: Embedded) -> DrawnPairs:
    """Those of the file whose pictures both show a face."""
    row = {int(place): i for i, place in enumerate(embedded.place)}
    usable = [pair for pair in protocol.pairs if pair.first in row and pair.second in row]
    return DrawnPairs(
        np.array([row[pair.first] for pair in usable], np.int64),
        np.array([row[pair.second] for pair in usable], np.int64),
        np.array([pair.same for pair in usable], bool),
        np.array([pair.fold for pair in usable], np.int64),
    )


def _all_pairs_rows(curve: Curve) -> list[Row]:
    pairs = f"{curve.matching:,} pairs of one person, {curve.others:,} of two"
    rows = [Row("all pairs", "equal error rate", curve.equal_error_rate(), note=pairs, meaning=MEANINGS["eer"])]
    for far in FARS:
        beyond = far * curve.others
        shown = beyond >= FEWEST_PAIRS
        note = "" if shown else f"only {beyond:.1f} pairs of two people lie beyond: too few to say"
        value = curve.tar_at(far) if shown else None
        rows.append(Row("all pairs", f"TAR at FAR {_plain(far)}", value, note=note, meaning=MEANINGS["tar"]))
    return rows


def _open_set_rows(searches: OpenSet, samples: int) -> list[Row]:
    strangers = len(searches.stranger_best)
    group = "open set" if samples == 1 else f"open set, up to {samples} pictures"
    setting = f"{searches.size} people enrolled, {len(searches.mated_best)} mated and {strangers} stranger probes"
    rows = [Row(group, "rank-1", rank_one(searches), note=setting, meaning=MEANINGS["rank-1"])]
    for fpir in FPIRS:
        name, alarms = f"FNIR at FPIR {100 * fpir:g} %", fpir * strangers
        if alarms < FEWEST_ALARMS:
            note = f"{alarms:.1f} strangers would be alarms: too few to say"
            rows.append(Row(group, name, None, note=note, meaning=MEANINGS["fnir"]))
            continue
        found = fnir_estimate(searches, fpir)
        note = f"only {alarms:.1f} alarms to go by" if alarms < FEW_ALARMS else ""
        rows.append(Row(group, name, found.value, found.low, found.high, note, meaning=MEANINGS["fnir"]))
    return rows


def _plain(rate: float) -> str:
    """1e-05 as 0.00001."""
    return f"{rate:.6f}".rstrip("0")


MEANINGS = {
    "accuracy": "Share of pairs rightly called one person or two, by the similarity that was best on the other folds.",
    "eer": "Where as many pairs of one person are missed as pairs of two are accepted; lower is better.",
    "tar": "Share of pairs of one person accepted when this share of pairs of different people is accepted too.",
    "rank-1": "Share of searches for an enrolled person in which that person comes first, whatever the threshold.",
    "fnir": "Share of searches for an enrolled person that miss them when this share of strangers raises an alarm.",
}
"""What each figure says, in a sentence for the report."""
