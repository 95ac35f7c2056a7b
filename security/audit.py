"""The audit log: every entry sealed, each chained to all before it, so that a change is found out without a key.

    leaf    = SHA-256(0x00 | sealed entry)
    chain 0 = SHA-256(0x03 | deployment id)
    chain n = SHA-256(0x02 | chain n-1 | seq 8, big-endian | time 8, IEEE 754 big-endian | leaf)

The chain alone shows a change within; a removed tail, or a log rewritten from some entry on, is shown by a signed
checkpoint (Ed25519) of a place further on. One is kept beside the log each 1,000 entries, and `checkpoint` appends one
to a file of the operator's, outside the reach of whoever rewrites the log.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lookalike.domain import AuditEntry
from lookalike.errors import StorageUnavailable, TamperedData
from lookalike.ports import AuditRow, RowReader, Rows, RowWriter
from security.envelope import open_sealed, seal
from security.keys import KeyRing
from security.ledger import Head, head_of
from security.past import read_past
from security.sealed_codec import canonical, decode_entry, encode_entry

CHECKPOINT_SETTING = "audit.checkpoint"
CHECKPOINT_EVERY = 1000
_PAGE = 1000
_PLACE = struct.Struct(">Qd")


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a verification found. entries: how many were read; broken_at, reason: the first break, None if sound.

    checkpoints: how many signed ones the log agreed with; covered: the last entry that one of them covers; lost: how
    many are of entries that a restore from a backup left behind.
    """

    entries: int
    broken_at: int | None
    reason: str | None
    checkpoints: int = 0
    covered: int = 0
    lost: int = 0

    @property
    def sound(self) -> bool:
        return self.broken_at is None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That the log of a deployment had this chain value at this entry. line: the signed JSON that says so.

    epoch: since which restore the log is counted, empty for the first; ledger: where the erasure ledger ended then.
    """

    seq: int
    chain: bytes
    line: bytes
    epoch: str = ""
    ledger: Head | None = None


class SealedAuditLog:
    """The port AuditLog over ciphertext rows. Thread-safe; entries of all processes stand in one order."""

    def __init__(self, rows: Rows, keyring: KeyRing, clock: Callable[[], float] = time.time) -> None:
        self._rows = rows
        self._keyring = keyring
        self._clock = clock

    def append(self, entry: AuditEntry) -> None:
        """Durable when it returns. Raises: StorageFull, StorageUnavailable."""
        self._rows.write(self.prepare(entry))

    def prepare(self, entry: AuditEntry) -> Callable[[RowWriter], int]:
        """What appends the entry within another write's transaction, giving its sequence number."""
        plain = encode_entry(entry)

        def append(rows: RowWriter) -> int:
            tail = rows.audit_tail()
            seq, before = (tail.seq + 1, tail.chain) if tail is not None else (1, genesis(self._keyring.deployment))
            at = self._clock()
            payload = seal(self._keyring.audit_key, plain, self._keyring.context("audit", version=seq))
            row = AuditRow(seq, at, chained(before, seq, at, payload), payload)
            rows.append_audit(row)
            if seq % CHECKPOINT_EVERY == 0:
                rows.put_setting(CHECKPOINT_SETTING, self._signed(rows, row))
            return seq

        return append

    def page(self, after_seq: int, limit: int) -> list[AuditEntry]:
        """Entries in order. Raises: TamperedData."""
        return [self._opened(row) for row in self._rows.read().audit_page(after_seq, limit)]

    def last_seq(self) -> int:
        """The newest entry's sequence number, 0 while there is none."""
        tail = self._rows.read().audit_tail()
        return 0 if tail is None else tail.seq

    def checkpoint(self, file: Path | None = None) -> Checkpoint | None:
        """Sign the log's end, keep that beside it and append it to `file`; None while the log is empty.

        Raises: StorageUnavailable if the file cannot be written.
        """

        def keep(rows: RowWriter) -> Checkpoint | None:
            tail = rows.audit_tail()
            if tail is None:
                return None
            line = self._signed(rows, tail)
            rows.put_setting(CHECKPOINT_SETTING, line)
            return read_checkpoint(line, self._keyring.deployment, self._keyring.public_key)

        made = self._rows.write(keep)
        if made is not None and file is not None:
            _append_line(file, made.line)
        return made

    def sign_end(self, file: Path) -> None:
        """Append a checkpoint of the log's end to `file` alone, which costs no transaction.

        Raises: StorageUnavailable if the file cannot be written.
        """
        reader = self._rows.read()
        tail = reader.audit_tail()
        if tail is not None:
            _append_line(file, self._signed(reader, tail))

    def verify(self, file: Path | None = None) -> AuditReport:
        """Check the whole log: order, chain, every seal, and the checkpoints beside it and in `file`.

        Raises: TamperedData for a checkpoint that this deployment did not sign.
        """
        kept = self._rows.read().get_setting(CHECKPOINT_SETTING)
        lines = ([kept] if kept is not None else []) + (_lines_of(file) if file is not None else [])
        checkpoints = [read_checkpoint(line, self._keyring.deployment, self._keyring.public_key) for line in lines]
        past = read_past(self._rows.read(), self._keyring)
        kept_ones = [checkpoint for checkpoint in checkpoints if past.holds(checkpoint.epoch, checkpoint.seq)]
        report = verify_chain(self._all_rows(), self._keyring.deployment, kept_ones, self._opened)
        return replace(report, lost=len(checkpoints) - len(kept_ones))

    def _all_rows(self) -> Iterator[AuditRow]:
        after = 0
        while page := self._rows.read().audit_page(after, _PAGE):
            yield from page
            after = page[-1].seq

    def _opened(self, row: AuditRow) -> AuditEntry:
        context = self._keyring.context("audit", version=row.seq)
        return decode_entry(row.seq, row.at, open_sealed(self._keyring.audit_key, row.payload, context))

    def _signed(self, rows: RowReader, row: AuditRow) -> bytes:
        head = head_of(rows, self._keyring.deployment)
        body: dict[str, object] = {
            "deployment": self._keyring.deployment,
            "seq": row.seq,
            "chain": row.chain.hex(),
            "at": row.at,
            "public_key": self._keyring.public_key.hex(),
            "epoch": self._keyring.epoch,
            "ledger": {"number": head.number, "head": head.hash.hex()},
        }
        return canonical({**body, "signature": self._keyring.sign(_CHECKPOINT + canonical(body)).hex()})


