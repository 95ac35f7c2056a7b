"""`lookalike tls`: the service's own CA and certificate, made before a first start or renewed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, print_json
from api.commands.session import require_local
from api.commands.vault import open_vault
from lookalike.errors import Conflict

if TYPE_CHECKING:
    from lookalike.settings import Settings
    from security.keys import KeyRing
    from security.tls import OwnAuthority

app = typer.Typer(no_args_is_help=True, help="Make and renew the service's own certificates.")


@app.command()
def init(
    replace: Annotated[
        bool, typer.Option(help="Make a new CA although there is one: clients must trust it anew.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the data folder's CA and server certificate, which a first `serve` does by itself."""
    from api.wiring import prepare_folder

    settings = require_local("tls init")
    prepare_folder(settings.data)
    with open_vault(settings) as vault:
        authority = _authority(vault.settings, vault.keyring)
        if authority.ca_path.exists() and not replace:
            raise Conflict("there is a CA already: `lookalike tls renew` keeps it, --replace makes a new one")
        authority.init()
        vault.record("tls.init")
    _say("made a CA and a server certificate", authority, as_json)


@app.command()
def renew(as_json: JsonOption = False) -> None:
    """Make a new server certificate of the same CA; a running service takes it up by itself."""
    with open_vault(require_local("tls renew")) as vault:
        authority = _authority(vault.settings, vault.keyring)
        authority.renew()
        vault.record("tls.renew")
    _say("made a new server certificate", authority, as_json)


def _authority(settings: Settings, keyring: KeyRing) -> OwnAuthority:
    from security.tls import OwnAuthority

    return OwnAuthority(settings.data.absolute() / "tls", keyring, (settings.host, *settings.hosts))


def _say(done: str, authority: OwnAuthority, as_json: bool) -> None:
    if as_json:
        print_json({"ca": str(authority.ca_path)})
    else:
        print(f"{done}; clients trust {authority.ca_path}")
