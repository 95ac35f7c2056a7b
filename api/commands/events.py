"""`lookalike events`: what happens, as it happens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import complain
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client_events import EventJson, EventSubjectJson

app = typer.Typer(no_args_is_help=True, help="Listen to identifications, enrolments and erasures.")


@app.command()
def tail(
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Of this collection alone.")] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", help="match, unknown, enrolment or erasure; may be repeated.")
    ] = None,
    names: Annotated[bool, typer.Option("--names", help="Tell subjects' ids, not their keys alone.")] = False,
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin after this number; 0 shows all there ever was.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print each event as it happens, until Ctrl-C."""
    with open_client() as client:
        if after is None:
            complain("listening; Ctrl-C ends it")
        for number, found in enumerate(client.events(collection, kinds=event or (), names=names, after=after), 1):
            print(json.dumps(found) if as_json else _line(found), flush=True)
            if number == limit:
                return


def _line(event: EventJson) -> str:
    parts = [event["at"][:19].replace("T", " "), str(event["seq"]), event["collection"] or "-", event["type"]]
    parts += [_who(subject) for subject in event["subjects"]]
    if event["camera"]:
        parts.append(f"camera {event['camera']}")
    if event["unknown"]:
        parts.append(f"{event['unknown']} unknown")
    return "  ".join(parts)


def _who(subject: EventSubjectJson) -> str:
    told = subject["id"] or subject["key"] or "somebody erased"
    if subject["similarity"] is None:
        return told
    rate = "" if subject["fpir"] is None else f", false alarm {subject['fpir']:.1e}"
    return f"{told} ({subject['similarity']:.3f}{rate})"
