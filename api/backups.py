"""Backups as use cases: make one while the service serves, look into one, and make a data folder of one again.

A backup is one state of all rows, read in one transaction, and the imported models; derived data, TLS keys and what
belongs to a running service are not in it. A restore heeds the erasure ledger before a single row is written, and its
folder is opened by nobody before it is whole.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from api.commands.vault import Vault
from api.record_store import open_rows
from api.root_access import root_access
from api.wiring import prepare_folder
from index.data_format import RestoredFolder
from index.sqlite_rows import SqliteRows
from lookalike.domain import AuditEntry, Ledgered
from lookalike.errors import (
    BadBackup,
    InvalidInput,
    KeyUnavailable,
    LedgerMismatch,
    LookalikeError,
    StorageUnavailable,
    UntrustedSender,
)
from lookalike.ports import RowReader, Rows, RowWriter
from lookalike.settings import Settings
from security.audit import SealedAuditLog
from security.backup_check import BackupCheck, Found
from security.backup_file import Checked, Statement, Told, check_backup, open_backup, write_backup
from security.backup_records import KINDS, FileRecord, Record, RootKey, Start, decoded, encoded, rows_of
from security.checkpoints import Checkpoint, read_checkpoint
from security.elsewhere import note_backup
from security.erasure import scrub
from security.keys import EPOCH_SETTING, RESTORING_SETTING, KeyRing, open_key_ring
from security.ledger import RESTORE, enter, head_of, line_at, read_line
from security.ledger_copy import CHECKPOINTS, lines_in
from security.past import begin_epoch, keep_restore
from security.recipient import Recipient, RecipientKey, sender_of
from security.restoring import Erased, Loaded, erased_since, load
from security.root_key import put_root_key, root_key_file
from security.sealed_models import SealedModels
from security.secret_files import read_secret_file
from security.secret_key import KEY_BYTES, SecretKey
from security.whole_files import storage_error, sweep_unfinished, write_whole

SUFFIX = ".backup"
BUNDLES = "bundles"
_PIECE_BYTES = 1 << 20


def _untold(done: int, total: int) -> None:
    return None


# ---------------------------------------------------------------------------------------------------- create


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that is on the disk. ledger: whether that it was made stands in the ledger outside the data folder."""

    file: Path
    bytes: int
    statement: Statement
    ledger: Ledgered


def create_backup(vault: Vault, out: Path, recipient: Recipient, *, with_root_key: bool, told: Told = _untold) -> Made:
    """Write a backup to a new file, or under a name of its own into a folder; whole or not at all.

    Raises: InvalidInput for a place where none can lie, KeyUnavailable, StorageFull, StorageUnavailable.
    """
    id, now = secrets.token_hex(16), time.time()
    file = _place(out, vault.settings.data, id, now)
    sweep_unfinished(file.parent, file.suffix)
    root_key = _root_key_of(vault.settings) if with_root_key else None
    entry = _entry("backup.create", backup=id, recipient=recipient.fingerprint, root_key=int(root_key is not None))

    def begin(tx: RowWriter) -> None:
        vault.audit.prepare(entry)(tx)
        vault.ledger.enter(tx, "backup", {"backup": id}, now)
        note_backup(tx, now)

    vault.rows.write(begin)
    ledger = vault.ledger.publish()
    try:
        with ExitStack() as stack:
            reader = stack.enter_context(vault.rows.snapshot())
            statement = _statement(vault, reader, id, now, recipient, root_key)
            files = _open_models(vault, reader, stack)
            records = _told_of(_records(reader, root_key, files), reader, told)
            pieces = write_backup(statement, recipient, sender_of(vault.keyring), encoded(records))
            write_whole(file, pieces, "the backup")
    except LookalikeError as error:
        vault.audit.append(replace(entry, outcome=error.code))
        raise
    finally:
        scrub(vault.rows)  # what was erased meanwhile stayed in the log because of the snapshot
    return Made(file, file.stat().st_size, statement, ledger)


def _place(out: Path, data: Path, id: str, now: float) -> Path:
    """Where the backup is to lie. Raises: InvalidInput."""
    out = out.absolute()
    if out.is_dir():
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        out = out / f"lookalike-{stamp}-{id[:8]}{SUFFIX}"
    if not out.parent.is_dir():
        raise InvalidInput(f"there is no folder {out.parent}")
    if out.resolve().is_relative_to(data.resolve()):
        raise InvalidInput("a backup inside the data folder is lost together with it: name another place")
    if os.path.lexists(out):
        raise InvalidInput(f"{out} is there already: a backup never replaces a file")
    return out


def _root_key_of(settings: Settings) -> bytes | None:
    """The root key where it is a file; None where it is a passphrase or is kept elsewhere."""
    file = root_key_file(settings.keys, settings.data.absolute())
    return None if file is None else read_secret_file(file, "the root key", exactly=KEY_BYTES)


