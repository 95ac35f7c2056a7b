"""`lookalike tune`: look for better values of a configuration, and hear from unseen classes whether they are better."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, complain, print_json, print_table
from api.commands.session import require_local
from api.commands.train import again, stages

if TYPE_CHECKING:
    from embedder.train.tune import Study

OUTER = ("trials", "comparison")


def tune(
    config: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A run's TOML, with a table [tune].")],
    out: Annotated[Path, typer.Option(file_okay=False, help="The study's folder.")] = Path("study"),
    trials: Annotated[int, typer.Option(min=1, help="So many trials in all.")] = 20,
    minutes: Annotated[float, typer.Option(min=0, help="Search no longer than this; 0: no limit.")] = 0.0,
    space: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Another file with the table [tune].")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each side in the comparison at the end.")] = 3,
    pruner: Annotated[str, typer.Option(help="Who ends trials early: median, hyperband or none.")] = "median",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in --out.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Search values within the training classes, then compare the best with the default on classes no trial saw."""
    from embedder.torch_models import require_torch

    settings = require_local("tune")
    for package in ("pytorch_metric_learning", "optuna"):
        require_torch(package)
    from embedder.train.search_space import read_space
    from embedder.train.tune import Plan
    from embedder.train.tune import tune as search

    base, dimensions = read_space(config, space)
    plan = Plan(base, dimensions, trials, minutes, seeds, pruner)
    try:
        with stages() as show:
            study = search(plan, out, settings.data.absolute() / "models", _briefly(show), resume=resume)
    except KeyboardInterrupt:
        asked = {"out": out, "trials": trials, "minutes": minutes, "space": space, "seeds": seeds, "pruner": pruner}
        complain(f"stopped; go on with: {again('tune', str(config), asked)} --resume")
        raise typer.Exit(1) from None
    _tell(study, out, as_json)


def _briefly(show: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """Where lines are written, none for the steps of each trial."""
    return show if sys.stderr.isatty() else lambda what, *of: show(what, *of) if what in OUTER else None


def _tell(study: Study, out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json({**asdict(study), "folder": str(out)})
        return
    mattered = {name: f"{100 * share:.0f} %" for name, share in study.importance.items()}
    rows = [(name, _word(study.default[name]), _word(v), mattered.get(name)) for name, v in study.best.values.items()]
    print_table(("value", "default", f"best, trial {study.best.number}", "mattered"), rows)
    compared = study.comparison
    print_table(
        ("seed", f"default, {compared.measure} %", "tuned, %", "default to no training", "tuned to no training"),
        [(o.seed, f"{100 * o.default:.2f}", f"{100 * o.tuned:.2f}", *o.verdicts) for o in compared.outcomes],
    )
    print(compared.sentence)
    if (out / "study.png").exists():
        print(f"what mattered: {out / 'study.png'}")
    print(f"train with it: lookalike train {out / 'best.toml'}")


def _word(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
