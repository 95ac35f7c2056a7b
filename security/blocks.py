"""Who is blocked: principals of tokens and certificates, and single certificates, refused on every replica.

A block is a setting by the name of what it blocks, so its being there says all; who did it, when and why is sealed in
its value. Each process believes what it read for at most a second. A block is entered in the erasure ledger too, and a
restored backup obeys it: a setting that a restore writes has no value.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lookalike.answers import Caller
from lookalike.domain import Permission
from lookalike.errors import InvalidInput, PrincipalNotFound, Unauthenticated
from lookalike.on_record import on_record
from lookalike.ports import Rows, RowWriter
from security.audit import SealedAuditLog
from security.envelope import open_sealed, seal
from security.keys import KeyRing
from security.ledger import BLOCK, UNBLOCK, blocked_setting
from security.ledger_copy import Ledger
from security.sealed_codec import canonical

REMEMBERED_S: Final = 1.0
"""The longest that somebody who was blocked by another process is still let in."""

MAX_REASON: Final = 256
_MAX_REMEMBERED: Final = 10_000
_BLOCKABLE: Final = re.compile(r"(oidc|cert):[0-9a-f]{32}|sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Block:
    """what: a principal, or `sha256:…` of one certificate. Who, when and why are unknown of one that was restored."""

    what: str
    by: str | None = None
    at: float | None = None
    reason: str | None = None


class Blocks:
    """Blocks and lifts, and tells who is blocked. Thread-safe; several processes may share the rows."""

    def __init__(
        self,
        rows: Rows,
        keyring: KeyRing,
        audit: SealedAuditLog,
        ledger: Ledger,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._ledger = ledger
        self._clock = clock
        self._timer = timer
        self._sealing = keyring.derived_key("blocks")
        self._remembered: dict[str, tuple[float, bool]] = {}
        self._lock = threading.Lock()

    def require_free(self, *what: str) -> None:
        """Raises: Unauthenticated if any of these is blocked."""
        if any(self._is_blocked(each) for each in what):
            raise Unauthenticated("blocked by an administrator")

    def _is_blocked(self, what: str) -> bool:
        found, now = self._remembered.get(what), self._timer()
        if found is not None and now < found[0]:
            return found[1]
        blocked = self._rows.read().get_setting(blocked_setting(what)) is not None
        with self._lock:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[what] = now + REMEMBERED_S, blocked
        return blocked

    def block(self, caller: Caller, what: str, reason: str | None = None) -> Block:
        """Refuse a principal, or a certificate, from now on. Raises: InvalidInput, PermissionDenied."""
        with on_record(self._audit, caller, "principal.block", Permission.MANAGE_KEYS) as record:
            _require_blockable(what)
            if reason is not None and not (1 <= len(reason) <= MAX_REASON and reason.isprintable()):
                raise InvalidInput(f"reason: 1 to {MAX_REASON} printable characters are allowed")
            block = Block(what, caller.principal.id, self._clock(), reason)
            record.details["blocked"] = what
            note, sealed = self._audit.prepare(record.commit()), self._seal(block)

            def put(rows: RowWriter) -> None:
                rows.put_setting(blocked_setting(what), sealed)
                note(rows)
                self._ledger.enter(rows, BLOCK, {"blocked": what}, self._clock())

            self._write(what, put)
        return block

    def lift(self, caller: Caller, what: str) -> None:
        """Let it in again. Raises: PrincipalNotFound unless it is blocked, PermissionDenied."""
        with on_record(self._audit, caller, "principal.unblock", Permission.MANAGE_KEYS) as record:
            _require_blockable(what)
            record.details["blocked"] = what
            note = self._audit.prepare(record.entry())

            def delete(rows: RowWriter) -> None:
                if not rows.delete_setting(blocked_setting(what)):
                    raise PrincipalNotFound("nothing of this name is blocked")
                note(rows)
                self._ledger.enter(rows, UNBLOCK, {"blocked": what}, self._clock())

            self._write(what, delete)
            record.written = True

    def all(self) -> list[Block]:
        """All blocks, in the order of what they block."""
        prefix = blocked_setting("")
        found = self._rows.read().settings(prefix)
        return [self._open(name.removeprefix(prefix), value) for name, value in sorted(found.items())]

    def _write(self, what: str, work: Callable[[RowWriter], None]) -> None:
        self._rows.write(work)
        self._ledger.publish()
        with self._lock:
            self._remembered.pop(what, None)

    def _seal(self, block: Block) -> bytes:
        held = canonical({"by": block.by, "at": block.at, "reason": block.reason})
        return seal(self._sealing, held, self._keyring.context("block", record=block.what))

    def _open(self, what: str, sealed: bytes) -> Block:
        if not sealed:
            return Block(what)
        held = json.loads(open_sealed(self._sealing, sealed, self._keyring.context("block", record=what)))
        return Block(what, held["by"], held["at"], held["reason"])


def _require_blockable(what: str) -> None:
    if _BLOCKABLE.fullmatch(what) is None:
        raise InvalidInput(
            "principal: oidc:… or cert:… as the audit log names it, or sha256: and a certificate's fingerprint, is"
            " allowed; API keys are revoked"
        )
