"""`lookalike backup`: keep a copy that only an offline key opens, and make a data folder of it again."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, complain, print_json, print_table, progress
from api.commands.session import require_local
from api.commands.vault import open_vault
from lookalike.errors import BadSettings

if TYPE_CHECKING:
    from api.backups import Restored
    from security.backup_file import Statement
    from security.recipient import Recipient

NICE = 10
"""A backup gives way to the service beside it."""

app = typer.Typer(no_args_is_help=True, help="Make, verify and restore backups, sealed to an offline key.")

BackupFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE", help="The backup.")]
SignerOption = Annotated[
    str | None, typer.Option(metavar="KEY", help="The public key of the deployment that must have signed it.")
]


@app.command()
def keygen(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The private half goes there, the public to PATH.pub.")],
    as_json: JsonOption = False,
) -> None:
    """Make the key that backups are sealed to. Keep PATH offline: it alone opens them."""
    from security.recipient import new_recipient_key

    key = new_recipient_key(path)
    public = path.with_name(path.name + ".pub")
    if as_json:
        print_json({"private": str(path), "public": str(public), "fingerprint": key.recipient.fingerprint})
        return
    print(f"private half {path}: keep it off the machine, and a copy of it in another place")
    print(f"public half {public}: name it in LOOKALIKE_BACKUP_KEY\nfingerprint {key.recipient.fingerprint}")


@app.command()
def create(
    out: Annotated[Path, typer.Option(metavar="FILE|FOLDER", help="A new file, or a folder for one with a name.")],
    key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The public half, instead of LOOKALIKE_BACKUP_KEY.")
    ] = None,
    with_root_key: Annotated[
        bool,
        typer.Option("--with-root-key/--without-root-key", help="Whether the root key, where it is a file, is in it."),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Write a backup, also while the service serves: one consistent state, whole or not at all."""
    from api.backups import create_backup
    from lookalike.domain import Ledgered

    settings = require_local("backup create")
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    recipient = _recipient(key or settings.backup_key)
    with open_vault(settings) as vault, progress("backing up") as told:
        made = create_backup(vault, out, recipient, with_root_key=with_root_key, told=told)
    if as_json:
        print_json({"file": str(made.file), "bytes": made.bytes, "ledger": made.ledger.value, **asdict(made.statement)})
    else:
        print(f"wrote {made.file}, {made.bytes / 1e6:.1f} MB, sealed to {recipient.fingerprint}")
        print(f"signed by {made.statement.public_key}")
        print(
            "the root key is inside"
            if made.statement.root_key
            else "the root key is not inside: nothing opens without it, keep a copy of it elsewhere"
        )
    if made.ledger is Ledgered.NONE:
        complain("no ledger is kept (LOOKALIKE_LEDGER): a restore could bring back who is erased from now on")
    if made.ledger is Ledgered.PENDING:
        complain("the ledger could not be written: see the log, and `lookalike doctor`")


@app.command()
def verify(
    file: BackupFile,
    key: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The offline private half: looks inside too.")
    ] = None,
    signer: SignerOption = None,
    every: Annotated[int, typer.Option(min=1, help="Open every so many subjects' records; 1 opens all.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Check that a backup is whole and who signed it; with the offline key, also that what is inside opens."""
    from api.backups import verify_backup
    from lookalike.settings import read_settings
    from security.recipient import read_recipient_key

    private = read_recipient_key(key) if key is not None else None
    with progress("verifying") as told:
        found = verify_backup(file, read_settings(), key=private, signer=_signer(signer), every=every, told=told)
    statement, inside = found.checked.statement, found.found
    if as_json:
        contents = None if inside is None else {"counts": dict(inside.counts), "opened": inside.opened}
        print_json({"whole": True, "bytes": found.checked.bytes, **asdict(statement), "inside": contents})
        return
    print_table(("field", "value"), [*_rows(statement), ("bytes", found.checked.bytes)])
    if inside is None:
        print("whole, and signed by that key; --key looks inside")
        return
    print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(inside.counts.items())))
    if inside.opened is None:
        print(
            "every chunk, the audit log and the ledger are sound; the root key is not at hand, so no record was opened"
        )
    else:
        print(
            f"every chunk, the audit log and the ledger are sound; {inside.opened} sealed records and keys were opened"
        )


@app.command()
def restore(
    file: BackupFile,
    key: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The offline private half.")],
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="The empty folder to make, instead of LOOKALIKE_DATA.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(file_okay=False, help="The erasure ledger's folder, instead of LOOKALIKE_LEDGER.")
    ] = None,
    accept_missing_erasures: Annotated[
        bool, typer.Option("--accept-missing-erasures", help="Restore without a ledger; this is put on record.")
    ] = False,
    checkpoints: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="Signed checkpoints kept elsewhere.")
    ] = None,
    signer: SignerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an empty folder a data folder again, without whoever was erased since the backup was made."""
    from api.backups import restore_backup
    from security.recipient import read_recipient_key

    settings = require_local("backup restore")
    if accept_missing_erasures and ledger is not None:
        raise typer.BadParameter("--ledger and --accept-missing-erasures exclude each other")
    settings = settings.model_copy(update={"data": data or settings.data})
    with progress("restoring") as told:
        restored = restore_backup(
            file,
            read_recipient_key(key),
            settings,
            ledger=None if accept_missing_erasures else ledger or settings.ledger,
            accept_missing=accept_missing_erasures,
            checkpoints=checkpoints or (),
            signer=_signer(signer),
            told=told,
        )
    if as_json:
        fields = asdict(restored) | {"root_key": None if restored.root_key is None else str(restored.root_key)}
        print_json({"data": str(settings.data), **fields})
    else:
        _tell(restored, settings.data)


def _tell(restored: Restored, data: Path) -> None:
    counts, left_out = restored.counts, restored.left_out
    print(
        f"restored {counts['collections']} collections, {counts['subjects']} subjects and {counts['samples']} samples "
        f"into {data}, as they were {_moment(restored.statement.created_at)}"
    )
    gone = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(left_out.items()))
    print(f"erased since, and left out: {gone or 'nothing'}; the ledger was heeded up to line {restored.ledger_number}")
    if restored.root_key is not None:
        print(f"the root key is at {restored.root_key}")
    print("`lookalike serve` makes a new certificate authority: give its tls/ca.crt to the clients")


def _recipient(path: Path | None) -> Recipient:
    from security.recipient import read_recipient

    if path is None:
        raise BadSettings("name the public half of the backup key: --key, or LOOKALIKE_BACKUP_KEY (backup keygen)")
    return read_recipient(path)


def _signer(text: str | None) -> bytes | None:
    """A public key of 64 hex digits. Raises: BadSettings."""
    try:
        found = bytes.fromhex(text) if text is not None else None
    except ValueError:
        found = b""
    if found is not None and len(found) != 32:
        raise BadSettings("--signer: 64 hex digits are wanted, as `backup create` prints them")
    return found


def _rows(statement: Statement) -> list[tuple[str, object]]:
    return [
        ("backup", statement.id),
        ("made", f"{_moment(statement.created_at)} by {statement.made_by}"),
        ("deployment", statement.deployment),
        ("signed by", statement.public_key),
        ("sealed to", statement.recipient),
        ("root key", "inside" if statement.root_key else "not inside"),
        ("audit log", f"up to entry {statement.audit_seq}"),
        ("ledger", f"up to line {statement.ledger_number}"),
    ]


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="seconds")
