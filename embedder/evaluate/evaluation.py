"""Evaluates a model on a protocol: the verification table, open-set identification, plots and one HTML page.

Verification compares pictures as `compare` does, probe with probe; identification searches enrolment templates, of one
picture a person and then of several, as `identify` does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedder.evaluate.figures import Measured, measure_faces, rows_of
from embedder.evaluate.intervals import draw_weights
from embedder.evaluate.protocol import Protocol, read_protocol
from embedder.evaluate.report import Report, Row, write_report
from embedder.evaluate.vectors import Embedded, Progress, embed
from embedder.evaluate.verification import DrawnPairs, draw_pairs
from lookalike.errors import InvalidInput
from lookalike.ports import FaceEncoder


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
    rows, measured = measure(protocol, embedded)
    absent = tuple((name, "absent") for name in protocol.absent)
    return write_report(
        out_dir,
        title=protocol.name,
        model=f"{encoder.space.model} ({encoder.runtime})",
        rows=rows,
        left_out=(*embedded.left_out, *absent),
        curve=measured.curve,
        searches=measured.searches,
    )


def measure(protocol: Protocol, embedded: Embedded) -> tuple[tuple[Row, ...], Measured]:
    """Every figure that the protocol allows. Raises: InvalidInput where no two pictures can be compared."""
    people, person, counts = np.unique(embedded.person, return_inverse=True, return_counts=True)
    if len(people) < 2 or counts.max() < 2:
        raise InvalidInput("at least two people, and two pictures of one of them, must show a face")
    pairs = listed_pairs(protocol, embedded) if protocol.pairs else draw_pairs(person)
    measured = measure_faces(
        embedded.probes, embedded.templates, person, draw_weights(len(people)), pairs, len(protocol.pairs)
    )
    return (*_counts(protocol, embedded, len(people)), *rows_of(measured.figures)), measured


def _counts(protocol: Protocol, embedded: Embedded, people: int) -> tuple[Row, ...]:
    chosen = f"of several, the {'one nearest the centre' if protocol.central else 'largest'} counts"
    return (
        Row("pictures", "people", float(people), kind="count"),
        Row("pictures", "with a face", float(len(embedded.place)), kind="count", note=chosen),
        Row("pictures", "left out", float(len(embedded.left_out) + len(protocol.absent)), kind="count"),
    )


def listed_pairs(protocol: Protocol, embedded: Embedded) -> DrawnPairs:
    """Those of the file whose pictures both show a face."""
    row = {int(place): i for i, place in enumerate(embedded.place)}
    usable = [pair for pair in protocol.pairs if pair.first in row and pair.second in row]
    return DrawnPairs(
        np.array([row[pair.first] for pair in usable], np.int64),
        np.array([row[pair.second] for pair in usable], np.int64),
        np.array([pair.same for pair in usable], bool),
        np.array([pair.fold for pair in usable], np.int64),
    )