_CHECKPOINT = b"lookalike audit checkpoint\n"
"""Goes before what is signed, so that a receipt's signature never passes for a checkpoint's."""


def genesis(deployment: str) -> bytes:
    """The chain value before the first entry."""
    return hashlib.sha256(b"\x03" + deployment.encode("ascii")).digest()


def chained(before: bytes, seq: int, at: float, payload: bytes) -> bytes:
    """The chain value of an entry. before: of the entry before it."""
    leaf = hashlib.sha256(b"\x00" + payload).digest()
    return hashlib.sha256(b"\x02" + before + _PLACE.pack(seq, at) + leaf).digest()


def read_checkpoint(line: bytes, deployment: str, public_key: bytes) -> Checkpoint:
    """Raises: TamperedData unless it is a checkpoint of this deployment, signed with this key."""
    try:
        held = json.loads(line)
        signature = bytes.fromhex(held.pop("signature"))
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _CHECKPOINT + canonical(held))
        ledger = held.get("ledger")
        head = Head(int(ledger["number"]), bytes.fromhex(ledger["head"])) if ledger is not None else None
        checkpoint = Checkpoint(int(held["seq"]), bytes.fromhex(held["chain"]), line, str(held.get("epoch", "")), head)
        named = held["deployment"]
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature):
        raise TamperedData("an audit checkpoint is damaged or not signed by this deployment") from None
    if named != deployment:
        raise TamperedData("an audit checkpoint is of another deployment")
    return checkpoint


def verify_chain(
    rows: Iterable[AuditRow],
    deployment: str,
    checkpoints: Iterable[Checkpoint] = (),
    open_entry: Callable[[AuditRow], object] | None = None,
) -> AuditReport:
    """Check a log from its first entry. open_entry: also opens each, where the key is at hand.

    Without it no key is needed: the deployment's id and its public key stand in the clear.
    """
    expected: dict[int, set[bytes]] = {}
    for checkpoint in checkpoints:
        expected.setdefault(checkpoint.seq, set()).add(checkpoint.chain)
    before, count, agreed, covered = genesis(deployment), 0, 0, 0

    def broken(seq: int, reason: str) -> AuditReport:
        return AuditReport(count, seq, reason, agreed, covered)

    for row in rows:
        if row.seq != count + 1:
            return broken(count + 1, "an entry is missing or out of order")
        if row.chain != chained(before, row.seq, row.at, row.payload):
            return broken(row.seq, "an entry was changed, or one before it was")
        if any(chain != row.chain for chain in expected.get(row.seq, ())):
            return broken(row.seq, "the log differs from a signed checkpoint: it was rewritten")
        if open_entry is not None:
            try:
                open_entry(row)
            except TamperedData:
                return broken(row.seq, "an entry does not open: it was not written by this deployment")
        if row.seq in expected:
            agreed, covered = agreed + 1, row.seq
        before, count = row.chain, row.seq
    last = max(expected, default=0)
    if last > count:
        return broken(count + 1, f"the end of the log was removed: a signed checkpoint covers {last} entries")
    return AuditReport(count, None, None, agreed, covered)


def _append_line(file: Path, line: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageUnavailable(f"the checkpoint file cannot be written: {error.strerror}") from error


def _lines_of(file: Path) -> list[bytes]:
    try:
        return [line for line in file.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise StorageUnavailable(f"the checkpoint file cannot be read: {error.strerror}") from error
