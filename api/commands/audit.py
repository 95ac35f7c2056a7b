"""`lookalike audit`: prove that the log is whole, and write it out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, complain, print_json
from api.commands.session import require_local
from api.commands.vault import open_vault

if TYPE_CHECKING:
    from lookalike.domain import AuditEntry
    from security.audit import SealedAuditLog

app = typer.Typer(no_args_is_help=True, help="Verify and export the audit log of the data folder.")

PAGE = 1000


@app.command()
def verify(
    checkpoints: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A file of signed checkpoints kept elsewhere.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every entry's seal, the chain over all of them, the signed checkpoints, and the ledger if there is one."""
    with open_vault(require_local("audit verify")) as vault:
        ledger = vault.ledger.verify()
        report = vault.audit.verify(checkpoints)
        vault.record("audit.verify", "ok" if report.sound else "tampered_data")
    if as_json:
        print_json({"sound": report.sound, **asdict(report), "ledger_lines": ledger})
    elif report.sound:
        print(
            f"sound: {report.entries} entries in one chain, "
            f"{report.checkpoints} signed checkpoints cover the first {report.covered}"
        )
        if ledger is not None:
            print(f"the ledger is sound: {ledger} lines in one chain")
        if report.lost:
            print(f"{report.lost} checkpoints are of entries that a restore from a backup left behind")
    if not report.sound:
        complain(f"the audit log is broken at entry {report.broken_at}: {report.reason} (tampered_data)")
        raise typer.Exit(1)


@app.command()
def checkpoint(
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Append it to this file, on another machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sign where the log ends now, for keeping elsewhere; it also goes into the folder of LOOKALIKE_LEDGER."""
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
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="One JSON object a line; readable by you alone.")],
    as_json: JsonOption = False,
) -> None:
    """Write all entries to a file. They name people: keep it as you keep the log."""
    with open_vault(require_local("audit export")) as vault:
        vault.record("audit.export")
        written = _write(out, _entries(vault.audit))
    if as_json:
        print_json({"file": str(out), "entries": written})
    else:
        print(f"wrote {written} entries to {out}")


def _entries(audit: SealedAuditLog) -> Iterator[AuditEntry]:
    after = 0
    while page := audit.page(after, PAGE):
        yield from page
        after = page[-1].seq


def _write(out: Path, entries: Iterator[AuditEntry]) -> int:
    written = 0
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        for entry in entries:
            fields = asdict(entry) | {"at": datetime.fromtimestamp(entry.at, UTC).isoformat()}
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")
            written += 1
    return written
