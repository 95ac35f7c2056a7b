"""`lookalike collections`: create, list, show, export, import and delete galleries."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands import transfers
from api.commands.output import JsonOption, print_json, print_receipt, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client_shapes import CollectionJson

app = typer.Typer(no_args_is_help=True, help="Create, list, show, export, import and delete collections.")
app.command("export")(transfers.export)
app.command("import")(transfers.import_)

Name = Annotated[str, typer.Argument(metavar="COLLECTION")]


class KeepChoice(StrEnum):
    """What is kept of an enrolled picture besides its vector."""

    none = "none"
    crop = "crop"
    image = "image"


class KindChoice(StrEnum):
    """What a collection holds."""

    face = "face"
    image = "image"


@app.command()
def create(
    name: Name,
    kind: Annotated[KindChoice, typer.Option(help="What it holds.")] = KindChoice.face,
    model: Annotated[str | None, typer.Option(help="Its model; `lookalike models list` names them.")] = None,
    keep: Annotated[KeepChoice, typer.Option(help="What to keep, sealed, of a picture.")] = KeepChoice.crop,
    target_fpir: Annotated[float, typer.Option(help="Share of strangers that may be taken for someone.")] = 0.01,
    retention_days: Annotated[int | None, typer.Option(help="Erase subjects after so many days.")] = None,
    keep_unknown: Annotated[
        int | None, typer.Option(metavar="DAYS", help="Keep faces that match nobody, sealed, so many days.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a collection."""
    with open_client() as client:
        made = client.create_collection(
            name,
            kind=kind.value,
            keep=keep.value,
            target_fpir=target_fpir,
            retention_days=retention_days,
            model=model,
            keep_unknown_days=keep_unknown,
        )
    if as_json:
        print_json(made)
    else:
        what = "people" if kind is KindChoice.face else "things"
        print(f"created {made['name']}: enrol {what} with `lookalike enrol {made['name']} FOLDER`")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the collections."""
    with open_client() as client:
        found = list(client.collections())
    if as_json:
        print_json({"items": found})
    else:
        print_table(("name", "kind", "subjects", "samples", "keep", "target FPIR", "calibration"), _rows(found))


@app.command()
def show(name: Name, as_json: JsonOption = False) -> None:
    """Show a collection's policy, how much is in it, and how its index answers."""
    with open_client() as client:
        found = client.collection(name)
    if as_json:
        print_json(found)
    else:
        print_table(("field", "value"), list(_readable(found).items()))


@app.command()
def change(
    name: Name,
    keep: Annotated[KeepChoice | None, typer.Option(help="What to keep, sealed, of a picture from now on.")] = None,
    target_fpir: Annotated[float | None, typer.Option(help="Share of strangers that may be taken for someone.")] = None,
    keep_unknown: Annotated[
        int | None,
        typer.Option(min=0, metavar="DAYS", help="Keep faces that match nobody so many days; 0 erases them and stops."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change a collection's policy; what is not given stays as it is."""
    with open_client() as client:
        given = {} if keep_unknown is None else {"keep_unknown_days": keep_unknown or None}
        found = client.update_collection(
            name, keep=None if keep is None else keep.value, target_fpir=target_fpir, **given
        )
    if as_json:
        print_json(found)
    else:
        print_table(("field", "value"), list(_readable(found).items()))


@app.command()
def delete(name: Name, as_json: JsonOption = False) -> None:
    """Destroy a collection with all its subjects, and print the signed receipt."""
    with open_client() as client:
        receipt = client.delete_collection(name)
    if as_json:
        print_json({"deleted": name, "receipt": receipt})
        return
    print(f"deleted {name}")
    if receipt is not None:
        print_receipt(receipt)


def _readable(found: CollectionJson) -> dict[str, object]:
    """The collection with its other generations and the state of its index in words."""
    words = [
        f"{g['id']}: {g['model']}, {g['state']}{' until ' + g['until'] if 'until' in g else ''}"
        for g in found.get("generations", [])
    ]
    shown = {**found, "generations": "; ".join(words) or "none besides"}
    state = found.get("index_state")
    if state is not None:
        size = f"{state['memory_bytes'] / 1e6:,.1f} MB" if state["memory_bytes"] else "none in this process"
        if disk := state.get("disk_bytes"):
            size += f", and {disk / 1e6:,.1f} MB sealed on disk"
        shown |= {
            "index_state": f"{state['structure']}: {state['why']}",
            "  rows": f"{state['rows']:,}, and {state['removed']:,} removed ones that still take room",
            "  memory": f"{size}; parts: {state['parts']}",
            "  next change": state["next_change"],
        }
    return shown


def _rows(found: list[CollectionJson]) -> list[tuple[object, ...]]:
    return [
        (c["name"], c["kind"], c["subjects"], c["samples"], c["keep"], c["target_fpir"], c.get("calibration"))
        for c in found
    ]