def _statement(
    vault: Vault, reader: RowReader, id: str, now: float, recipient: Recipient, root_key: bytes | None
) -> Statement:
    head, tail = head_of(reader, vault.keyring.deployment), reader.audit_tail()
    return Statement(
        id=id,
        deployment=vault.keyring.deployment,
        epoch=vault.keyring.epoch,
        public_key=vault.keyring.public_key.hex(),
        recipient=recipient.fingerprint,
        created_at=now,
        made_by=f"lookalike {version('lookalike')}",
        root_key=root_key is not None,
        audit_seq=tail.seq if tail is not None else 0,
        audit_chain=tail.chain.hex() if tail is not None else "",
        ledger_number=head.number,
        ledger_head=head.hash.hex(),
    )


def _open_models(vault: Vault, reader: RowReader, stack: ExitStack) -> list[tuple[str, BinaryIO]]:
    """The files of imported models; once open they can be read even if they are removed meanwhile."""
    kept = SealedModels(vault.settings.data.absolute() / BUNDLES, vault.rows, vault.keyring, vault.audit)
    try:
        return [(path.name, stack.enter_context(path.open("rb"))) for path in kept.files(reader)]
    except OSError as error:
        raise StorageUnavailable(f"an imported model cannot be read, try again: {error.strerror}") from error


def _records(reader: RowReader, root_key: bytes | None, files: Sequence[tuple[str, BinaryIO]]) -> Iterator[Record]:
    for record in rows_of(reader):
        yield record
        if isinstance(record, Start) and root_key is not None:
            yield RootKey(root_key)
    for name, file in files:
        while piece := file.read(_PIECE_BYTES):
            yield FileRecord(name, piece)


def _told_of(records: Iterator[Record], reader: RowReader, told: Told) -> Iterator[Record]:
    tail = reader.audit_tail()
    total = sum(sum(reader.count(row.id)) for row in reader.collections()) + (tail.seq if tail is not None else 0)
    for done, record in enumerate(records):
        if done % 256 == 0:
            told(min(done, total), total)
        yield record
    told(total, total)


# ---------------------------------------------------------------------------------------------------- verify


@dataclass(frozen=True, slots=True)
class Verified:
    """found: what the seal holds; None where only the outside was looked at."""

    checked: Checked
    found: Found | None


def verify_backup(
    file: Path,
    settings: Settings,
    *,
    key: RecipientKey | None = None,
    signer: bytes | None = None,
    every: int = 100,
    told: Told = _untold,
) -> Verified:
    """Check a backup from outside, and with its offline key from inside. every: of subjects, as in BackupCheck.

    Raises: BadBackup, TamperedData, DataTooNew, WrongRecipient, UntrustedSender, KeyUnavailable.
    """
    outside = _checked(file, signer, told)
    if key is None:
        return Verified(outside, None)

    def at_hand() -> SecretKey | None:
        with suppress(KeyUnavailable):
            found = _root_key_of(settings)
            return None if found is None else SecretKey(found)
        return None

    check = BackupCheck(outside.statement, every, at_hand)
    return Verified(outside, check.run(decoded(open_backup(file, outside, key, told))))


def _checked(file: Path, signer: bytes | None, told: Told) -> Checked:
    outside = check_backup(file, told)
    if signer is not None and outside.statement.public_key != signer.hex():
        raise UntrustedSender(
            f"the backup is signed by {outside.statement.public_key}, which is not the signer that was named"
        )
    return outside


# --------------------------------------------------------------------------------------------------- restore


@dataclass(frozen=True, slots=True)
class Restored:
    """counts, left_out: records by kind. ledger_number: the ledger's last line before the restore's own.

    root_key: where the root key was put, None where it was there or is a passphrase.
    """

    statement: Statement
    counts: dict[str, int]
    left_out: dict[str, int]
    ledger_number: int
    epoch: str
    root_key: Path | None


def restore_backup(
    file: Path,
    key: RecipientKey,
    settings: Settings,
    *,
    ledger: Path | None,
    accept_missing: bool = False,
    checkpoints: Sequence[Path] = (),
    signer: bytes | None = None,
    told: Told = _untold,
) -> Restored:
    """Make the data folder that the settings name, which must be empty, of a backup.

    ledger: the folder with the erasure ledger; accept_missing: go on without one, which is put on record.
    Raises: as verify_backup, LedgerMismatch, Conflict, StorageFull.
    """
    outside = _checked(file, signer, told)
    erased = _erased(outside.statement, ledger, accept_missing, checkpoints)
    root_file = root_key_file(settings.keys, settings.data.absolute())
    if not outside.statement.root_key and root_file is not None and not os.path.lexists(root_file):
        raise KeyUnavailable(f"the backup does not hold the root key: put it at {root_file} first")
    folder = RestoredFolder(prepare_folder(settings.data))
    try:
        with _empty_rows(settings, folder) as rows:
            loaded = load(
                decoded(open_backup(file, outside, key, told)), rows, erased, _Files(settings.data / BUNDLES).take
            )
            restored = _settle(outside.statement, settings, rows, erased, loaded, accept_missing)
        folder.finish()
    finally:
        folder.close()
    return restored


