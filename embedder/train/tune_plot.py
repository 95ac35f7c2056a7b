"""Draws a study: what each trial reached, and which values made the difference; nothing where matplotlib is absent."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path


def draw_study(
    path: Path, measure: str, trials: Sequence[tuple[int, float | None]], importance: Mapping[str, float]
) -> bool:
    """Write a PNG. trials: (number, value, None where it was ended early). Says whether it was drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    history, shares = figure.subplots(1, 2)
    complete = [(number, 100 * value) for number, value in trials if value is not None]
    ended = [number for number, value in trials if value is None]
    so_far = [max(value for _, value in complete[: place + 1]) for place in range(len(complete))]
    history.plot([number for number, _ in complete], [value for _, value in complete], "o", label="trial")
    history.step([number for number, _ in complete], so_far, where="post", label="best so far")
    lowest = min((value for _, value in complete), default=0.0)
    if ended:
        history.plot(ended, [lowest] * len(ended), "x", color="grey", label="ended early")
    history.set(xlabel="trial", ylabel=f"{measure}, %", title="What trials reached on their held-out classes")
    history.xaxis.get_major_locator().set_params(integer=True)
    history.legend(loc="best")
    names = sorted(importance, key=lambda name: importance[name])
    shares.barh(names, [100 * importance[name] for name in names])
    shares.set(xlabel="share of the differences between trials, %", title="What mattered", xlim=(0, 100))
    if not names:
        shares.text(50, 0, "too few trials came to their end to say", ha="center")
    figure.savefig(path, dpi=120)
    return True
