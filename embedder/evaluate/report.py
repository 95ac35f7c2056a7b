"""Writes an evaluation as a table, plots and one self-contained HTML page.

Plots need matplotlib, the extra `report`; without it the page says that they were left out.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from embedder.evaluate.identification import OpenSet, fnir_at
from embedder.evaluate.verification import Curve

NO_PLOTS = "The plots were left out: matplotlib is not installed (pip install 'lookalike[report]')."


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. kind: "rate", shown in per cent, or "count"; low, high: its 95 % interval."""

    group: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    kind: str = "rate"

    @property
    def shown(self) -> str:
        if self.kind == "count":
            return f"{self.value:,.0f}"
        if self.low is None or self.high is None:
            return f"{100 * self.value:.2f} %"
        return f"{100 * self.value:.2f} % ({100 * self.low:.2f} to {100 * self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured and the files it was written to. left_out: pictures with why; note: what the report lacks."""

    title: str
    model: str
    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str], ...]
    files: tuple[Path, ...]
    note: str = ""

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "title": self.title,
            "model": self.model,
            "rows": [asdict(row) for row in self.rows],
            "left_out": [{"picture": picture, "reason": reason} for picture, reason in self.left_out],
            "files": [str(file) for file in self.files],
            "note": self.note,
        }


def write_report(
    out_dir: Path,
    *,
    title: str,
    model: str,
    rows: Sequence[Row],
    left_out: Sequence[tuple[str, str]],
    curve: Curve,
    searches: OpenSet | None,
) -> Report:
    """Write report.html, report.json and, with matplotlib, roc.png and det.png into a folder made for them."""
    out_dir.mkdir(parents=True, exist_ok=True)
    plots = _plot(out_dir, curve, searches)
    files = (out_dir / "report.html", out_dir / "report.json", *plots)
    report = Report(title, model, tuple(rows), tuple(left_out), files, "" if plots else NO_PLOTS)
    files[0].write_text(_page(report, plots), "utf-8")
    files[1].write_text(json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")
    return report


# ---------------------------------------------------------------------------------------------- plots


def _plot(out_dir: Path, curve: Curve, searches: OpenSet | None) -> tuple[Path, ...]:
    """roc.png and det.png; nothing where matplotlib is absent."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return ()
    keep = np.flatnonzero(np.diff(curve.far, prepend=2.0) != 0)
    roc, det = out_dir / "roc.png", out_dir / "det.png"
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(np.maximum(curve.far[keep], 0.3 / max(curve.others, 1)), curve.tar[keep])
    axes.set(xscale="log", xlabel="FAR: other pairs accepted", ylabel="TAR: matching pairs accepted", title="ROC")
    axes.grid(alpha=0.3, which="both")
    figure.savefig(roc, dpi=120)
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(curve.far[keep], 1 - curve.tar[keep], label="verification: FRR over FAR")
    if searches is not None:
        rates = np.geomspace(1 / len(searches.stranger_best), 0.5, 40)
        axes.plot(rates, [fnir_at(searches, float(r)) for r in rates], label="identification: FNIR over FPIR")
    axes.set(xscale="log", yscale="log", xlabel="false alarms", ylabel="misses", title="DET")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(det, dpi=120)
    return roc, det


# ---------------------------------------------------------------------------------------------- the page

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #d8dee4;text-align:left}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}small{color:#57606a}img{max-width:100%}
"""


def _page(report: Report, plots: Sequence[Path]) -> str:
    def cell(text: str) -> str:
        return html.escape(text)

    table = "\n".join(
        f'<tr><td>{cell(row.group)}</td><td>{cell(row.measure)}</td><td class="n">{cell(row.shown)}</td>'
        f"<td><small>{cell(row.note)}</small></td></tr>"
        for row in report.rows
    )
    images = "\n".join(f'<p><img alt="{plot.stem.upper()} curve" src="{_inlined(plot)}"></p>' for plot in plots)
    left_out = "\n".join(f"<li>{cell(picture)}: {cell(reason)}</li>" for picture, reason in report.left_out)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Evaluation: {cell(report.title)}</title>
<style>{_STYLE}</style></head><body><h1>{cell(report.title)}</h1><p>Model: {cell(report.model)}. Intervals are of 95 %.</p>
<table><tr><th></th><th>measure</th><th>value</th><th></th></tr>
{table}
</table>
{images or f"<p>{cell(report.note)}</p>"}
<h2>Pictures left out ({len(report.left_out)})</h2>
<ul>
{left_out}
</ul></body></html>
"""


def _inlined(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
