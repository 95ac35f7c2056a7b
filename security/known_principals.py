"""Who came with a token or a certificate: the pseudonym that the audit log knows them by, and what they last showed.

A pseudonym is a keyed hash of issuer and subject, or of a certificate's names: always the same here, and telling nobody
who it is. What it stands for is sealed beside it, for three uses: an operator asks who it was, a job goes on in
somebody's name, and a session of the console knows its groups.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from lookalike.errors import StorageFull, StorageUnavailable
from lookalike.ports import Rows
from security.envelope import open_sealed, seal
from security.keys import KeyRing
from security.sealed_codec import canonical

TELL_AGAIN_S: Final = 3600.0
"""How old the last time that somebody was seen may be until it is written anew."""

_PREFIX: Final = "principal/"
_MAX_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Known:
    """issuer, subject, groups: of a token, empty of a certificate; certificate: DER, empty of a token.

    name: as people call them, where the token says so, and of a certificate its subject. seen_at: seconds since 1970,
    exact to an hour.
    """

    id: str
    issuer: str = ""
    subject: str = ""
    groups: frozenset[str] = frozenset()
    certificate: bytes = b""
    name: str | None = None
    seen_at: float = 0.0


class KnownPrincipals:
    """Remembers and finds. Thread-safe; several processes may share the rows."""

    def __init__(
        self,
        rows: Rows,
        keyring: KeyRing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rows = rows
        self._keyring = keyring
        self._clock = clock
        self._sealing = keyring.derived_key("known principals")
        self._told: dict[Known, float] = {}
        self._lock = threading.Lock()

    def token_id(self, issuer: str, subject: str) -> str:
        """The pseudonym of a token's subject."""
        return f"oidc:{self._keyring.lookup('oidc principal', issuer.encode(), subject.encode())[:16].hex()}"

    def certificate_id(self, names: bytes) -> str:
        """The pseudonym of whom a certificate is for. names: its subject and alternative names, DER."""
        return f"cert:{self._keyring.lookup('certificate principal', names)[:16].hex()}"

    def remember(self, known: Known) -> None:
        """Write what somebody showed, unless the very same was written within the hour.

        Machines that share a name take turns without a write for each. A full disk keeps nobody out: what cannot be
        written now is written with a later request.
        """
        now = self._clock()
        if now - self._told.get(known, -TELL_AGAIN_S) < TELL_AGAIN_S:
            return
        sealed = self._seal(replace(known, seen_at=now))
        try:
            self._rows.write(lambda rows: rows.put_setting(_PREFIX + known.id, sealed))
        except (StorageFull, StorageUnavailable):
            return
        with self._lock:
            if len(self._told) >= _MAX_REMEMBERED:
                self._told.clear()
            self._told[known] = now

    def find(self, id: str) -> Known | None:
        """What somebody last showed, to whichever replica."""
        sealed = self._rows.read().get_setting(_PREFIX + id)
        return self._open(id, sealed) if sealed is not None else None

    def all(self) -> Mapping[str, Known]:
        """Everybody, by pseudonym."""
        found = self._rows.read().settings(_PREFIX)
        opened = (self._open(name.removeprefix(_PREFIX), sealed) for name, sealed in sorted(found.items()))
        return {known.id: known for known in opened}

    def _seal(self, known: Known) -> bytes:
        held = {
            "issuer": known.issuer,
            "subject": known.subject,
            "groups": sorted(known.groups),
            "certificate": known.certificate.hex(),
            "name": known.name,
            "seen_at": known.seen_at,
        }
        return seal(self._sealing, canonical(held), self._keyring.context("known-principal", record=known.id))

    def _open(self, id: str, sealed: bytes) -> Known:
        context = self._keyring.context("known-principal", record=id)
        held = json.loads(open_sealed(self._sealing, sealed, context))
        return Known(
            id,
            held["issuer"],
            held["subject"],
            frozenset(held["groups"]),
            bytes.fromhex(held["certificate"]),
            held["name"],
            held["seen_at"],
        )
