"""Draws the ROC and DET curves of an evaluation as PNG files; the one place that knows matplotlib.

The DET curve stands on normal-deviate axes (Martin et al., Eurospeech 1997), on which scores that are normally
distributed give straight lines, so that two models can be told apart where both are good.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from embedder.evaluate.identification import OpenSet, fnir_at
from embedder.evaluate.intervals import Numbers
from embedder.evaluate.verification import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 120
DEVIATES = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5)
"""Rates that the axes of the DET curve are marked at."""


def draw(out_dir: Path, curve: Curve, searches: OpenSet | None) -> tuple[Path, ...]:
    """Write roc.png and det.png. Nothing, and an empty tuple, where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ()
    roc, det = out_dir / "roc.png", out_dir / "det.png"
    # A rate of zero has no place on either plot, so a perfect model leaves an empty one: no reason to warn.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figures = [Figure(figsize=(6.4, 4.8), layout="constrained") for _ in range(2)]
        _draw_roc(figures[0].add_subplot(), curve)
        _draw_det(figures[1].add_subplot(), curve, searches)
        for path, figure in zip((roc, det), figures, strict=True):
            figure.savefig(path, dpi=DPI)
    return roc, det


def _draw_roc(axes: Axes, curve: Curve) -> None:
    least = 1 / max(curve.others, 1)
    seen = curve.far > 0
    axes.plot(curve.far[seen], 100 * curve.tar[seen], color="tab:blue")
    axes.set_xscale("log")
    axes.set_xlim(least, 1)
    axes.set_title("ROC: pairs of one person accepted, against pairs of two")
    axes.set_xlabel("FAR: share of pairs of different people accepted")
    axes.set_ylabel("TAR: share of pairs of one person accepted, %")
    axes.grid(alpha=0.3)


def _draw_det(axes: Axes, curve: Curve, searches: OpenSet | None) -> None:
    lines = [("verification: missed pairs (FRR) over FAR", curve.far, 1 - curve.tar)]
    if searches is not None:
        alarms = np.geomspace(1 / len(searches.stranger_best), 0.5, 60)
        missed = np.array([fnir_at(searches, float(rate)) for rate in alarms])
        lines.append(("identification: missed people (FNIR) over FPIR", alarms, missed))
    for label, x, y in lines:
        inside = (x > 0) & (x < 1) & (y > 0) & (y < 1)
        axes.plot(deviates(x[inside]), deviates(y[inside]), label=label)
    marks, names = deviates(np.array(DEVIATES)), [f"{100 * rate:g}" for rate in DEVIATES]
    axes.set_xticks(marks, names)
    axes.set_yticks(marks[2:], names[2:])
    axes.set_xlim(marks[0], marks[-1])
    axes.set_ylim(marks[2], marks[-1])
    axes.set_title("DET: misses against false alarms")
    axes.set_xlabel("false alarms, % (normal deviates)")
    axes.set_ylabel("misses, % (normal deviates)")
    axes.grid(alpha=0.3)
    axes.legend()


def deviates(rates: Numbers) -> Numbers:
    """How many standard deviations a normal value lies below with these chances. Rates in (0, 1)."""
    return np.array([NormalDist().inv_cdf(float(rate)) for rate in rates], np.float64)
