"""`lookalike audit`: prove that the log is whole, sign it, say how it stands, and write it out for others."""

from __future__ import annotations

import enum
import json
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, complain, print_json
from api.commands.session import require_local
from api.commands.vault import open_vault

if TYPE_CHECKING:
    from security.audit_check import AuditReport

app = typer.Typer(no_args_is_help=True, help="Verify and export the audit log of the data folder.")

CheckpointsOption = Annotated[
    list[Path] | None,
    typer.Option(exists=True, dir_okay=False, help="A file of signed checkpoints kept elsewhere; may be given again."),
]


class Format(enum.StrEnum):
    """How an export is written."""

    JSON = "json"
    CEF = "cef"
    SEALED = "sealed"


@app.command()
def verify(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", exists=True, dir_okay=False, help="An export to check instead of the log."),
    ] = None,
    checkpoints: CheckpointsOption = None,
    public_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Check with this public key alone: hex, or a file that holds it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every entry's seal, the chain and the tree over all of them, the signed checkpoints, and the ledger.

    With --public-key neither a root key nor the data folder's owner is needed, and nothing is written: entries stay
    sealed, and all else is checked. An export is always checked so.
    """
    lines = _lines(checkpoints or [])
    ledger: int | None = None
    if file is not None:
        if public_key is None:
            raise typer.BadParameter("an export is checked with --public-key, as `lookalike audit key` shows it")
        report = _verify_export(file, _key(public_key), lines)
    elif public_key is not None:
        report = _verify_rows(_key(public_key), lines)
    else:
        with open_vault(require_local("audit verify")) as vault:
            ledger = vault.ledger.verify()
            report = vault.audit.verify(lines)
            vault.record("audit.verify", "ok" if report.sound else "tampered_data")
    _tell(report, ledger, as_json)


def _tell(report: AuditReport, ledger: int | None, as_json: bool) -> None:
    if as_json:
        print_json({"sound": report.sound, **asdict(report), "ledger_lines": ledger})
    elif report.sound:
        print(
            f"sound: {report.entries} entries in one chain, "
            f"{report.checkpoints} signed checkpoints cover the first {report.covered}"
        )
        print(f"root {report.root}")
        if ledger is not None:
            print(f"the ledger is sound: {ledger} lines in one chain")
        if report.lost:
            print(f"{report.lost} checkpoints are of entries that a restore from a backup left behind")
    if not report.sound:
        complain(f"the audit log is broken at entry {report.broken_at}: {report.reason} (tampered_data)")
        raise typer.Exit(1)


def _verify_export(file: Path, key: bytes, lines: list[bytes]) -> AuditReport:
    from security.export_check import verify_export

    with file.open("rb") as held:
        return verify_export((line.rstrip(b"\n") for line in held), key, lines)


def _verify_rows(key: bytes, lines: list[bytes]) -> AuditReport:
    from api.record_store import open_rows
    from lookalike.errors import BadSettings
    from security.audit_check import verify_rows

    settings = require_local("audit verify")
    if not settings.data.is_dir():
        raise BadSettings(f"there is no data folder at {settings.data.absolute()}: set LOOKALIKE_DATA")
    with open_rows(settings) as rows, rows.snapshot() as reader:
        return verify_rows(reader, key, lines)


@app.command()
def key(as_json: JsonOption = False) -> None:
    """Print the public key that checkpoints, exports and receipts are verified with, for keeping elsewhere."""
    with open_vault(require_local("audit key")) as vault:
        public, deployment = vault.keyring.public_key.hex(), vault.keyring.deployment
    if as_json:
        print_json({"public_key": public, "deployment": deployment})
    else:
        print(public)


@app.command()
def checkpoint(
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Append it to this file, on another machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sign where the log ends now, for keeping elsewhere; it also goes into the folder of LOOKALIKE_LEDGER.

    A running service sends it to the receivers of LOOKALIKE_AUDIT_PUSH too.
    """
    from lookalike.domain import Ledgered

    with open_vault(require_local("audit checkpoint")) as vault:
        vault.record("audit.checkpoint")
        ledger = vault.ledger.checkpoint()
        made = vault.audit.checkpoint(out)
    if made is None:
        return
    if as_json:
        print_json({"seq": made.seq, "checkpoint": json.loads(made.line), "ledger": ledger.value})
    else:
        print(made.line.decode())
    if ledger is Ledgered.PENDING:
        complain("it could not be written to LOOKALIKE_LEDGER")


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Say how many entries no checkpoint covers yet, and what each receiver has not got. It writes nothing."""
    from api.audit_standing import standing

    with open_vault(require_local("audit status")) as vault:
        found = standing(vault.settings, vault.rows, vault.audit)
    if as_json:
        print_json(asdict(found))
        return
    print(f"{found.entries} entries, the last {found.uncovered} not covered by a checkpoint yet")
    for receiver in found.receivers:
        late = "" if receiver.since is None else f", the oldest for {max(0.0, time.time() - receiver.since):.0f} s"
        print(f"{receiver.name}: {receiver.waiting} checkpoints wait{late}")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Readable by you alone; - for the standard output.")],
    format: Annotated[Format, typer.Option(help="json: ECS fields; cef: for a SIEM; sealed: as it is kept.")] = (
        Format.JSON
    ),
    after: Annotated[int, typer.Option(min=0, metavar="SEQ", help="Begin after this entry.")] = 0,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Entries from then on: 2026-11-25T13:00Z.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Entries before then.")] = None,
    names: Annotated[bool, typer.Option("--names", help="Name subjects, instead of by pseudonyms.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where FILE ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write entries out, one a line, for a SIEM or an archive. That you did, and whether with names, is an entry too.

    JSON and sealed exports are signed piece by piece: `audit verify FILE --public-key KEY` checks them anywhere.
    """
    from api.audit_writing import Wanted, begin_file, write_export

    if str(out) == "-" and (resume or as_json):
        raise typer.BadParameter("--resume and --json need a FILE")
    if resume and after:
        raise typer.BadParameter("--resume goes on where FILE ends: leave --after out")
    wanted = Wanted.parse(since, until)
    with open_vault(require_local("audit export")) as vault:
        vault.record("audit.export", format=format.value, names=int(names))
        if str(out) == "-":
            written = write_export(vault.audit, sys.stdout, format.value, after, wanted, names, version("lookalike"))
        else:
            with begin_file(out, format.value, resume=resume) as (file, ended):
                start = ended if resume else after
                written = write_export(vault.audit, file, format.value, start, wanted, names, version("lookalike"))
    if as_json:
        print_json({"file": str(out), "entries": written})
    elif str(out) != "-":
        print(f"wrote {written} entries to {out}")


def _lines(files: list[Path]) -> list[bytes]:
    from security.checkpoints import lines_of

    return [line for file in files for line in lines_of(file)]


def _key(given: str) -> bytes:
    """The 32 bytes of a public key, from hex or from a file that holds hex."""
    from lookalike.errors import InvalidInput

    text = given
    try:
        if len(given) != 64 and Path(given).is_file():
            text = Path(given).read_text("ascii").strip()
        found = bytes.fromhex(text)
    except (OSError, ValueError):
        found = b""
    if len(found) != 32:
        raise InvalidInput("--public-key: 64 hex digits, or a file that holds them, as `lookalike audit key` prints")
    return found
