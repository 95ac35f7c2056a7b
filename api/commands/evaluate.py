"""`lookalike evaluate`: measure a model on your own pictures, or one against another, without enrolling anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.commands.output import JsonOption, complain, print_json, print_table, progress
from api.commands.session import require_local

if TYPE_CHECKING:
    from embedder.evaluate.report import Report, Row


def evaluate(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True, metavar="PAIRS|FOLDER", help="LFW's pairs format, or a folder per person or class."
        ),
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Where to write the report and its plots.")] = Path(
        "evaluation"
    ),
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="The folder of people that PAIRS speaks of.")
    ] = None,
    kind: Annotated[
        Literal["face", "image"], typer.Option(help="Faces of people, or whole pictures of classes of things.")
    ] = "face",
    model: Annotated[
        str | None, typer.Option(help="A model as LOOKALIKE_EMBEDDER names it; that one by default.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Compare with this model on the same pictures.")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="A difference that counts as none; 0.01 is a point of per cent.")
    ] = 0.01,
    cohorts: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A CSV with a column person or picture, then cohorts."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure verification and open-set identification, or search among classes: tables, plots and one HTML page."""
    from api.models import load_encoder, shipped_calibration
    from api.wiring import prepare_folder
    from embedder.evaluate.evaluation import Wishes
    from embedder.evaluate.evaluation import evaluate as measure
    from lookalike.domain import Kind

    settings = require_local("evaluate")
    prepare_folder(settings.data)
    encoder = load_encoder(settings, Kind(kind), model)
    wishes = Wishes(
        cohorts=cohorts,
        calibration=shipped_calibration(encoder.space.model) if kind == "face" else None,
        against=None if against is None else (against, load_encoder(settings, Kind(kind), against)),
        margin=margin,
    )
    with progress("embedding") as show:
        report = measure(path, encoder, out, show, pictures=images, kind=kind, wishes=wishes)
    if as_json:
        print_json(report.to_dict())
        return
    _show(report)


def _show(report: Report) -> None:
    """The table and each section's, what was left out, and where the files are."""
    print(f"{report.title}, {report.model}")
    _table(report.rows)
    for section in report.sections:
        print(f"\n{section.title}\n{section.intro}")
        _table(section.rows)
    for picture, reason in report.left_out:
        complain(f"left out {picture}: {reason}")
    if report.note:
        print(report.note)
    for file in report.files:
        print(f"wrote {file}")


def _table(rows: tuple[Row, ...]) -> None:
    columns = ("group", "measure", "value", "note")
    print_table(columns, [(row.group, row.measure, row.shown, row.note) for row in rows])
