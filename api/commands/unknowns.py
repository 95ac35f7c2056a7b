"""`lookalike unknowns`: who was seen and matched nobody, and what to do about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from api.commands.output import JsonOption, print_json, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client import Client
    from api.client_unknowns import UnknownJson

app = typer.Typer(no_args_is_help=True, help="List, show, enrol, dismiss and erase faces that matched nobody.")

_MOMENTS: Final = ("first_seen", "last_seen", "expires_at")

Collection = Annotated[str, typer.Argument(metavar="COLLECTION")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Of `lookalike unknowns list`; its beginning will do.")]


@app.command("list")
def list_(
    collection: Collection,
    dismissed: Annotated[bool, typer.Option("--dismissed", help="Those that were dismissed instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List who was seen and matches nobody enrolled, those seen most often first."""
    with open_client() as client:
        found = [row for row, _ in zip(client.unknowns(collection, dismissed=dismissed), range(limit), strict=False)]
        keeps = client.collection(collection).get("keep_unknown_days")
    if as_json:
        print_json({"items": found})
        return
    rows = [(row["id"], _often(row), row["visits"], *(_minute(row[at]) for at in _MOMENTS)) for row in found]
    print_table(("id", "seen", "visits", "first seen (UTC)", "last seen", "forgotten"), rows)
    if keeps is None:
        print(f"{collection} keeps no unknown faces: `lookalike collections change {collection} --keep-unknown DAYS`")


@app.command()
def show(
    collection: Collection,
    id: Id,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, metavar="FOLDER", help="Write the kept faces here as JPEG.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one of them, and write out the faces that are kept."""
    with open_client() as client:
        row = _found(client, collection, id)
        written = [] if out is None else _write(client, collection, row, out)
    if as_json:
        print_json({**row, "written": [str(path) for path in written]})
        return
    facts = {key: value for key, value in row.items() if key != "faces"} | {"faces": len(row["faces"])}
    print_table(("field", "value"), list(facts.items()))
    for path in written:
        print(f"written {path}")


@app.command()
def enrol(
    collection: Collection,
    id: Id,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="Whose samples they become, old or new.")],
    as_json: JsonOption = False,
) -> None:
    """Make the faces that are kept of somebody unknown samples of a subject."""
    with open_client() as client:
        done = client.enrol_unknown(collection, _found(client, collection, id)["id"], subject)
    if as_json:
        print_json(done)
    else:
        print(f"enrolled {done['subject']} with {len(done['samples'])} pictures")


@app.command()
def dismiss(collection: Collection, id: Id) -> None:
    """Drop the pictures and list this person no more, also when seen again, until the retention time ends."""
    with open_client() as client:
        client.dismiss_unknown(collection, _found(client, collection, id)["id"])
    print("dismissed")


@app.command()
def erase(collection: Collection, id: Id) -> None:
    """Forget this person altogether; when seen again it is a new row."""
    with open_client() as client:
        client.erase_unknown(collection, _found(client, collection, id)["id"])
    print("erased")


def _found(client: Client, collection: str, id: str) -> UnknownJson:
    """The row of an id, or the only one whose id begins so. Raises: ClientError, typer.BadParameter."""
    if len(id) == 32:
        return client.unknown(collection, id)
    both = (client.unknowns(collection), client.unknowns(collection, dismissed=True))
    found = [row for rows in both for row in rows if id and row["id"].startswith(id)]
    if len(found) > 1:
        raise typer.BadParameter(f"{len(found)} ids begin so: give more of it", param_hint="ID")
    return found[0] if found else client.unknown(collection, id)


def _write(client: Client, collection: str, row: UnknownJson, out: Path) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for number, face in enumerate((face for face in row["faces"] if face["has_crop"]), 1):
        path = out / f"unknown-{row['id'][:8]}-{number}.jpg"
        path.write_bytes(client.unknown_crop(collection, row["id"], face["id"]))
        written.append(path)
    return written


def _often(row: UnknownJson) -> str:
    return "once" if row["seen"] == 1 else f"{row['seen']} times"


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")
