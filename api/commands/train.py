"""`lookalike train`: from a folder of pictures per class, or a configuration, to a judged model that can be packed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
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
    try:
        with stages() as show:
            run = run_recipe(config, out, settings.data.absolute() / "models", show, resume=resume)
            for path, reason in run.left_out:
                complain(f"left out {path}: {reason}")
            show("judging and exporting", 0, 1)
            exported = export_run(run, _command(config, source))
            show("judging and exporting", 1, 1)
    except KeyboardInterrupt:
        complain(f"stopped; go on with: lookalike train {source} --out {out} --resume")
        raise typer.Exit(1) from None
    _tell(exported.verdict, exported.folder, out, as_json)


def _tell(verdict: Verdict, folder: Path, out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json({**asdict(verdict), "export": str(folder)})
        return
    rows = [(name, *(f"{100 * value:.2f}" for value in values)) for name, values in verdict.table.items()]
    if rows:
        print_table(("on classes kept apart, %", *verdict.names), rows)
    print(verdict.sentence)
    print(f"curves: tensorboard --logdir {out}")
    print(f"pack it: lookalike models pack {folder} --key KEY --out {out.name}.lkb (lookalike models keygen makes KEY)")


def _command(config: TrainConfig, source: Path) -> str:
    """What gives this run again. Only names: where things lay is nobody's business."""
    return f"lookalike train {source.name} --seed {config.seed}"


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
