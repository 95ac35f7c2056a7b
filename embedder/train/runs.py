"""Reads what finished and unfinished runs left in their folders, to stand side by side; needs nothing of torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder.train.config import config_from, to_dict
from embedder.train.measures import MAIN
from lookalike.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class RunSummary:
    """name: of its folder, below what was asked for; values: of its configuration, by name; measure: what chose its
    best moment; first, best: of that measure before training and at its best; loss: the last; verdict: None where it
    was not judged; difference: to the best of what costs no training, with low and high."""

    name: str
    values: dict[str, object]
    measure: str
    steps: int
    first: float | None
    best: float | None
    best_step: int | None
    loss: float | None
    seconds: float
    verdict: str | None
    difference: tuple[float, float, float] | None


def summarise(folders: Sequence[Path]) -> tuple[RunSummary, ...]:
    """Every run in or below these folders. Raises: InvalidInput where there is none."""
    found = [
        _summary(config.parent, str(config.parent.relative_to(folder.parent)))
        for folder in (Path(folder).absolute() for folder in folders)
        for config in sorted(folder.rglob("config.json"))
        if (config.parent / "log.jsonl").exists()
    ]
    if not found:
        raise InvalidInput("there is no run in or below that folder: a run has config.json and log.jsonl")
    return tuple(found)


def different_values(runs: Sequence[RunSummary]) -> tuple[str, ...]:
    """The names of what is not the same in all these runs' configurations."""
    return tuple(name for name in runs[0].values if len({repr(run.values.get(name)) for run in runs}) > 1)


def _summary(folder: Path, name: str) -> RunSummary:
    try:
        config = config_from(json.loads((folder / "config.json").read_text("utf-8")))
        rows = [json.loads(line) for line in _whole_lines(folder / "log.jsonl")]
    except ValueError as error:
        raise InvalidInput(f"{name}: config.json or log.jsonl is damaged") from error
    measure = config.select or MAIN[config.data.kind]
    measured = [row for row in rows if measure in row]
    best = max(measured, key=lambda row: float(row[measure]), default=None)
    last = rows[-1] if rows else {}
    verdict = _verdict(folder / "verdict.json")
    return RunSummary(
        name=name,
        values=_flat(to_dict(config)),
        measure=measure,
        steps=int(last.get("step", 0)),
        first=float(measured[0][measure]) if measured else None,
        best=float(best[measure]) if best else None,
        best_step=int(best["step"]) if best else None,
        loss=last.get("loss"),
        seconds=float(last.get("seconds", 0.0)),
        verdict=verdict[0],
        difference=verdict[1],
    )


def _whole_lines(path: Path) -> list[str]:
    """Without one that is being written just now."""
    text = path.read_text("utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


def _verdict(path: Path) -> tuple[str | None, tuple[float, float, float] | None]:
    if not path.exists():
        return None, None
    written = json.loads(path.read_text("utf-8"))
    difference = written["differences"].get(written["measure"])
    return written["word"], tuple(difference) if difference else None


def _flat(table: dict[str, object], where: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in table.items():
        found |= _flat(value, f"{where}{name}.") if isinstance(value, dict) else {f"{where}{name}": value}
    return found
