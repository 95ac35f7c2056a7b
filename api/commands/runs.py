"""`lookalike runs`: training runs side by side, with what is different between them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api.commands.output import JsonOption, print_json, print_table


def runs(
    folders: Annotated[list[Path], typer.Argument(exists=True, file_okay=False, help="Runs, or folders of runs.")],
    as_json: JsonOption = False,
) -> None:
    """Show what runs reached, how they were judged, and in which values they differ."""
    from embedder.train.runs import different_values, summarise

    found = summarise(folders)
    if as_json:
        print_json([asdict(run) for run in found])
        return
    different = [name for name in different_values(found) if name != "data.folders"]
    rows = [
        (
            run.name,
            *(_word(run.values[name]) for name in different),
            run.steps,
            None if run.loss is None else f"{run.loss:.4f}",
            run.measure,
            _percent(run.first),
            _percent(run.best),
            run.best_step,
            f"{run.seconds:.0f}",
            run.verdict,
            None
            if run.difference is None
            else "{:+.2f} ({:+.2f} to {:+.2f})".format(*(100 * v for v in run.difference)),
        )
        for run in found
    ]
    print_table(
        ("run", *different, "steps", "loss", "measure", "before, %", "best, %", "at step", "seconds", "verdict",
         "points over no training"),
        rows,
    )  # fmt: skip


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f}"


def _word(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"{len(value)} named"
    return f"{value:g}" if isinstance(value, float) else str(value)
