"""`lookalike keys`: a key pair for whoever receives sealed files, and the key that this deployment signs them with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.commands.output import JsonOption, print_json
from api.commands.rotation import rotate, status
from api.commands.session import require_local

app = typer.Typer(no_args_is_help=True, help="Rotate keys; keys of those who send and receive sealed files.")
app.command()(rotate)
app.command()(status)


@app.command()
def recipient(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private half goes; FILE.pub is the other.")],
    as_json: JsonOption = False,
) -> None:
    """Make a key pair to receive sealed files with: keep FILE to yourself, give FILE.pub to those who send."""
    from security.recipient import new_recipient_key, recipient_line

    made = new_recipient_key(path).recipient
    if as_json:
        print_json({"private": str(path), "public": f"{path}.pub", "fingerprint": made.fingerprint})
    else:
        print(f"{path} opens what is sealed to {path}.pub: keep the one, give the other away\n{recipient_line(made)}")


@app.command()
def sender(as_json: JsonOption = False) -> None:
    """Show the public key that this deployment signs exports and receipts with, to be told to whoever receives them."""
    from api.commands.vault import open_vault

    with open_vault(require_local("keys sender")) as vault:
        key, deployment = vault.keyring.public_key.hex(), vault.keyring.deployment
    if as_json:
        print_json({"deployment": deployment, "public_key": key})
    else:
        print(key)
