"""`lookalike enrol`: many people or things at once, from folders or a manifest."""

from __future__ import annotations

import csv
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, complain, print_json, progress
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client import Client
    from api.commands.enrolment import Outcome
    from api.commands.people import People

SHOWN_CONFLICTS = 10


def enrol(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION")],
    paths: Annotated[
        list[Path], typer.Argument(exists=True, metavar="PATH", help="A folder per subject, or a CSV manifest.")
    ],
    subject: Annotated[str | None, typer.Option(help="Whose pictures all of them are.")] = None,
    rejected: Annotated[Path, typer.Option(help="Where to list what was not enrolled, and why.")] = Path(
        "rejected.csv"
    ),
    threads: Annotated[int, typer.Option(min=1, max=32, help="Pictures sent at a time.")] = 4,
    as_json: JsonOption = False,
) -> None:
    """Enrol people or things: a folder per subject, or a CSV with the columns path, subject and any metadata.

    Run it again after an interruption: what is enrolled already is left as it is.
    """
    from api.commands.people import find_people

    people = find_people(paths, subject)
    with open_client() as client:
        outcome = _run(client, collection, people, threads)
    refused = [(str(path), "", "not_in_a_subject_folder") for path in people.misplaced] + [
        (str(one.picture.path), one.picture.subject, " ".join(one.reasons)) for one in outcome.rejected
    ]
    if refused:
        _write_rejected(rejected, refused)
    if as_json:
        print_json(_document(collection, outcome, refused, rejected))
    else:
        _print(outcome, refused, rejected)
    if outcome.stopped is not None:
        complain(f"stopped ({outcome.stopped or 'interrupted'}): run the same command again to go on where it stopped")
        raise typer.Exit(1)
    if refused and not outcome.enrolled + outcome.skipped:
        complain(f"no picture could be enrolled; {rejected} says why")
        raise typer.Exit(1)


def _run(client: Client, collection: str, people: People, threads: int) -> Outcome:
    from api.client import ClientError
    from api.commands.enrolment import Enroller
    from api.commands.journal import Journal, journal_path

    try:
        found = client.collection(collection)
    except ClientError as error:
        if error.code != "collection_not_found":
            raise
        hint = f"there is no collection {collection!r}: make it with `lookalike collections create {collection}`"
        raise ClientError(error.code, error.status, hint, error.request_id) from error
    identity = f"{collection} {found.get('created_at')}"
    journal = Journal(journal_path(identity))
    try:
        enroller = Enroller(
            client,
            collection,
            identity,
            journal,
            metadata=people.metadata,
            max_bytes=client.limits()["max_image_bytes"],
        )
        done, total = count(1), len(people.pictures)
        with progress("enrolling") as show:
            return enroller.run(people.pictures, threads, lambda: show(next(done), total))
    finally:
        journal.close()


def _write_rejected(path: Path, refused: list[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "subject", "reasons"))
        writer.writerows(refused)


def _document(
    collection: str, outcome: Outcome, refused: list[tuple[str, str, str]], rejected: Path
) -> dict[str, object]:
    return {
        "collection": collection,
        "enrolled": outcome.enrolled,
        "skipped": outcome.skipped,
        "rejected": [
            {"path": path, "subject": subject, "reasons": reasons.split()} for path, subject, reasons in refused
        ],
        "rejected_csv": str(rejected) if refused else None,
        "conflicts": [
            {"path": str(picture.path), "subject": picture.subject, "conflict": dict(conflict)}
            for picture, conflict in outcome.conflicts
        ],
        "finished": outcome.stopped is None,
    }


def _print(outcome: Outcome, refused: list[tuple[str, str, str]], rejected: Path) -> None:
    before = f", {outcome.skipped} enrolled before" if outcome.skipped else ""
    where = f": see {rejected}" if refused else ""
    print(f"enrolled {outcome.enrolled} pictures{before}, {len(refused)} rejected{where}")
    for picture, conflict in outcome.conflicts[:SHOWN_CONFLICTS]:
        like = conflict.get("subject")
        reason = f"looks like {like!r}" if like else "does not look like the subject's other pictures"
        print(f"look again: {picture.path} ({picture.subject}) {reason}, similarity {conflict.get('similarity'):.2f}")
    if len(outcome.conflicts) > SHOWN_CONFLICTS:
        print(f"and {len(outcome.conflicts) - SHOWN_CONFLICTS} more such pictures; --json lists all")
