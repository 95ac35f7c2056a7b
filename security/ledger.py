"""The erasure ledger: one signed line for each erasure, chained to all before it, that names nobody.

It is kept among the records and copied, line by line, to a place outside the data folder (ledger_copy.py): a restored
backup knows from there whom it must not bring back. A line is canonical JSON:

    {"at", "audit": {"chain", "seq"}, "deployment", "epoch", "facts", "format", "kind", "number", "previous",
    "signature"}

    head 0 = SHA-256(0x05 | deployment), head n = SHA-256(0x04 | line n); "previous" of line n is head n-1
    signature = Ed25519(signing key, "lookalike erasure ledger\\n" | the line without its signature)

kind: what was erased ("subject", "sample", "collection", "api_key"), that a backup was made or restored, that old
versions of a collection's key were destroyed ("key"), or that a principal was blocked or let in again ("block",
"unblock"); facts: its random ids, and the digest of its receipt. audit: the end of the audit log at that moment, so
that every line is a checkpoint of that log too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lookalike.errors import DataTooNew, LedgerMismatch, TamperedData
from lookalike.ports import RowReader, RowWriter
from security.keys import KeyRing
from security.sealed_codec import canonical

FORMAT = 1
HEAD_SETTING = "ledger.head"
LINES = "ledger/"
"""Begins the names of the settings that hold the lines."""

ERASED = {"subject": "subject", "sample": "sample", "collection": "collection", "api_key": "api_key"}
"""Kind of an erasure → the fact that holds the id of what was erased."""

KEY = "key"
"""The kind of a line that says the least version of a collection's key in force. Facts: collection, version."""

RESTORE = "restore"
"""The kind of a restore's line. Its facts: the epoch that begins, the one before, the last audit entry taken over."""

BLOCK, UNBLOCK = "block", "unblock"
"""The kinds of lines that say that a principal was blocked, and let in again. Their fact: blocked, what it was."""

_OF_KEY, _OF_RESTORE = (b'"kind":"%s"' % kind.encode() for kind in (KEY, RESTORE))
"""Parts of such lines, by which they are found without reading all of them."""

_LEDGER = b"lookalike erasure ledger\n"
"""Goes before a line when it is signed, so that no other signature of the key passes for a line's."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a ledger ends. number: of its last line, 0 where it is empty; hash: 32 bytes."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """One verified line. facts: random ids; audit_seq, audit_chain: the audit log's end at that moment."""

    number: int
    kind: str
    facts: Mapping[str, str | int]
    at: float
    epoch: str
    audit_seq: int
    audit_chain: bytes
    text: bytes

    @property
    def head(self) -> Head:
        return Head(self.number, _hash(self.text))


def blocked_setting(what: str) -> str:
    """The name of the setting whose being there says that something is blocked; of all of them the prefix."""
    return f"blocked/{what}"


def genesis(deployment: str) -> Head:
    """The head of a ledger without lines."""
    return Head(0, hashlib.sha256(b"\x05" + deployment.encode("ascii")).digest())


def head_of(rows: RowReader, deployment: str) -> Head:
    """Where the ledger among these records ends."""
    kept = rows.get_setting(HEAD_SETTING)
    return genesis(deployment) if kept is None else Head(int.from_bytes(kept[:8], "big"), kept[8:])


def line_at(rows: RowReader, number: int) -> bytes | None:
    """A line among the records, None where there is none of this number."""
    return rows.get_setting(_name(number))


def keep(rows: RowWriter, head: Head, text: bytes) -> None:
    """Add a line to the ledger among the records. head: the one that the line makes."""
    rows.put_setting(_name(head.number), text)
    rows.put_setting(HEAD_SETTING, head.number.to_bytes(8, "big") + head.hash)


def enter(rows: RowWriter, keyring: KeyRing, kind: str, facts: Mapping[str, str | int], at: float) -> Head:
    """Sign a line for what this transaction has done, its audit entry included, and keep it. Returns the new head."""
    before, tail = head_of(rows, keyring.deployment), rows.audit_tail()
    body = {
        "format": FORMAT,
        "deployment": keyring.deployment,
        "epoch": keyring.epoch,
        "number": before.number + 1,
        "previous": before.hash.hex(),
        "kind": kind,
        "facts": dict(facts),
        "at": at,
        "audit": {"seq": tail.seq if tail else 0, "chain": tail.chain.hex() if tail else ""},
    }
    text = canonical({**body, "signature": keyring.sign(_LEDGER + canonical(body)).hex()})
    head = Head(before.number + 1, _hash(text))
    keep(rows, head, text)
    return head


def read_ledger(lines: Iterable[bytes], deployment: str, public_key: bytes) -> Iterator[Line]:
    """The lines of a ledger from its first one, each verified, with its place in the chain.

    Raises: TamperedData, LedgerMismatch for one of another deployment, DataTooNew.
    """
    before = genesis(deployment)
    for text in lines:
        line, previous = read_line(text, deployment, public_key)
        if (line.number, previous) != (before.number + 1, before.hash):
            raise TamperedData(f"the ledger is broken at line {before.number + 1}: one is missing, moved or changed")
        yield line
        before = line.head


def read_line(text: bytes, deployment: str, public_key: bytes) -> tuple[Line, bytes]:
    """A line whose signature is right, and the head that it says it follows. Raises: as `read_ledger`."""
    try:
        held = json.loads(text)
        if held["deployment"] != deployment:
            raise LedgerMismatch("the ledger is another deployment's")
        if held["format"] != FORMAT:
            raise DataTooNew(f"the ledger has format {held['format']!r}, this release knows {FORMAT}")
        signature = bytes.fromhex(held.pop("signature"))
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _LEDGER + canonical(held))
        line = Line(
            number=int(held["number"]),
            kind=str(held["kind"]),
            facts=dict(held["facts"]),
            at=float(held["at"]),
            epoch=str(held["epoch"]),
            audit_seq=int(held["audit"]["seq"]),
            audit_chain=bytes.fromhex(held["audit"]["chain"]),
            text=text,
        )
        previous = bytes.fromhex(held["previous"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidSignature):
        raise TamperedData("a line of the ledger is damaged or not signed by this deployment") from None
    if canonical({**held, "signature": signature.hex()}) != text:
        raise TamperedData("a line of the ledger is not written as this deployment writes it")
    return line, previous


def least_versions(lines: Iterable[bytes], deployment: str, public_key: bytes) -> dict[str, int]:
    """The least version of each collection's key in force, of those that were ever rotated since the last restore.

    Raises: as `read_line`, for the few lines that it needs.
    """
    found: dict[str, int] = {}
    for text in lines:
        if _OF_KEY in text or _OF_RESTORE in text:
            line = read_line(text, deployment, public_key)[0]
            if line.kind == KEY:
                found[str(line.facts["collection"])] = int(line.facts["version"])
            elif line.kind == RESTORE:
                found.clear()  # the backup is of the time before, and so are its keys
    return found


def _name(number: int) -> str:
    return f"{LINES}{number:012d}"


def _hash(text: bytes) -> bytes:
    return hashlib.sha256(b"\x04" + text).digest()
