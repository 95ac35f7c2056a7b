"""`lookalike webhooks`: where events are sent, how far each receiver is, and sending them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, complain, print_json, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client_events import WebhookJson

app = typer.Typer(no_args_is_help=True, help="Manage the receivers that events are sent to.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Of `lookalike webhooks list`.")]


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://HOST/PATH, of a host that the settings allow.")],
    collection: Annotated[
        list[str] | None, typer.Option("--collection", "-c", help="Of this collection; may be repeated; all if none.")
    ] = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", help="match, unknown, enrolment or erasure; may be repeated.")
    ] = None,
    names: Annotated[bool, typer.Option("--names", help="Tell the receiver subjects' ids.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Have events sent to a receiver from now on, and print the secret that signs them."""
    with open_client() as client:
        made = client.create_webhook(url, collections=collection or None, kinds=event or (), names=names)
    if as_json:
        print_json(made)
        return
    print(made["id"])
    print(made["secret"])
    complain("give the secret, which is shown this once, to the receiver: it verifies deliveries with it")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the receivers, and how far each is."""
    with open_client() as client:
        found = client.webhooks()
    if as_json:
        print_json({"items": found})
        return
    rows = [
        (w["id"], w["url"], ",".join(w["collections"] or ["*"]), ",".join(w["events"]), _state(w), w["seq"])
        for w in found
    ]
    print_table(("id", "url", "collections", "events", "state", "sent up to"), rows)


@app.command()
def show(id: Id, as_json: JsonOption = False) -> None:
    """Show one receiver."""
    with open_client() as client:
        found = client.webhook(id)
    _print(found, as_json)


@app.command("test")
def try_(id: Id, as_json: JsonOption = False) -> None:
    """Send a receiver an event of type test, and print what it answered."""
    with open_client() as client:
        tried = client.try_webhook(id)
    if as_json:
        print_json(tried)
    elif tried["error"] is None:
        print(f"taken: it answered {tried['status']} after {tried['took_ms']:.0f} ms")
    if tried["error"] is not None:
        complain(f"not taken: {tried['error']}")
        raise typer.Exit(1)


@app.command()
def replay(
    id: Id,
    after: Annotated[
        int | None, typer.Option(min=0, help="All events after this number; without it from the first given up on.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send events again."""
    with open_client() as client:
        found = client.replay_webhook(id, after)
    _print(found, as_json)


@app.command()
def pause(id: Id, as_json: JsonOption = False) -> None:
    """Send a receiver nothing until it is resumed; what happens meanwhile waits."""
    with open_client() as client:
        found = client.pause_webhook(id)
    _print(found, as_json)


@app.command()
def resume(id: Id, as_json: JsonOption = False) -> None:
    """Go on sending, also where a receiver was not reached and would be tried later."""
    with open_client() as client:
        found = client.pause_webhook(id, False)
    _print(found, as_json)


@app.command()
def delete(id: Id) -> None:
    """Send a receiver nothing any more."""
    with open_client() as client:
        client.delete_webhook(id)
    print("deleted")


def _print(found: WebhookJson, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    given_up = found["given_up"]
    facts = {**found, "collections": ", ".join(found["collections"] or ["all"]), "events": ", ".join(found["events"])}
    print_table(("field", "value"), list({**facts, "given_up": f"{len(given_up)} events"}.items()))


def _state(webhook: WebhookJson) -> str:
    if webhook["paused"]:
        return "paused"
    if webhook["error"] is not None:
        return f"waits: {webhook['error']}"
    return f"{len(webhook['given_up'])} given up" if webhook["given_up"] else "well"
