"""`lookalike collections export` and `import`: a whole collection, sealed on its way to another deployment.

Both work on the data folder itself: an export is made of everything in it, and the private key that opens one stays
with whoever runs the command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, print_json, progress
from api.commands.session import require_local

if TYPE_CHECKING:
    from lookalike.answers import Caller
    from lookalike.exports import Entry

MAX_KEY_FILE_BYTES = 1000


def export(
    name: Annotated[str, typer.Argument(metavar="COLLECTION")],
    to: Annotated[Path, typer.Option("--to", exists=True, dir_okay=False, help="The recipient's public key.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Write a collection to a file that only the recipient opens, signed by this deployment."""
    from api.wiring import open_services
    from lookalike.errors import BadSettings
    from security.collection_export import seal_export
    from security.recipient import read_recipient
    from security.whole_files import write_whole

    settings, recipient = require_local("collections export"), read_recipient(to)
    if not out.absolute().parent.is_dir():
        raise BadSettings(f"there is no folder {out.absolute().parent}")
    services = open_services(settings)
    try:
        head, entries = services.transfers.begin_export(_caller(), name, recipient.fingerprint)
        counted = _Counted()
        with progress(f"exporting {name}") as show:
            told = counted.told(entries, lambda: show(counted.samples, head.samples))
            write_whole(out, seal_export(head, told, recipient, services.sender), "the export")
    finally:
        services.close()
    left_out = max(0, head.samples - counted.samples)
    if as_json:
        print_json(
            {
                "file": str(out),
                "export": head.id,
                "recipient": recipient.fingerprint,
                "sender": services.sender.public_key.hex(),
                "subjects": counted.subjects,
                "samples": counted.samples,
                "left_out": left_out,
            }
        )
        return
    print(f"wrote {counted.subjects} subjects and {counted.samples} samples of {name} to {out}")
    if left_out:
        print(f"{left_out} samples have no vector that this collection still answers with, and are not in it")
    print(
        f"only the key {recipient.fingerprint} opens it; tell its holder by another way that it comes from\n"
        f"{services.sender.public_key.hex()}"
    )


def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE")],
    key: Annotated[Path, typer.Option("--key", exists=True, dir_okay=False, help="Your private key.")],
    sender: Annotated[str, typer.Option("--sender", help="The sender's public key, 64 hex digits or a file of them.")],
    name: Annotated[str | None, typer.Option("--name", help="A name instead of the one that it has.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Embed the kept pictures with this model.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Even if this export was taken in before.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a collection in that another deployment exported: verified first, then sealed under new keys.

    Run it again after an interruption: it goes on where it stopped.
    """
    from api.wiring import open_services
    from security.collection_export import entries, verify
    from security.recipient import read_recipient_key

    settings, private, trusted = require_local("collections import"), read_recipient_key(key), [_sender_key(sender)]
    with file.open("rb") as source:
        head = verify(source, private, trusted)
        services = open_services(settings)
        try:
            with progress(f"importing {name or head.name}") as show:
                found = entries(source, private, trusted)
                taken = services.transfers.take_in(
                    _caller(), head, found, name=name, model=model, again=again, progress=show
                )
        finally:
            services.close()
    if as_json:
        print_json(asdict(taken))
        return
    print(f"{taken.collection}: {taken.subjects} subjects and {taken.samples} samples, answering with {taken.model}")
    if taken.before:
        print(f"{taken.before} of the samples were taken in before the interruption")
    if taken.embedded:
        print(f"{taken.embedded} samples were embedded anew from their kept pictures")
    if taken.left_out:
        print(f"{taken.left_out} samples have no kept picture to embed, and are not in it")


class _Counted:
    """Counts entries on their way."""

    def __init__(self) -> None:
        self.subjects = 0
        self.samples = 0

    def told(self, entries: Iterator[Entry], tell: Callable[[], None]) -> Iterator[Entry]:
        from lookalike.domain import Subject

        for entry in entries:
            if isinstance(entry, Subject):
                self.subjects += 1
                tell()
            else:
                self.samples += 1
            yield entry


def _caller() -> Caller:
    from api.wiring import local_principal
    from lookalike.answers import Caller

    return Caller(local_principal(), f"local-{os.getpid()}")


def _sender_key(text: str) -> bytes:
    """Raises: BadSettings."""
    from lookalike.errors import BadSettings

    path = Path(text)
    try:
        digits = path.read_text("ascii")[:MAX_KEY_FILE_BYTES] if path.is_file() else text
        key = bytes.fromhex(digits.strip())
    except (OSError, ValueError):
        key = b""
    if len(key) != 32:
        raise BadSettings("--sender: the sender's public key, as `lookalike keys sender` shows it there, is wanted")
    return key