@contextmanager
def _empty_rows(settings: Settings, folder: RestoredFolder) -> Iterator[Rows]:
    """Where the records go: into the folder itself, or into the database of the settings, which must be empty."""
    if settings.records != "sqlite:":
        with open_rows(settings) as rows:
            yield rows
        return
    rows = SqliteRows(folder.records)
    try:
        yield rows
    finally:
        rows.close()


def _erased(statement: Statement, ledger: Path | None, accept_missing: bool, checkpoints: Sequence[Path]) -> Erased:
    """Raises: LedgerMismatch, TamperedData."""
    if ledger is None:
        if accept_missing:
            return Erased()
        raise LedgerMismatch(
            "without the erasure ledger the backup would bring back who was erased since: name it with --ledger, or "
            "take that upon you with --accept-missing-erasures"
        )
    newest = [*_checkpoints(statement, [ledger / CHECKPOINTS]), *_checkpoints(statement, checkpoints)]
    return erased_since(statement, lines_in(ledger), newest)


def _checkpoints(statement: Statement, files: Sequence[Path]) -> Iterator[Checkpoint]:
    """Raises: LedgerMismatch where a file is missing, TamperedData."""
    for file in files:
        try:
            lines = file.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            raise LedgerMismatch(
                f"{file} is missing, which says how far the ledger goes: take the whole folder"
            ) from None
        except OSError as error:
            raise StorageUnavailable(f"{file} cannot be read: {error.strerror}") from error
        for line in lines:
            if line.endswith(b"\n") and line.strip():
                yield read_checkpoint(line.strip(), statement.deployment, bytes.fromhex(statement.public_key))


class _Files:
    """Writes the imported models' files, piece by piece."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, record: FileRecord) -> None:
        """Raises: BadBackup for a name that leads out of the folder; StorageUnavailable."""
        if not record.path or Path(record.path).name != record.path:
            raise BadBackup("the backup names a file outside of its folder")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(
                self._folder / record.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            with os.fdopen(descriptor, "ab") as file:
                file.write(record.data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, "an imported model") from error


def _settle(
    statement: Statement, settings: Settings, rows: Rows, erased: Erased, loaded: Loaded, accepted: bool
) -> Restored:
    """Give the restored rows their key and an epoch of their own, and put the restore on record."""
    if loaded.audit_seq != statement.audit_seq:
        raise BadBackup("the backup's audit log does not end where its statement says")
    folder = settings.data.absolute()
    root_file = root_key_file(settings.keys, folder)
    put = root_file is not None and loaded.root_key is not None and not os.path.lexists(root_file)
    if root_file is not None and loaded.root_key is not None:
        put_root_key(root_file, loaded.root_key)
    before, epoch = (rows.read().get_setting(EPOCH_SETTING) or b"").decode("ascii"), secrets.token_hex(16)
    rows.write(lambda tx: begin_epoch(tx, epoch))
    keyring = open_key_ring(settings.keys, folder, rows, access=root_access(settings), restoring=True)
    if (keyring.deployment, keyring.public_key.hex()) != (statement.deployment, statement.public_key):
        raise BadBackup("the backup was signed by another deployment than the one that it holds")
    audit = SealedAuditLog(rows, keyring)
    ledger_number = head_of(rows.read(), keyring.deployment).number
    left_out = {KINDS[kind]: count for kind, count in loaded.left_out.items()}
    entry = _entry(
        "backup.restore",
        backup=statement.id,
        made_at=statement.created_at,
        ledger=ledger_number,
        erasures_heeded=sum(len(ids) for ids in erased.ids.values()),
        accepted_missing_erasures=int(accepted),
        epoch=epoch,
        **{f"left_out_{name}": count for name, count in left_out.items()},
    )
    facts: dict[str, str | int] = {
        "epoch": epoch,
        "before": before,
        "audit_seq": loaded.audit_seq,
        "backup": statement.id,
        "accepted_missing_erasures": int(accepted),
    }
    rows.write(lambda tx: _put_on_record(tx, keyring, audit, entry, facts))
    audit.checkpoint()
    rows.scrub()
    counts = {name: loaded.counts[kind] for kind, name in KINDS.items()}
    return Restored(statement, counts, left_out, ledger_number, epoch, root_file if put else None)


def _put_on_record(
    tx: RowWriter, keyring: KeyRing, audit: SealedAuditLog, entry: AuditEntry, facts: dict[str, str | int]
) -> None:
    tx.delete_setting(RESTORING_SETTING)
    audit.prepare(entry)(tx)
    head = enter(tx, keyring, RESTORE, facts, time.time())
    text = line_at(tx, head.number)
    if text is not None:
        keep_restore(tx, read_line(text, keyring.deployment, keyring.public_key)[0])


def _entry(action: str, **details: str | int | float) -> AuditEntry:
    return AuditEntry(action, f"local:{os.getuid()}", "ok", f"local-{os.getpid()}", details=details)
