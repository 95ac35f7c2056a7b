"""`lookalike keys rotate` and `keys status`: new versions of keys, another root, and how the keys stand."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, print_json, print_table, progress
from api.commands.session import open_client, require_local

if TYPE_CHECKING:
    from api.client_keys import CollectionKeyJson


def rotate(
    collection: Annotated[str | None, typer.Argument(metavar="COLLECTION", help="All of them by default.")] = None,
    root: Annotated[
        str | None,
        typer.Option(metavar="NEW", help="Move the root instead, to what LOOKALIKE_KEYS is to be from then on."),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="For --root passphrase: the file that holds the new one; asked for otherwise.")
    ] = None,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="For --root: services that run cannot follow, and are started again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Give collections' keys a new version and destroy the old one, while they go on answering; or move the root."""
    if root is not None:
        if collection is not None:
            raise typer.BadParameter("--root moves the root of all collections: name none")
        _move_root(root, passphrase_file, at_once, as_json)
        return
    if passphrase_file is not None or at_once:
        raise typer.BadParameter("--passphrase-file and --at-once go with --root")
    with open_client() as client, progress(f"rotating {collection or 'all collections'}") as told:
        job = client.wait(
            client.rotate_keys(collection),
            on_progress=lambda j: told(j["progress"]["done"], j["progress"]["total"]),
        )
    if as_json:
        print_json(job)
        return
    result = job.get("result")
    if isinstance(result, dict):
        print(f"collections with a new key: {result['collections']}; the old versions are destroyed")


def _move_root(spec: str, passphrase_file: Path | None, at_once: bool, as_json: bool) -> None:
    """On the data folder itself: secrets for the new root are given here, and a service makes no files for others."""
    from api.commands.vault import open_vault
    from api.root_access import new_root_access
    from lookalike.domain import AuditEntry
    from security.root_key import new_root
    from security.root_move import HANDOVER_S, move_root

    settings = require_local("keys rotate --root")
    with open_vault(settings) as vault:
        access = new_root_access(settings, passphrase_file)
        new = new_root(spec, settings.data.absolute(), vault.rows, access)
        entry = AuditEntry("keys.root", f"local:{os.getuid()}", "ok", f"local-{os.getpid()}")
        until = None if at_once else time.time() + HANDOVER_S
        moved = move_root(vault.rows, vault.keyring, vault.audit, new, entry, until=until)
    if as_json:
        print_json({"root": spec, "id": moved.root_id, "before": moved.before.shown, "collections": moved.collections})
        return
    print(f"the root is {spec}, with {moved.collections} collections below it")
    print(f"1. set LOOKALIKE_KEYS={spec} wherever services and commands run on this data: they start with nothing else")
    if until is None:
        print("2. start every service again now: none can follow")
    else:
        print(f"2. services that run go on by themselves; start again what is away for {HANDOVER_S / 60:.0f} minutes")
    print(f"3. make a backup, since older ones need the root before; then destroy that: {moved.before.shown}")


def status(as_json: JsonOption = False) -> None:
    """Show the versions of collections' keys, their ages, whose keys they wrap, and what is due or unfinished."""
    with open_client() as client:
        found = client.key_status()
    if as_json:
        print_json(found)
        return
    root = found["root"]
    print(f"root {root['id']} from {root['shown']}{'' if root['since'] is None else ' since ' + root['since']}")
    if root["handed_over_until"] is not None:
        print(f"until {root['handed_over_until']} services with the root before can still follow to this one")
    rows = [
        (item["collection"], each["version"], each["made_at"], each["subjects"], _state(item, at))
        for item in found["items"]
        for at, each in enumerate(item["versions"])
    ]
    print_table(("collection", "version", "made", "subjects", "state"), rows)


def _state(item: CollectionKeyJson, at: int) -> str:
    if at < len(item["versions"]) - 1:
        return "being replaced: `lookalike keys rotate` goes on"
    if item["strays"]:
        return f"{item['strays']} subjects' keys open with no version"
    if item["due_since"] is not None:
        return f"rotation due since {item['due_since']}: somebody was erased"
    return "in use"
