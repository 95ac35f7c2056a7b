"""`lookalike drift`: whether what cameras send is still like what it was, in a table and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, print_json, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client_shapes import DriftJson, FindingJson, PeriodJson

DRIFTING = 1


def drift(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION")],
    days: Annotated[
        int | None, typer.Option(min=1, help="Days up to today to compare; today alone by default.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="FROM..TO", help="Compare with these days (UTC) from now on.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="OUT.png", help="Draw each statistic, then and now.")
    ] = None,
    fail: Annotated[bool, typer.Option("--fail", help="Exit with 1 if something moved, for a timer.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the probes of late with a baseline: light, sharpness, poses, similarities, refusals."""
    first, last = _period(baseline) if baseline is not None else ("", "")
    with open_client() as client:
        found = client.choose_baseline(collection, first, last) if baseline is not None else None
        if found is None or days is not None:
            found = client.drift(collection, days=days)
    if plot is not None:
        from api.drift_plot import draw

        draw(plot, found)
    if as_json:
        print_json(found)
    else:
        _show(found)
        if plot is not None:
            print(f"wrote {plot}")
    if fail and found["drifting"]:
        raise typer.Exit(DRIFTING)


def _period(text: str) -> tuple[str, str]:
    first, dots, last = text.partition("..")
    if not (first and dots and last):
        raise typer.BadParameter("--baseline takes FROM..TO, such as 2026-03-01..2026-03-07")
    return first, last


def _show(found: DriftJson) -> None:
    before, now = found["baseline"], found["now"]
    print(f"baseline: {_said(before) if before else 'none yet'}")
    print(f"now: {_said(now) if now else 'no probe was counted'}")
    if found["findings"]:
        columns = ("statistic", "baseline", "now", "values", "PSI", "p", "verdict")
        print_table(columns, [_row(finding) for finding in found["findings"]])
    if found["strangers_psi"] is not None:
        print(f"strangers against the calibration: PSI {found['strangers_psi']:.2f}")
    if before is None:
        missing = f"; {found['waiting_for']} faces are missing" if found["waiting_for"] else ""
        print(f"A baseline is made of the first whole days, three or more, that hold 1,000 faces{missing}.")
    for sentence in found["advice"]:
        print(sentence)


def _said(period: PeriodJson) -> str:
    days = period["first"] if period["first"] == period["last"] else f"{period['first']} to {period['last']}"
    chosen = ", as chosen" if period["source"] == "chosen" else ""
    return f"{days}{chosen}, {period['pictures']} pictures, {period['faces']} faces"


def _row(finding: FindingJson) -> tuple[str, ...]:
    p, psi = finding["p"], finding["psi"]
    return (
        finding["meaning"],
        _value(finding, finding["baseline"]),
        _value(finding, finding["now"]),
        str(finding["now_count"]),
        "–" if psi is None else f"{psi:.2f}",
        "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}",
        finding["verdict"].replace("_", " "),
    )


def _value(finding: FindingJson, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if len(finding["bins"]["now"]) == 2 else f"{value:.3g}"
