"""A checkpoint: the signed statement that the audit log of a deployment had this root at this entry; one line of JSON.

    {"at", "chain", "deployment", "epoch", "ledger": {"head", "number"}, "public_key", "root", "seq", "signature"}

    signature = Ed25519(signing key, "lookalike audit checkpoint\\n" | the line without its signature)

root: of the Merkle tree over the first `seq` entries; checkpoints of older releases have none.
Whoever keeps one where the log's machine cannot reach it finds out a log that was cut, or rewritten and signed anew.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lookalike.errors import StorageUnavailable, TamperedData
from lookalike.ports import AuditRow, RowReader
from security.keys import KeyRing
from security.ledger import Head, head_of
from security.sealed_codec import canonical

CHECKPOINT_SETTING = "audit.checkpoint"
"""The last one, kept beside the log."""

_CHECKPOINT = b"lookalike audit checkpoint\n"
"""Goes before what is signed, so that a receipt's signature never passes for a checkpoint's."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That the log of a deployment had this chain value and root at this entry. line: the signed JSON that says so.

    epoch: since which restore the log is counted, empty for the first; ledger: where the erasure ledger ended then.
    """

    seq: int
    chain: bytes
    line: bytes
    epoch: str = ""
    ledger: Head | None = None
    root: bytes | None = None
    at: float = 0.0


def sign_checkpoint(keyring: KeyRing, rows: RowReader, row: AuditRow, root: bytes) -> bytes:
    """The line that signs the log up to this entry. root: of the tree over all entries up to it."""
    head = head_of(rows, keyring.deployment)
    body: dict[str, object] = {
        "deployment": keyring.deployment,
        "seq": row.seq,
        "chain": row.chain.hex(),
        "root": root.hex(),
        "at": row.at,
        "public_key": keyring.public_key.hex(),
        "epoch": keyring.epoch,
        "ledger": {"number": head.number, "head": head.hash.hex()},
    }
    return canonical({**body, "signature": keyring.sign(_CHECKPOINT + canonical(body)).hex()})


def read_checkpoint(line: bytes, deployment: str, public_key: bytes) -> Checkpoint:
    """Raises: TamperedData unless it is a checkpoint of this deployment, signed with this key."""
    try:
        held = json.loads(line)
        signature = bytes.fromhex(held.pop("signature"))
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _CHECKPOINT + canonical(held))
        ledger, root = held.get("ledger"), held.get("root")
        checkpoint = Checkpoint(
            seq=int(held["seq"]),
            chain=bytes.fromhex(held["chain"]),
            line=line,
            epoch=str(held.get("epoch", "")),
            ledger=Head(int(ledger["number"]), bytes.fromhex(ledger["head"])) if ledger is not None else None,
            root=bytes.fromhex(root) if root is not None else None,
            at=float(held["at"]),
        )
        named = held["deployment"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidSignature):
        raise TamperedData("an audit checkpoint is damaged or not signed by this deployment") from None
    if named != deployment:
        raise TamperedData("an audit checkpoint is of another deployment")
    return checkpoint


def append_line(file: Path, line: bytes) -> None:
    """Durable when it returns. Raises: StorageUnavailable."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageUnavailable(f"the checkpoint file cannot be written: {error.strerror}") from error


def lines_of(file: Path) -> list[bytes]:
    """The lines of a file of checkpoints. Raises: StorageUnavailable."""
    try:
        return [line for line in file.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise StorageUnavailable(f"the checkpoint file cannot be read: {error.strerror}") from error
