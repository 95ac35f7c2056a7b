"""`lookalike jobs` and `calibrate`: work that takes a while, and the wait for it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, print_json, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client_shapes import JobJson

HARDLY_REACHED = 0.999
"""A similarity that only a picture and itself have."""

app = typer.Typer(no_args_is_help=True, help="List, show and cancel jobs.")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the jobs, newest first."""
    with open_client() as client:
        found = list(client.jobs())
    if as_json:
        print_json({"items": found})
        return
    rows = [(job["id"], job["kind"], job.get("collection") or "–", job["state"], _how_far(job)) for job in found]
    print_table(("id", "kind", "collection", "state", "progress"), rows)


@app.command()
def show(id: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False) -> None:
    """Show one job."""
    with open_client() as client:
        job = client.job(id)
    if as_json:
        print_json(job)
    else:
        print_table(("field", "value"), list(_facts(job)))


def _how_far(job: JobJson) -> str:
    return f"{job['progress']['done']}/{job['progress']['total']}"


def _facts(job: JobJson) -> Iterator[tuple[str, object]]:
    """A job as rows; what a part of it holds is a row each."""
    for name, value in job.items():
        if name == "progress":
            progress = job["progress"]
            yield "progress", _how_far(job)
            if (rate := progress.get("per_second")) is not None:
                yield "a second", rate
            if (left := progress.get("seconds_left")) is not None:
                yield "time left", str(datetime.timedelta(seconds=round(left)))
        elif isinstance(value, dict):
            yield from ((f"{name}: {part}".replace("_", " "), inner) for part, inner in value.items())
        else:
            yield name, value


@app.command()
def cancel(id: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False) -> None:
    """End a job: at once if it waits, within seconds if it runs."""
    with open_client() as client:
        job = client.cancel_job(id)
    if as_json:
        print_json(job)
    else:
        print(f"{job['id']} {'is ending' if job['state'] == 'running' else job['state']}")


@app.command()
def rejected(
    id: Annotated[str, typer.Argument(metavar="ID")],
    out: Annotated[Path | None, typer.Option(help="Write those that were refused to this file, as CSV.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what an import refused and why, and what is worth a second look."""
    from api.commands.enrol import write_rejected

    with open_client() as client:
        found = list(client.rejected(id))
    refused = [(item["path"], item["subject"], " ".join(item["reasons"])) for item in found if item["reasons"]]
    if out is not None:
        write_rejected(out, refused)
    if as_json:
        print_json({"items": found})
    elif out is not None:
        print(f"{len(refused)} refused: see {out}")
    else:
        print_table(("path", "subject", "reasons"), refused)


def calibrate(collection: Annotated[str, typer.Argument(metavar="COLLECTION")], as_json: JsonOption = False) -> None:
    """Learn a collection's thresholds from its own non-matching pairs, and wait for the end."""
    with open_client() as client:
        job = client.wait(client.calibrate(collection))
    if as_json:
        print_json(job)
        return
    result = job.get("result")
    print(f"calibrated {collection}")
    if isinstance(result, dict):
        before, after = result["before"], result["after"]
        was = "none" if before["source"] == "uncalibrated" else f"{before['similarity']:.3f}"
        print(
            f"learned from {result['subjects']} subjects and {result['pairs']} pairs; threshold "
            f"{was} before, {after['similarity']:.3f} now"
        )
        if after["similarity"] >= HARDLY_REACHED:
            print(
                f"hardly anything reaches that: so few subjects cannot show what a rate of {after['target_fpir']:g} "
                "takes; ask for a higher one with --fpir"
            )
