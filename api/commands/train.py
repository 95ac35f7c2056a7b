"""`lookalike train`: from a folder of pictures per class, or a configuration, to a judged model that can be packed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, complain, print_json, print_table
from api.commands.session import require_local

if TYPE_CHECKING:
    from embedder.train.config import TrainConfig
    from embedder.train.judge import Verdict


def train(
    source: Annotated[Path, typer.Argument(exists=True, metavar="CONFIG|FOLDER", help="TOML, or a folder per class.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="The run's folder.")] = Path("run"),
    kind: Annotated[str, typer.Option(help="For a FOLDER: image, or face for photos of people.")] = "image",
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop training after so long; 0: never.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="At most so many steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Everything drawn by chance follows from it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train with triplet loss, judge on classes kept apart, and export what was measured."""
    from embedder.torch_models import require_torch

    settings = require_local("train")
    require_torch("pytorch_metric_learning")
    from embedder.train.config import changed, read_config, recipe_for
    from embedder.train.export import export_run
    from embedder.train.recipe import train as run_recipe

    config = recipe_for(source, kind) if source.is_dir() else read_config(source)
    asked = {"optimiser__minutes": minutes, "optimiser__steps": steps, "seed": seed}
    config = changed(config, **{name: value for name, value in asked.items() if value is not None})
    options = {"kind": kind if source.is_dir() else None, "minutes": minutes, "steps": steps, "seed": seed}
    try:
        with stages() as show:
            run = run_recipe(config, out, settings.data.absolute() / "models", show, resume=resume)
            for path, reason in run.left_out:
                complain(f"left out {path}: {reason}")
            show("judging and exporting", 0, 1)
            # Only names: where things lay is nobody's business.
            exported = export_run(run, again("train", source.name, options | {"seed": config.seed}))
            show("judging and exporting", 1, 1)
    except KeyboardInterrupt:
        complain(f"stopped; go on with: {again('train', str(source), options | {'out': out})} --resume")
        raise typer.Exit(1) from None
    if run.steps < config.optimiser.steps:
        complain(_why_it_ended(config, run.steps, run.worked_s))
    _tell(exported.verdict, exported.folder, out, as_json)


def _why_it_ended(config: TrainConfig, steps: int, worked_s: float) -> str:
    """Of a run that ended before its last step."""
    ended = f"training ended after {steps} of {config.optimiser.steps} steps: "
    minutes = config.optimiser.minutes
    if minutes and worked_s >= 60 * minutes:
        return f"{ended}its {minutes:g} minutes were used up; more of --minutes goes on with --resume"
    return f"{ended}{config.optimiser.patience} evaluations in a row brought nothing more"


def _tell(verdict: Verdict, folder: Path, out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json({**asdict(verdict), "export": str(folder)})
        return
    rows = [(name, *(f"{100 * value:.2f}" for value in values)) for name, values in verdict.table.items()]
    if rows:
        print_table(("on classes kept apart, %", *verdict.names), rows)
    print(verdict.sentence)
    print(f"curves: tensorboard --logdir {shlex.quote(str(out))}")
    print(f"use it here: lookalike models import {shlex.quote(str(folder))}")
    print(f"or carry it elsewhere: {again('models pack', str(folder), {'out': f'{out.name}.lkb'})}")


def again(command: str, source: str, options: Mapping[str, object]) -> str:
    """What a user would type. options: by name, None for one that was not given."""
    given = [f"--{name} {shlex.quote(f'{value}')}" for name, value in options.items() if value is not None]
    return " ".join([f"lookalike {command}", shlex.quote(source), *given])


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage on a terminal; elsewhere a line of stderr now and then."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, object] = {}
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        yield show


def _lines() -> Callable[[str, int, int], None]:
    """Tells each tenth of a stage."""
    told: dict[str, int] = {}

    def show(what: str, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if told.get(what) != tenth:
            told[what] = tenth
            print(f"{what}: {done} of {total}", file=sys.stderr)

    return show
