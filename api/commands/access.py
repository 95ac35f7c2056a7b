"""`lookalike api-keys`: make, list and revoke the keys that programs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, print_json, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client_shapes import GrantJson

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What or whom the key is for.")],
    grant: Annotated[
        list[str], typer.Option(help="ROLE on all collections, or ROLE:COLLECTION on one; may be repeated.")
    ],
    expires_days: Annotated[int | None, typer.Option(help="Days until it stops working.")] = None,
    aws: Annotated[bool, typer.Option("--aws", help="Give it a pair of AWS-style secrets too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Create a key. It is shown this once."""
    with open_client() as client:
        made = client.create_api_key(name, [_grant(text) for text in grant], expires_days=expires_days, aws=aws)
    if as_json:
        print_json(made)
        return
    for field, value in made.items():
        print(f"{field} {value}")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the keys; the keys themselves are not kept and cannot be shown."""
    with open_client() as client:
        found = list(client.api_keys())
    if as_json:
        print_json({"items": found})
        return
    rows = [
        (key["id"], key["name"], ", ".join(_text(grant) for grant in key["grants"]), key.get("expires_at"))
        for key in found
    ]
    print_table(("id", "name", "grants", "expires"), rows)


@app.command()
def revoke(id: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False) -> None:
    """Revoke a key."""
    with open_client() as client:
        client.revoke_api_key(id)
    if as_json:
        print_json({"revoked": id})
    else:
        print(f"revoked {id}")


def _grant(text: str) -> GrantJson:
    role, _, collection = text.partition(":")
    return {"role": role, "collection": collection} if collection else {"role": role}


def _text(grant: GrantJson) -> str:
    collection = grant.get("collection")
    return f"{grant['role']}:{collection}" if collection else grant["role"]
