"""`lookalike evaluate`: measure the model on your own pictures, without enrolling anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.commands.output import JsonOption, complain, print_json, print_table, progress
from api.commands.session import require_local


def evaluate(
    path: Annotated[
        Path, typer.Argument(exists=True, metavar="PAIRS|FOLDER", help="LFW's pairs format, or a folder per person.")
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Where to write the report and its plots.")] = Path(
        "evaluation"
    ),
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="The folder of people that PAIRS speaks of.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure verification and open-set identification: tables here, plots and one HTML page in a folder."""
    from api.models import load_face_encoder
    from api.wiring import prepare_folder
    from embedder.evaluate.evaluation import evaluate as measure

    settings = require_local("evaluate")
    prepare_folder(settings.data)
    with progress("embedding") as show:
        report = measure(path, load_face_encoder(settings), out, show, pictures=images)
    if as_json:
        print_json(report.to_dict())
        return
    print(f"{report.title}, {report.model}")
    print_table(
        ("group", "measure", "value", "note"), [(row.group, row.measure, row.shown, row.note) for row in report.rows]
    )
    for picture, reason in report.left_out:
        complain(f"left out {picture}: {reason}")
    if report.note:
        print(report.note)
    for file in report.files:
        print(f"wrote {file}")
