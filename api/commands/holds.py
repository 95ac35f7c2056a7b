"""`lookalike holds`: set, list and lift legal holds."""

from __future__ import annotations

from typing import Annotated

import typer

from api.commands.output import JsonOption, print_json, print_table
from api.commands.session import open_client

app = typer.Typer(no_args_is_help=True, help="Set, list and lift legal holds, which keep records from being erased.")

Collection = Annotated[str, typer.Argument(metavar="COLLECTION")]
Reason = Annotated[str, typer.Option(help="Why, such as a file number; it stands in the audit log.")]


@app.command("set")
def set_(
    collection: Collection,
    reason: Reason,
    subject: Annotated[str | None, typer.Argument(metavar="[SUBJECT]", help="Whom; left out: everybody.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold a subject, or the whole collection: nothing of it is erased or overwritten until the hold is lifted."""
    with open_client() as client:
        hold = client.set_hold(collection, subject, reason)
    if as_json:
        print_json(hold)
    else:
        print(f"on hold; lift it with `lookalike holds lift {collection} {hold['id']} --reason …`")


@app.command("list")
def list_(collection: Collection, as_json: JsonOption = False) -> None:
    """List the holds that are on."""
    with open_client() as client:
        found = client.holds(collection)
    if as_json:
        print_json({"items": found})
        return
    rows = [(hold["id"], hold["subject"] or "(all)", hold["reason"], hold["by"], hold["since"]) for hold in found]
    print_table(("id", "subject", "reason", "by", "since"), rows)


@app.command()
def lift(
    collection: Collection,
    id: Annotated[str, typer.Argument(metavar="ID")],
    reason: Reason,
    as_json: JsonOption = False,
) -> None:
    """Take one hold away; others that are on stay on."""
    with open_client() as client:
        client.lift_hold(collection, id, reason)
    if as_json:
        print_json({"lifted": id})
    else:
        print("lifted")
