"""`lookalike keys rotate` and `keys status`: new versions of collections' keys, and how the keys stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, print_json, print_table, progress
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client_keys import CollectionKeyJson


def rotate(
    collection: Annotated[str | None, typer.Argument(metavar="[COLLECTION]", help="All of them by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Give collections' keys a new version and destroy the old one, while they go on answering."""
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


def status(as_json: JsonOption = False) -> None:
    """Show the versions of collections' keys, their ages, whose keys they wrap, and what is due or unfinished."""
    with open_client() as client:
        found = client.key_status()
    if as_json:
        print_json(found)
        return
    root = found["root"]
    print(f"root {root['id']}")
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
