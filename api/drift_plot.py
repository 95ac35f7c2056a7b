"""Draws every statistic of a drift report as a small panel: its bins in the baseline and now, what moved in red."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import BadSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from api.client_shapes import DriftJson, FindingJson

COLUMNS = 4
DPI = 120
_PANEL = (3.6, 2.5)
"""Inches."""


def draw(path: Path, found: DriftJson) -> None:
    """Write a PNG. Raises: BadSettings where matplotlib is not installed, or where there is nothing to draw."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BadSettings("--plot needs matplotlib: pip install 'lookalike[report]'") from error
    panels = [finding for finding in found["findings"] if finding["now_count"]]
    if not panels:
        raise BadSettings("there is nothing to draw yet: no baseline, or no probe to compare with it")
    rows = math.ceil(len(panels) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * _PANEL[0], rows * _PANEL[1] + 0.5), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for ax, finding in zip(axes, panels, strict=False):
        _panel(ax, finding)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    axes[0].legend(fontsize="small", loc="upper left")
    state = "drifting" if found["drifting"] else "as in the baseline"
    figure.suptitle(f"{found['collection']}: {state}")
    figure.savefig(path, dpi=DPI)


def _panel(ax: Axes, finding: FindingJson) -> None:
    bins = finding["bins"]
    places = range(len(bins["now"]))
    moved = finding["verdict"] == "moved"
    ax.bar(places, bins["baseline"], width=1.0, color="lightgrey", label="baseline")
    ax.step(
        [-0.5, *(place + 0.5 for place in places)],
        [bins["now"][0], *bins["now"]],
        color="tab:red" if moved else "tab:blue",
        label="now",
    )
    told = f", PSI {finding['psi']:.2f}" if finding["psi"] is not None else ", too few"
    ax.set_title(f"{finding['meaning']}{told}", fontsize="small", color="tab:red" if moved else "black")
    if len(places) == 2:
        ax.set_xticks([0, 1], ["no", "yes"])
    else:
        step = max(1, len(bins["edges"]) // 5)
        shown = list(enumerate(bins["edges"]))[::step]
        ax.set_xticks([i + 0.5 for i, _ in shown], [f"{edge:g}" for _, edge in shown])
    ax.tick_params(labelsize="x-small")
