"""`lookalike enrol`: many people or things at once, from folders, manifests, zip archives or NDJSON."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import closing
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
        list[Path],
        typer.Argument(exists=True, metavar="PATH", help="A folder per subject, a CSV manifest, a zip or NDJSON file."),
    ],
    subject: Annotated[str | None, typer.Option(help="Whose pictures all of them are.")] = None,
    rejected: Annotated[Path, typer.Option(help="Where to list what was not enrolled, and why.")] = Path(
        "rejected.csv"
    ),
    threads: Annotated[int, typer.Option(min=1, max=32, help="Pictures sent at a time.")] = 4,
    job: Annotated[bool, typer.Option("--job", help="Send a zip or NDJSON file and let a job do it.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="With --job: do not wait for its end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Enrol people or things: a folder per subject, a CSV manifest, a zip of either, or NDJSON.

    A manifest has the columns path and subject, and any metadata. Run it again after an interruption: what is enrolled
    already is left as it is.
    """
    if job or detach:
        from api.commands.import_job import run_job

        if len(paths) != 1 or subject is not None:
            raise typer.BadParameter("--job takes one zip archive or NDJSON file, and no --subject")
        run_job(collection, paths[0], rejected, detach=detach, as_json=as_json)
        return
    from api.commands.people import find_people

    with closing(find_people(paths, subject)) as people, open_client() as client:
        outcome = _run(client, collection, people, threads)
    refused = [(str(path), "", "not_in_a_subject_folder") for path in people.misplaced] + [
        (one.label, one.subject, " ".join(one.reasons)) for one in outcome.rejected
    ]
    if refused:
        write_rejected(rejected, refused)
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
            max_bytes=client.limits()["max_image_bytes"],
        )
        done, total = count(1), len(people.pictures)
        with progress("enrolling") as show:
            return enroller.run(people.pictures, threads, lambda: show(next(done), total))
    finally:
        journal.close()


def write_rejected(path: Path, refused: list[tuple[str, str, str]]) -> None:
    """A CSV file of path, subject and reasons."""
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
            {"path": label, "subject": subject, "conflict": dict(conflict)}
            for label, subject, conflict in outcome.conflicts
        ],
        "finished": outcome.stopped is None,
    }


def _print(outcome: Outcome, refused: list[tuple[str, str, str]], rejected: Path) -> None:
    before = f", {outcome.skipped} enrolled before" if outcome.skipped else ""
    where = f": see {rejected}" if refused else ""
    print(f"enrolled {outcome.enrolled} pictures{before}, {len(refused)} rejected{where}")
    show_conflicts(outcome.conflicts, "--json lists all")


def show_conflicts(conflicts: Sequence[tuple[str, str, Mapping[str, object]]], where: str) -> None:
    """A line for each of the first. conflicts: label, subject, and why; where: all of them are."""
    for label, subject, conflict in conflicts[:SHOWN_CONFLICTS]:
        like = conflict.get("subject")
        reason = f"looks like {like!r}" if like else "does not look like the subject's other pictures"
        print(f"look again: {label} ({subject}) {reason}, similarity {conflict.get('similarity'):.2f}")
    if len(conflicts) > SHOWN_CONFLICTS:
        print(f"and {len(conflicts) - SHOWN_CONFLICTS} more such pictures; {where}")
