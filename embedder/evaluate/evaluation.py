"""Evaluates a model on a protocol: the verification table, open-set identification, plots and one HTML page.

Verification compares pictures as `compare` does, probe with probe; identification searches enrolment templates, one
picture a person, as `identify` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.evaluate.identification import OpenSet, fnir_estimate, open_set, rank_one, split_people
from embedder.evaluate.protocol import Protocol, read_protocol
from embedder.evaluate.report import Report, Row, write_report
from embedder.evaluate.vectors import Embedded, Progress, embed
from embedder.evaluate.verification import Curve, accuracy_by_folds, curve_over_all_pairs
from lookalike.errors import InvalidInput
from lookalike.ports import FaceEncoder

FARS = (1e-2, 1e-3, 1e-4, 1e-5)
FPIRS = (0.1, 0.01, 0.003)
FEW = 10
"""With fewer false alarms than this at a rate, the rate is not shown by the data, and the report says so."""


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
    embedded = embed(protocol.pictures, encoder, on_progress)
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
    rows = [
        Row("pictures", "people", float(len(people)), kind="count"),
        Row("pictures", "with a face", float(len(embedded.place)), kind="count"),
        Row("pictures", "left out", float(len(embedded.left_out) + len(protocol.absent)), kind="count"),
    ]
    rows += _by_folds(protocol, embedded)
    curve = curve_over_all_pairs(embedded.probes, embedded.person)
    rows.append(Row("all pairs", "equal error rate", curve.equal_error_rate()))
    rows += [
        Row("all pairs", f"TAR at FAR {far:g}", curve.tar_at(far), note=_few(far * curve.others, "pairs"))
        for far in FARS
    ]
    gallery, strangers = split_people(embedded.person)
    if not len(gallery) or not len(strangers):
        return Measured(tuple(rows), curve, None)
    searches = open_set(embedded.probes, embedded.templates, embedded.person, gallery, strangers)
    return Measured((*rows, *_open_set_rows(searches)), curve, searches)


def _by_folds(protocol: Protocol, embedded: Embedded) -> list[Row]:
    if not protocol.pairs:
        return []
    row = {int(place): i for i, place in enumerate(embedded.place)}
    usable = [pair for pair in protocol.pairs if pair.first in row and pair.second in row]
    same = np.array([pair.same for pair in usable], bool)
    folds = np.array([pair.fold for pair in usable], np.int64)
    if not same.any() or same.all() or len(np.unique(folds)) < 2:
        return []
    first, second = [row[pair.first] for pair in usable], [row[pair.second] for pair in usable]
    scores = np.einsum("ij,ij->i", embedded.probes[first], embedded.probes[second]).astype(np.float64)
    found = accuracy_by_folds(scores, same, folds)
    interval = (found.mean - 1.96 * found.error, min(1.0, found.mean + 1.96 * found.error))
    note = f"{len(usable)} of {len(protocol.pairs)} pairs, {len(found.folds)} folds"
    return [Row("pairs", "accuracy, threshold from the other folds", found.mean, *interval, note=note)]


def _open_set_rows(searches: OpenSet) -> list[Row]:
    strangers = len(searches.stranger_best)
    setting = (
        f"{searches.size} enrolled with one picture, {len(searches.mated_best)} mated and {strangers} stranger probes"
    )
    rows = [Row("open set", "rank-1", rank_one(searches), note=setting)]
    for fpir in FPIRS:
        found = fnir_estimate(searches, fpir)
        note = _few(fpir * strangers, "false alarms")
        rows.append(Row("open set", f"FNIR at FPIR {100 * fpir:g} %", found.value, found.low, found.high, note=note))
    return rows


def _few(expected: float, what: str) -> str:
    return f"only {expected:.1f} {what} to go by" if expected < FEW else ""
