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

from embedder.evaluate.identification import OpenSet
from embedder.evaluate.plots import draw
from embedder.evaluate.verification import Curve

NO_PLOTS = "The plots were left out: matplotlib is not installed (pip install 'lookalike[report]')."


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. value: None where the data cannot show it; low, high: its 95 % interval.

    kind: "rate", shown in per cent, or "count"; note: what it rests on; meaning: what it says, in a sentence.
    """

    group: str
    measure: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    kind: str = "rate"
    meaning: str = ""

    @property
    def shown(self) -> str:
        if self.value is None:
            return "n/a"
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
    """Write report.html, report.json and, with matplotlib, roc.png and det.png into a folder that exists."""
    plots = draw(out_dir, curve, searches)
    files = (out_dir / "report.html", out_dir / "report.json", *plots)
    report = Report(title, model, tuple(rows), tuple(left_out), files, "" if plots else NO_PLOTS)
    files[0].write_text(_page(report, plots), "utf-8")
    files[1].write_text(json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")
    return report


# ---------------------------------------------------------------------------------------------- the page

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;width:100%}
td,th{padding:.3rem .6rem;vertical-align:top;border-bottom:1px solid #d8dee4;text-align:left}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}small{color:#57606a}img{max-width:100%}
"""


def _page(report: Report, plots: Sequence[Path]) -> str:
    def cell(text: str) -> str:
        return html.escape(text)

    explained: set[str] = set()
    table = "\n".join(_table_row(row, explained) for row in report.rows)
    images = "\n".join(f'<p><img alt="{plot.stem.upper()} curve" src="{_inlined(plot)}"></p>' for plot in plots)
    left_out = "\n".join(f"<li>{cell(picture)}: {cell(reason)}</li>" for picture, reason in report.left_out)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Evaluation: {cell(report.title)}</title>
<style>{_STYLE}</style></head>
<body><h1>{cell(report.title)}</h1>
<p>Model: {cell(report.model)}. Intervals are of 95 %.</p>
<table><tr><th>what on</th><th>measure</th><th>value (interval)</th><th>note</th></tr>
{table}
</table>
{images or f"<p>{cell(report.note)}</p>"}
<h2>Pictures left out ({len(report.left_out)})</h2>
<ul>
{left_out}
</ul></body></html>
"""


def _table_row(row: Row, explained: set[str]) -> str:
    """A figure; what it means stands with the first of its kind. explained: added to."""
    meaning = "" if row.meaning in explained else row.meaning
    explained.add(meaning)
    below = f"<br><small>{html.escape(meaning)}</small>" if meaning else ""
    return (
        f"<tr><td>{html.escape(row.group)}</td><td>{html.escape(row.measure)}{below}</td>"
        f'<td class="n">{html.escape(row.shown)}</td><td><small>{html.escape(row.note)}</small></td></tr>'
    )


def _inlined(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
