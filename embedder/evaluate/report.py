"""Writes an evaluation as a table, plots and one self-contained HTML page.

Plots need matplotlib, the extra `report`; without it the page says that they were left out.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

NO_PLOTS = "The plots were left out: matplotlib is not installed (pip install 'lookalike[report]')."


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. value: None where the data cannot show it; low, high: its 95 % interval.

    kind: "rate", shown in per cent; "gain", a difference of rates in points of per cent; "ratio"; or "count".
    note: what it rests on; meaning: what it says, in a sentence.
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
        return _SHAPES[self.kind](self.value, self.low, self.high)


def _rate(value: float, low: float | None, high: float | None) -> str:
    digits = 2 if max(value, high or 0.0) >= 0.01 else 4  # rates of false matches are small
    if low is None or high is None:
        return f"{100 * value:.{digits}f} %"
    return f"{100 * value:.{digits}f} % ({100 * low:.{digits}f} to {100 * high:.{digits}f})"


def _gain(value: float, low: float | None, high: float | None) -> str:
    return f"{100 * value:+.2f} points ({100 * (low or 0.0):+.2f} to {100 * (high or 0.0):+.2f})"


def _ratio(value: float, low: float | None, high: float | None) -> str:
    if low is None:
        return f"{value:.2f}"
    return f"{value:.2f} ({low:.2f} or more)" if high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


_SHAPES: dict[str, Callable[[float, float | None, float | None], str]] = {"rate": _rate, "gain": _gain, "ratio": _ratio}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report below its table. intro: what it says, in sentences; plots: files that were drawn for it.

    data: what JSON has besides the rows.
    """

    title: str
    intro: str
    rows: tuple[Row, ...]
    plots: tuple[Path, ...] = ()
    data: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "title": self.title,
            "intro": self.intro,
            "rows": [asdict(row) for row in self.rows],
            "plots": [str(plot) for plot in self.plots],
            **self.data,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured and the files it was written to. left_out: pictures with why; note: what the report lacks."""

    title: str
    model: str
    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str], ...]
    files: tuple[Path, ...]
    note: str = ""
    sections: tuple[Section, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "title": self.title,
            "model": self.model,
            "rows": [asdict(row) for row in self.rows],
            "sections": [section.to_dict() for section in self.sections],
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
    plots: Sequence[Path],
    sections: Sequence[Section] = (),
) -> Report:
    """Write report.html and report.json into a folder that exists. plots: drawn already, none without matplotlib."""
    drawn = [*plots, *(plot for section in sections for plot in section.plots)]
    files = (out_dir / "report.html", out_dir / "report.json", *drawn)
    note = "" if plots else NO_PLOTS
    report = Report(title, model, tuple(rows), tuple(left_out), files, note, tuple(sections))
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
    cell = html.escape
    explained: set[str] = set()
    parts = "\n".join(_section(section, explained) for section in report.sections)
    left_out = "\n".join(f"<li>{cell(picture)}: {cell(reason)}</li>" for picture, reason in report.left_out)
    table = _table(report.rows, explained)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Evaluation: {cell(report.title)}</title>
<style>{_STYLE}</style></head>
<body><h1>{cell(report.title)}</h1>
<p>Model: {cell(report.model)}. Intervals are of 95 %, for another draw of people like these.</p>
{table}
{_images(plots) or f"<p>{cell(report.note)}</p>"}
{parts}
<h2>Pictures left out ({len(report.left_out)})</h2>
<ul>
{left_out}
</ul></body></html>
"""


def _section(section: Section, explained: set[str]) -> str:
    intro = html.escape(section.intro)
    table = _table(section.rows, explained)
    return f"<h2>{html.escape(section.title)}</h2>\n<p>{intro}</p>\n{table}\n{_images(section.plots)}"


def _table(rows: Sequence[Row], explained: set[str]) -> str:
    head = "<tr><th>what on</th><th>measure</th><th>value (interval)</th><th>note</th></tr>"
    return "\n".join(["<table>", head, *(_table_row(row, explained) for row in rows), "</table>"])


def _images(plots: Sequence[Path]) -> str:
    return "\n".join(f'<p><img alt="plot: {html.escape(plot.stem)}" src="{_inlined(plot)}"></p>' for plot in plots)


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
