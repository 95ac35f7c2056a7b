"""Evaluates a model on a protocol: the verification table, open-set identification, plots and one HTML page.

Verification compares pictures as `compare` does, probe with probe; identification searches enrolment templates, of one
picture a person and then of several, as `identify` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embedder.evaluate.cohorts import read_cohorts
from embedder.evaluate.comparison import MARGIN, Comparison, Kind, compare
from embedder.evaluate.figures import measure_faces, measure_items, rows_of
from embedder.evaluate.intervals import draw_weights
from embedder.evaluate.plots import draw_faces, draw_items
from embedder.evaluate.protocol import Protocol, read_protocol
from embedder.evaluate.report import Report, Row, Section, write_report
from embedder.evaluate.sections import Faces, calibration_section, cohort_sections, comparison_section
from embedder.evaluate.vectors import Embedded, Progress, embed
from embedder.evaluate.verification import DrawnPairs, draw_pairs
from lookalike.calibration import Calibration
from lookalike.domain import Labels
from lookalike.errors import InvalidInput
from lookalike.ports import FaceEncoder


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an evaluation adds to its table. cohorts: a CSV file; calibration: the model's, to be tried.

    against: another model, by name, that reads the same pictures; margin: a difference that counts as none.
    """

    cohorts: Path | None = None
    calibration: Calibration | None = None
    against: tuple[str, FaceEncoder] | None = None
    margin: float = MARGIN


def evaluate(
    path: Path,
    encoder: FaceEncoder,
    out_dir: Path,
    on_progress: Progress | None = None,
    *,
    pictures: Path | None = None,
    kind: Kind = "face",
    wishes: Wishes | None = None,
) -> Report:
    """Measure, and write report.html, report.json and plots. path: a pairs file or a folder of people (or classes).

    pictures: the folder of people that a pairs file speaks of, else found beside it; kind: "image" for whole pictures.
    Raises: InvalidInput where there is nothing to measure.
    """
    wishes = wishes or Wishes()
    protocol = read_protocol(path, pictures)
    cohorts = None if wishes.cohorts is None else read_cohorts(wishes.cohorts)
    if kind == "image" and (protocol.pairs or cohorts is not None):
        raise InvalidInput("pairs and cohorts are of people: items are measured on a folder per class")
    out_dir.mkdir(parents=True, exist_ok=True)  # refused now rather than after the work
    embedded = embed(protocol.pictures, encoder, on_progress, central=protocol.central)
    faces, rows = measure(protocol, embedded, kind)
    sections: list[Section] = []
    if wishes.against is not None:
        name, other = wishes.against
        theirs = embed(protocol.pictures, other, on_progress, central=protocol.central)
        found, lost = _against(protocol, (encoder.space.model, name), embedded, theirs, kind, wishes.margin)
        sections.append(comparison_section(found, out_dir, lost))
    if cohorts is not None:
        sections += cohort_sections(faces, cohorts, out_dir)
    if wishes.calibration is not None:
        sections.append(calibration_section(faces, wishes.calibration, out_dir))
    absent = tuple((name, "absent") for name in protocol.absent)
    measured = faces.measured
    return write_report(
        out_dir,
        title=protocol.name,
        model=f"{encoder.space.model} ({encoder.runtime})",
        rows=rows,
        left_out=(*embedded.left_out, *absent),
        plots=draw_faces(out_dir, measured.curve, measured.searches)
        if measured.retrieval is None
        else draw_items(out_dir, measured.retrieval, measured.curve, measured.searches),
        sections=sections,
    )


def measure(protocol: Protocol, embedded: Embedded, kind: Kind = "face") -> tuple[Faces, tuple[Row, ...]]:
    """Every figure that the protocol allows. Raises: InvalidInput where no two pictures can be compared."""
    people, person, counts = np.unique(embedded.person, return_inverse=True, return_counts=True)
    if len(people) < 2 or counts.max() < 2:
        raise InvalidInput(f"at least two {_WHO[kind]}, and two pictures of one of them, must be readable")
    weights = draw_weights(len(people))
    pairs = listed_pairs(protocol, embedded) if protocol.pairs else None
    if kind == "image":
        measured = measure_items(embedded.probes, embedded.templates, person, weights)
    else:
        chosen = draw_pairs(person) if pairs is None else pairs
        measured = measure_faces(embedded.probes, embedded.templates, person, weights, chosen, len(protocol.pairs))
    shown = [protocol.pictures[place] for place in embedded.place]
    faces = Faces(shown, embedded.probes, embedded.templates, person, pairs, measured, weights)
    return faces, (*_counts(protocol, embedded, len(people), kind), *rows_of(measured.figures))


_WHO: dict[Kind, str] = {"face": "people", "image": "classes"}


def _counts(protocol: Protocol, embedded: Embedded, people: int, kind: Kind) -> tuple[Row, ...]:
    chosen = f"of several, the {'one nearest the centre' if protocol.central else 'largest'} counts"
    read = ("with a face", chosen) if kind == "face" else ("read", "")
    return (
        Row("pictures", _WHO[kind], float(people), kind="count"),
        Row("pictures", read[0], float(len(embedded.place)), kind="count", note=read[1]),
        Row("pictures", "left out", float(len(embedded.left_out) + len(protocol.absent)), kind="count"),
    )


def _against(
    protocol: Protocol, names: tuple[str, str], ours: Embedded, theirs: Embedded, kind: Kind, margin: float
) -> tuple[Comparison, int]:
    """Both models on the pictures that both can read, and how many only one of them can."""
    a, b = only(ours, theirs.place), only(theirs, ours.place)
    found = compare(
        a.probes,
        b.probes,
        a.person,
        kind=kind,
        names=names,
        templates_a=a.templates,
        templates_b=b.templates,
        pairs=listed_pairs(protocol, a) if protocol.pairs else None,
        margin=margin,
    )
    return found, len(ours.place) + len(theirs.place) - 2 * len(a.place)


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


def only(embedded: Embedded, places: Labels) -> Embedded:
    """Without the pictures that are not at these places of the protocol."""
    kept = np.isin(embedded.place, places)
    return replace(
        embedded,
        probes=embedded.probes[kept],
        templates=embedded.templates[kept],
        person=embedded.person[kept],
        place=embedded.place[kept],
    )
