"""Draws an evaluation as PNG files: curves, cohorts, promises, gains; the one place that knows matplotlib.

The DET curve stands on normal-deviate axes (Martin et al., Eurospeech 1997), on which scores that are normally
distributed give straight lines, so that two models can be told apart where both are good.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from embedder.evaluate.calibration_check import Promise
from embedder.evaluate.comparison import Comparison, points
from embedder.evaluate.identification import OpenSet, fnir_at
from embedder.evaluate.intervals import Estimate, Numbers
from embedder.evaluate.retrieval import Retrieval
from embedder.evaluate.verification import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red")
DEVIATES = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
"""Rates that the axes of the DET curve are marked at."""


def draw_faces(out_dir: Path, curve: Curve, searches: OpenSet | None) -> tuple[Path, ...]:
    """Write roc.png and det.png. Like all here: nothing, and an empty tuple, where matplotlib is not installed."""
    return (
        *_drawn(out_dir / "roc.png", lambda figure: _draw_roc(figure.add_subplot(), curve)),
        *_drawn(out_dir / "det.png", lambda figure: _draw_det(figure.add_subplot(), curve, searches)),
    )


def draw_items(out_dir: Path, found: Retrieval, curve: Curve, searches: OpenSet | None) -> tuple[Path, ...]:
    """Write recall.png and det.png."""
    return (
        *_drawn(out_dir / "recall.png", lambda figure: _draw_recall(figure.add_subplot(), found)),
        *_drawn(out_dir / "det.png", lambda figure: _draw_det(figure.add_subplot(), curve, searches)),
    )


def draw_cohorts(path: Path, column: str, rates: Mapping[str, Mapping[str, Estimate]]) -> tuple[Path, ...]:
    """A panel for each measure, a line for each cohort. rates: measure → cohort → rate."""
    shown = {measure: of for measure, of in rates.items() if of}
    if not shown:
        return ()
    names = sorted({name for of in shown.values() for name in of}, reverse=True)

    def panels(figure: Figure) -> None:
        for axes, (measure, of) in zip(
            np.atleast_1d(figure.subplots(1, len(shown), sharey=True)), shown.items(), strict=True
        ):
            known = [name for name in names if name in of]
            _intervals(axes, [of[name] for name in known], [names.index(name) for name in known], 100.0)
            axes.set_yticks(range(len(names)), [_short(name) for name in names])
            axes.set_ylim(-0.6, len(names) - 0.4)
            axes.set_xlim(left=0)
            axes.set_title(measure)
            axes.set_xlabel("%")
        figure.suptitle(f"Errors at one common threshold, by {_short(column)}, with 95 % intervals", fontsize="medium")

    return _drawn(path, panels, (2.0 + 2.2 * len(shown), 1.6 + 0.4 * len(names)))


def draw_reliability(
    path: Path, promises: Sequence[Promise], curves: Mapping[int | None, tuple[Numbers, Numbers]]
) -> tuple[Path, ...]:
    """Rates observed over rates promised. curves: for each size of gallery, as `promised_curve` gives them."""
    return _drawn(path, lambda figure: _draw_reliability(figure.add_subplot(), promises, curves))


def draw_gains(path: Path, found: Comparison) -> tuple[Path, ...]:
    """The gain of each figure with its interval, zero and the margin marked."""

    def panel(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = list(range(len(found.differences)))[::-1]
        axes.axvspan(-100 * found.margin, 100 * found.margin, color="0.9", label=f"margin, ±{points(found.margin)}")
        axes.axvline(0, color="0.4", linewidth=1)
        _intervals(axes, [each.gain for each in found.differences], places, 100.0)
        axes.set_yticks(places, [each.measure for each in found.differences])
        axes.set_ylim(-0.6, len(places) - 0.4)
        axes.set_xlabel("worse ← points of per cent → better")
        figure.suptitle(f"{_short(found.names[0])} against {_short(found.names[1])}, 95 % intervals", fontsize="medium")
        figure.legend(loc="outside lower center", frameon=False)

    return _drawn(path, panel, (6.4, 2.0 + 0.4 * len(found.differences)))


def _drawn(path: Path, panels: Callable[[Figure], None], size: tuple[float, float] = (6.4, 4.8)) -> tuple[Path, ...]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ()
    figure = Figure(figsize=size, layout="constrained")
    # A rate of zero has no place on a logarithmic axis, so a perfect model leaves it empty: no reason to warn.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        panels(figure)
        figure.savefig(path, dpi=DPI)
    return (path,)


def _intervals(axes: Axes, estimates: Sequence[Estimate], places: Sequence[int], unit: float) -> None:
    """A dot and a bar each, on horizontal lines."""
    values = np.array([each.value for each in estimates])
    below = values - np.array([each.low for each in estimates])
    above = np.array([each.high for each in estimates]) - values
    error = unit * np.maximum(np.stack([below, above]), 0.0)
    axes.errorbar(unit * values, places, xerr=error, fmt="o", color="tab:blue", capsize=3)
    axes.grid(axis="x", alpha=0.3)


def _short(name: str) -> str:
    """At most 24 characters, and none that would begin a formula."""
    return (name if len(name) <= 24 else f"{name[:23]}…").replace("$", r"\$")


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
    lines = [("two pictures: missed pairs (FRR) over FAR", curve.far, 1 - curve.tar)]
    if searches is not None:
        alarms = np.geomspace(1 / len(searches.stranger_best), 0.5, 60)
        missed = np.array([fnir_at(searches, float(rate)) for rate in alarms])
        lines.append(("search: who or what is missed (FNIR) over FPIR", alarms, missed))
    for label, x, y in lines:
        inside = (x > 0) & (x < 1) & (y > 0) & (y < 1)
        axes.plot(deviates(x[inside]), deviates(y[inside]), label=label)
    half = DEVIATES.index(0.5)
    # Misses above a half are shown where there are such searches: most things are harder than faces.
    most = len(DEVIATES) - 1 if lines[-1][2].max() > 0.5 and searches is not None else half
    marks, names = deviates(np.array(DEVIATES)), [f"{100 * rate:g}" for rate in DEVIATES]
    axes.set_xticks(marks[: half + 1], names[: half + 1])
    axes.set_yticks(marks[2 : most + 1], names[2 : most + 1])
    axes.set_xlim(marks[0], marks[half])
    axes.set_ylim(marks[2], marks[most])
    axes.set_title("DET: misses against false alarms")
    axes.set_xlabel("false alarms, % (normal deviates)")
    axes.set_ylabel("misses, % (normal deviates)")
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_recall(axes: Axes, found: Retrieval) -> None:
    ks = np.arange(1, max(2, min(50, found.pictures - 1)) + 1)
    axes.plot(ks, [100 * found.recall_at(int(k)) for k in ks], color="tab:blue")
    axes.set_xscale("log")
    axes.set_xlim(1, ks[-1])
    marks = [k for k in (1, 2, 5, 10, 20, 50) if k <= ks[-1]]
    axes.set_xticks(marks, [str(k) for k in marks])
    axes.set_title("Recall: searches with a right answer among the first k")
    axes.set_xlabel("k, answers looked at")
    axes.set_ylabel("recall at k, %")
    axes.grid(alpha=0.3)


def _draw_reliability(
    axes: Axes, promises: Sequence[Promise], curves: Mapping[int | None, tuple[Numbers, Numbers]]
) -> None:
    least = min(min(each.asked, each.observed.value or 1.0) for each in promises) / 5
    axes.plot([least, 1], [least, 1], color="0.4", linewidth=1, label="as promised")
    axes.fill_between([least, 1], [least / 2, 0.5], [least * 2, 2], color="0.9", label="within a factor of 2")
    for colour, (size, (promised, observed)) in zip(COLOURS, curves.items(), strict=False):
        name = "two pictures: FMR" if size is None else f"{size} enrolled: FPIR"
        axes.plot(promised, observed, color=colour, label=name)
        of_size = [each for each in promises if each.size == size]
        values = np.array([each.observed.value for each in of_size])
        error = np.abs(np.array([[each.observed.low, each.observed.high] for each in of_size]).T - values)
        axes.errorbar([each.asked for each in of_size], values, yerr=error, fmt="o", color=colour, capsize=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(least, 1)
    axes.set_ylim(least, 1)
    axes.set_title("Reliability: strangers matched, promised and observed")
    axes.set_xlabel("rate promised")
    axes.set_ylabel("rate observed")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")


def deviates(rates: Numbers) -> Numbers:
    """How many standard deviations a normal value lies below with these chances. Rates in (0, 1)."""
    return np.array([NormalDist().inv_cdf(float(rate)) for rate in rates], np.float64)
