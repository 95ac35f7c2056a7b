"""`lookalike subjects`: what is kept of one person or thing, and what becomes of it."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, print_json, print_receipt, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client_shapes import ConsentJson, SubjectJson

app = typer.Typer(no_args_is_help=True, help="Show one person's record, and keep to what was promised of it.")

Collection = Annotated[str, typer.Argument(metavar="COLLECTION")]
Subject = Annotated[str, typer.Argument(metavar="SUBJECT")]


@app.command()
def show(collection: Collection, subject: Subject, as_json: JsonOption = False) -> None:
    """Show what is known of a subject."""
    with open_client() as client:
        found = client.subject(collection, subject)
    _print(found, as_json)


@app.command()
def renew(collection: Collection, subject: Subject, as_json: JsonOption = False) -> None:
    """Say that a subject is still to be kept: its retention time begins anew."""
    with open_client() as client:
        found = client.renew(collection, subject)
    _print(found, as_json)


@app.command()
def consent(
    collection: Collection,
    subject: Subject,
    basis: Annotated[str, typer.Option(help="What it rests on, such as consent or contract.")],
    reference: Annotated[str, typer.Option(help="Where the paper is, say a file number.")] = "",
    expires: Annotated[
        str | None, typer.Option(metavar="DATE", help="Until when, ISO 8601; a date holds that day.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write down a subject's consent in the place of the one before."""
    given: ConsentJson = {"basis": basis, "reference": reference, "expires_at": expires}
    with open_client() as client:
        found = client.give_consent(collection, subject, given)
    _print(found, as_json)


@app.command()
def withdraw(collection: Collection, subject: Subject, as_json: JsonOption = False) -> None:
    """Take a subject's consent back: it is erased, unless a legal hold keeps the record for now."""
    with open_client() as client:
        done = client.withdraw_consent(collection, subject)
    if as_json:
        print_json(done)
    elif "receipt" in done:
        print_receipt(done["receipt"])
    else:
        print("withdrawn: recognised no more, and erased once the legal hold is lifted")


@app.command()
def rename(
    collection: Collection,
    subject: Subject,
    new: Annotated[str, typer.Argument(metavar="NEW")],
    as_json: JsonOption = False,
) -> None:
    """Give a subject another name; nothing else changes, and the old name is in no record any more."""
    with open_client() as client:
        found = client.rename(collection, subject, new)
    _print(found, as_json)


@app.command()
def move(
    collection: Collection,
    subject: Subject,
    sample: Annotated[str, typer.Argument(metavar="SAMPLE", help="Of `lookalike subjects show`.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="Whose it is, old or new.")],
    as_json: JsonOption = False,
) -> None:
    """Make a picture that was enrolled under the wrong subject the right one's."""
    with open_client() as client:
        moved = client.move_sample(collection, subject, sample, to)
    if as_json:
        print_json(moved)
    else:
        print("moved")


@app.command()
def export(
    collection: Collection,
    subject: Subject,
    out: Annotated[Path, typer.Option(dir_okay=False, metavar="FILE.zip", help="A file that is not there yet.")],
    as_json: JsonOption = False,
) -> None:
    """Write all that is kept of a subject into a zip, to answer an access request."""
    with open_client() as client:
        data = client.export_subject(collection, subject)
    with contextlib.closing(zipfile.ZipFile(io.BytesIO(data))) as archive:
        names = archive.namelist()
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    if as_json:
        print_json({"file": str(out), "bytes": len(data), "files": names})
    else:
        print(
            f"written {out}: {len(names)} files; unpack it and open index.html, and look through it before it goes out"
        )


def _print(found: SubjectJson, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    facts = {name: value for name, value in found.items() if name not in ("metadata", "consent", "samples")}
    facts |= {f"metadata.{name}": value for name, value in found["metadata"].items()}
    facts |= {f"consent.{name}": value for name, value in (found.get("consent") or {}).items()}
    if "samples" in found:
        facts["samples"] = ", ".join(sample["id"] for sample in found["samples"]) or "none"
    print_table(("field", "value"), list(facts.items()))
