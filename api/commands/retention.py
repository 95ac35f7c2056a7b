"""`lookalike retention`: how long people are kept and on what consent, who is past that, and erasing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, complain, print_json, print_receipt, print_table, progress
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client import Client
    from api.client_privacy import RetentionJson

app = typer.Typer(no_args_is_help=True, help="Show, set and carry out how long people are kept, and on what consent.")

Collection = Annotated[str, typer.Argument(metavar="COLLECTION")]


@app.command()
def show(collection: Collection, as_json: JsonOption = False) -> None:
    """Show the rules of a collection, and how its people stand by them now."""
    with open_client() as client:
        found = client.retention(collection)
    _print(found, as_json)


@app.command("set")
def set_(
    collection: Collection,
    days: Annotated[
        int | None,
        typer.Option(min=0, help="Erase people so long after they were last enrolled or renewed; 0 for never."),
    ] = None,
    require_consent: Annotated[
        bool | None,
        typer.Option("--require-consent/--no-require-consent", help="Enrol and recognise nobody without consent."),
    ] = None,
    erase_expired_consent: Annotated[
        bool | None,
        typer.Option(
            "--erase-expired-consent/--flag-expired-consent",
            help="What becomes of people whose consent expired: erased by the next job, or kept as no candidates.",
        ),
    ] = None,
    four_eyes: Annotated[
        int | None,
        typer.Option(min=0, help="Let identifications wait for two people, kept so many days; 0 where one is enough."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change the rules; what is not given stays as it is."""
    with open_client() as client:
        given = {} if days is None else {"retention_days": days or None}
        given |= {} if four_eyes is None else {"four_eyes_days": four_eyes or None}
        found = client.set_retention(
            collection, require_consent=require_consent, erase_expired_consent=erase_expired_consent, **given
        )
    _print(found, as_json)


@app.command()
def run(
    collection: Collection,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say who would be erased, and erase nobody.")] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Go on although many go at once, or the clock made a leap.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase whoever is past the rules now, without waiting for the service's daily job."""
    with open_client() as client:
        if dry_run:
            found = client.retention(collection)
            if as_json:
                print_json(found)
            else:
                _print_due(found)
            return
        result = _run(client, collection, confirm)
    if as_json:
        print_json(result)
    elif result["paused"]:
        complain(f"nobody was erased: {result['due']} are due, and the job waits for --confirm ({result['paused']})")
    else:
        kept = f", {result['held']} kept by a legal hold" if result["held"] else ""
        print(
            f"erased {result['erased']} of {result['due']} that were due{kept}; their receipts stand in the audit log"
        )


@app.command()
def receipts(
    collection: Collection,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Write them here, as JSON, one a line.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give the signed receipts of whom the rules erased, which go with the collection when it is deleted."""
    with open_client() as client:
        found = client.retention_receipts(collection)
    if out is not None:
        out.write_text("".join(json.dumps(receipt) + "\n" for receipt in found), "utf-8")
    if as_json:
        print_json({"items": found})
    elif out is not None:
        print(f"written {out}: {len(found)} receipts")
    else:
        for receipt in found:
            print_receipt(receipt)


def _run(client: Client, collection: str, confirm: bool) -> dict[str, object]:
    with progress("erasing") as bar:
        job = client.wait(
            client.run_retention(collection, confirm=confirm),
            on_progress=lambda job: bar(job["progress"]["done"], job["progress"]["total"]),
        )
    result = job.get("result")
    return dict(result) if isinstance(result, dict) else {}


def _print(found: RetentionJson, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rules = [
        ("kept for", "ever" if found["retention_days"] is None else f"{found['retention_days']} days"),
        ("consent", "required" if found["require_consent"] else "not required"),
        ("expired consent", "erased" if found["erase_expired_consent"] else "flagged: kept, and no candidate"),
        ("confirmed by", "one" if found["four_eyes_days"] is None else f"two, kept {found['four_eyes_days']} days"),
    ]
    counts = [
        ("subjects", found["subjects"]),
        ("due", _words(found["due"])),
        ("due, but on hold", found["held"]),
        ("flagged", _words(found["flagged"])),
        ("nobody else is due before", found["next_at"]),
        ("last erased", f"{found['last_erased']} at {found['last_run_at']}" if found["last_run_at"] else None),
        ("waits for --confirm", found["waits_for"]),
    ]
    print_table(("rule or count", "value"), [*rules, *counts])


def _print_due(found: RetentionJson) -> None:
    rows = [(due["subject"], due["why"], due.get("since")) for due in found["would_erase"]]
    print_table(("subject", "why", "since"), rows)
    more = sum(found["due"].values()) - len(rows)
    if more:
        print(f"and {more} more")
    if found["waits_for"]:
        print(f"the job waits for --confirm ({found['waits_for']})")


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in sorted(counts.items())) or "none"
