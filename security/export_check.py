"""Checks an export of the audit log offline, with the deployment's public key alone.

An export is made of segments, each followed by the signed statement of what its lines are. Found out are: a line that
was changed, left out, moved or added, a segment left out, an end that is missing, and, by checkpoints that were kept
elsewhere, a log that was rewritten or cut before it was exported.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from security.audit_check import AuditReport
from security.audit_export import EXPORT, STATED_EVERY, STATEMENT
from security.audit_tree import entry_leaf
from security.checkpoints import read_checkpoint
from security.ledger import read_line
from security.merkle import Frontier, decode_frontier
from security.past import past_of
from security.sealed_codec import canonical


def verify_export(lines: Iterable[bytes], public_key: bytes, kept: Iterable[bytes] = ()) -> AuditReport:
    """Check an export from its first line on. kept: checkpoints, as lines, that were kept elsewhere.

    Raises: TamperedData for a checkpoint in `kept` that this key did not sign.
    """
    check = _Check(public_key, list(kept))
    try:
        for line in lines:
            check.take(line)
        return check.end()
    except _Broken as found:
        return AuditReport(check.tree.size, found.at, found.reason, check.agreed, check.covered, check.lost)


class _Broken(Exception):
    """at: the entry, or the line, where the export is not what it should be."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at, self.reason = at, reason


@dataclass(slots=True)
class _Segment:
    """Lines since the last statement: their digest, and leaves by entry."""

    digest: Any = field(default_factory=hashlib.sha256)
    lines: int = 0
    leaves: list[tuple[int, bytes]] = field(default_factory=list)


class _Check:
    """tree: over all entries up to the last statement; agreed, covered, lost: as AuditReport tells."""

    def __init__(self, public_key: bytes, kept: list[bytes]) -> None:
        self._key = public_key
        self._kept = kept
        self._expected: dict[int, set[bytes | None]] | None = None
        self._segment = _Segment()
        self.tree = Frontier()
        self.agreed = self.covered = self.lost = 0

    def take(self, line: bytes) -> None:
        at = self.tree.size + self._segment.lines + 1
        try:
            held = json.loads(line)
            if held.get("statement") == STATEMENT:
                self._state(held)
                return
            number, leaf = _leaf_of(held)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
            raise _Broken(at, "a line is no entry of an export in JSON") from None
        if self._segment.lines == STATED_EVERY:
            raise _Broken(at, "a signed statement is missing")
        self._segment.digest.update(line + b"\n")
        self._segment.lines += 1
        self._segment.leaves.append((number, leaf))

    def end(self) -> AuditReport:
        if self._segment.lines or self._expected is None:
            raise _Broken(self.tree.size + 1, "the end is missing: its last lines have no signed statement")
        newer = [seq for seq in self._expected or () if seq > self.tree.size]
        if newer:
            raise _Broken(
                self.tree.size + 1,
                f"a signed checkpoint covers {max(newer)} entries: the log was cut, or went on after this export",
            )
        return AuditReport(
            self.tree.size, None, None, self.agreed, self.covered, self.lost, root=self.tree.root().hex()
        )

    def _state(self, held: dict[str, Any]) -> None:
        segment, self._segment = self._segment, _Segment()
        at = self.tree.size + 1
        signature = bytes.fromhex(held.pop("signature"))
        try:
            Ed25519PublicKey.from_public_bytes(self._key).verify(signature, EXPORT + canonical(held))
        except InvalidSignature:
            raise _Broken(at, "a statement is not signed by this deployment") from None
        if (segment.lines, segment.digest.hexdigest()) != (held["lines"], held["sha256"]):
            raise _Broken(at, "lines were changed, moved, added or left out")
        before = decode_frontier(bytes.fromhex(held["before"]))
        if self._expected is None:
            self._begin(before, held)
        elif before != self.tree:
            raise _Broken(at, "a part of the log is missing between two parts of the export, or they are of two logs")
        if held["left_out"]:
            raise _Broken(at, "entries were left out on purpose (--since, --until): only a whole export can be checked")
        for number, leaf in segment.leaves:
            if number != self.tree.size + 1:
                raise _Broken(self.tree.size + 1, "an entry is missing or out of order")
            self.tree.add(leaf)
            self._compare()
        if (self.tree.size, self.tree.root().hex()) != (held["last"], held["root"]):
            raise _Broken(self.tree.size, "the entries are not those that the statement at their end is of")

    def _begin(self, before: Frontier, held: dict[str, Any]) -> None:
        deployment = held["deployment"]
        read = [read_checkpoint(line, deployment, self._key) for line in self._kept]
        restores = [read_line(text.encode("ascii"), deployment, self._key)[0] for text in held["restores"]]
        past = past_of(held["epoch"], restores)
        self._expected = {}
        for checkpoint in read:
            if not past.holds(checkpoint.epoch, checkpoint.seq):
                self.lost += 1
            else:
                self._expected.setdefault(checkpoint.seq, set()).add(checkpoint.root)
        self.tree = before
        if before.size:
            self._compare()

    def _compare(self) -> None:
        for root in (self._expected or {}).get(self.tree.size, ()):
            if root not in (None, self.tree.root()):
                raise _Broken(self.tree.size, "the log differs from a signed checkpoint: it was rewritten")
            self.agreed, self.covered = self.agreed + 1, self.tree.size


def _leaf_of(held: dict[str, Any]) -> tuple[int, bytes]:
    """An entry's number and leaf, from either form."""
    if "payload" in held:
        payload = base64.b64decode(held["payload"], validate=True)
        return int(held["seq"]), entry_leaf(int(held["seq"]), float(held["at"]), payload)
    event = held["event"]
    return int(event["sequence"]), bytes.fromhex(event["hash"])
