"""`lookalike pending`: identifications that wait for two people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, print_json, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client import Client
    from api.client_pending import PendingJson, ReviewJson

app = typer.Typer(no_args_is_help=True, help="List, review, confirm and reject identifications that wait for two.")

Collection = Annotated[str, typer.Argument(metavar="COLLECTION")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Of `lookalike identify` or `lookalike pending list`.")]


@app.command("list")
def list_(
    collection: Collection,
    everything: Annotated[bool, typer.Option("--all", help="Those that are decided too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what waits for two people, the newest first."""
    with open_client() as client:
        found = [row for row in client.pending(collection) if everything or row["state"] == "pending"]
    if as_json:
        print_json({"items": found})
        return
    rows = [
        (row["id"], row["state"], _count(row), _minute(row["created_at"]), _minute(row["expires_at"])) for row in found
    ]
    print_table(("id", "state", "confirmed by", "searched (UTC)", "forgotten"), rows)


@app.command()
def show(collection: Collection, id: Id, as_json: JsonOption = False) -> None:
    """Say how one stands, and who it is once two people confirmed it."""
    with open_client() as client:
        _print(client.one_pending(collection, id), as_json)


@app.command()
def review(
    collection: Collection,
    id: Id,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, metavar="FOLDER", help="Write the faces here, to be put side by side."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the candidates to whoever is to confirm one of them."""
    with open_client() as client:
        found = client.review_pending(collection, id)
        written = [] if out is None else _write(client, collection, found, out)
    if as_json:
        print_json({**found, "written": [str(path) for path in written]})
        return
    rows = [
        (c["subject"], f"{c['similarity']:.3f}", "not known" if c["fpir"] is None else f"{c['fpir']:.2g}")
        for c in found["candidates"]
    ]
    print_table(("candidate", "similarity", "fpir"), rows)
    for path in written:
        print(f"written {path}")


@app.command()
def confirm(
    collection: Collection,
    id: Id,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="Which of the candidates it is.")],
    as_json: JsonOption = False,
) -> None:
    """Say which candidate it is; the second person who names the same confirms it."""
    with open_client() as client:
        _print(client.confirm_pending(collection, id, subject), as_json)


@app.command()
def reject(collection: Collection, id: Id, as_json: JsonOption = False) -> None:
    """Say that it is none of the candidates."""
    with open_client() as client:
        _print(client.reject_pending(collection, id), as_json)


def _write(client: Client, collection: str, found: ReviewJson, out: Path) -> list[Path]:
    """The face that was seen, then each candidate's that is kept. Files bear numbers: a name may be a person's."""
    from api.client_sending import ClientError

    out.mkdir(parents=True, exist_ok=True)
    seen = out / f"pending-{found['id'][:8]}-seen.jpg"
    seen.write_bytes(client.pending_face(collection, found["id"]))
    written = [seen]
    for number, candidate in enumerate(found["candidates"], 1):
        path = out / f"pending-{found['id'][:8]}-candidate-{number}.jpg"
        try:
            path.write_bytes(client.pending_face(collection, found["id"], candidate["subject"]))
        except ClientError as error:
            if error.status != 404:
                raise
            continue
        written.append(path)
    return written


def _print(row: PendingJson, as_json: bool) -> None:
    if as_json:
        print_json(row)
    elif "subject" in row:
        print(f"{row['state']}: {row['subject']}, similarity {row['similarity']:.3f}")
    else:
        so_far = f", confirmed by {_count(row)} people" if row["state"] == "pending" else ""
        print(f"{row['state']}{so_far}; forgotten at {_minute(row['expires_at'])} UTC")


def _count(row: PendingJson) -> str:
    return f"{row['confirmations']} of {row['needed']}"


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")
