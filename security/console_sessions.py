"""Sessions of the web console: whoever signed in gets a sealed cookie that names them, and never holds a credential.

The cookie is an envelope that this deployment alone can make or open, so any replica can answer for it. Who it stands
for is looked up anew with every request: a key that is revoked or expires ends its sessions with it, and so does a
block of whoever signed in with the identity provider, or a map that gives them nothing more. A session ends
after half an hour without a request, after eight hours in any case, and at once where somebody signs out; another
process than the one that was told of that learns it when the time is up.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lookalike.answers import Caller
from lookalike.domain import Principal
from lookalike.errors import TamperedData, Unauthenticated
from lookalike.on_record import on_record
from security.audit import SealedAuditLog
from security.envelope import open_sealed, seal
from security.identities import Identities
from security.keys import KeyRing
from security.sealed_codec import canonical

IDLE_S = 1800.0
LONGEST_S = 8 * 3600.0
RENEW_AFTER_S = 120.0
"""A cookie is given anew only so often: its idle time is exact to this."""

MAX_COOKIE = 1000
_ENDED = "the session has ended: sign in again"


@dataclass(frozen=True, slots=True, repr=False)
class Session:
    """principal_id: of whoever signed in; token: what forms must carry; times in seconds since 1970."""

    id: str
    principal_id: str
    token: str
    began_at: float
    seen_at: float


class ConsoleSessions:
    """Begins, resumes and ends sessions. Thread-safe."""

    def __init__(
        self, keyring: KeyRing, identities: Identities, audit: SealedAuditLog, clock: Callable[[], float] = time.time
    ) -> None:
        self._sealing = keyring.derived_key("console sessions")
        self._context = keyring.context("console-session")
        self._identities = identities
        self._audit = audit
        self._clock = clock
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self, secret: str, request_id: str) -> Session:
        """Sign in with an API key. Raises: Unauthenticated, as for any call with that key."""
        return self.begin_as(self._identities.authenticate(secret), request_id)

    def begin_as(self, principal: Principal, request_id: str) -> Session:
        """A session of somebody who has shown who they are."""
        with on_record(self._audit, Caller(principal, request_id), "console.sign_in", None):
            now = self._clock()
            return Session(secrets.token_hex(16), principal.id, secrets.token_urlsafe(32), now, now)

    def resume(self, cookie: str) -> tuple[Session, Principal]:
        """The session of a cookie and who it stands for now. Raises: Unauthenticated once it has ended."""
        session, now = self._opened(cookie), self._clock()
        with self._lock:
            ended = session.id in self._ended
        if ended or now - session.seen_at > IDLE_S or now - session.began_at > LONGEST_S:
            raise Unauthenticated(_ENDED)
        return session, self._identities.principal(session.principal_id)

    def renewed(self, session: Session) -> Session | None:
        """The session as used now, where its cookie is old enough to be given anew."""
        now = self._clock()
        return replace(session, seen_at=now) if now - session.seen_at > RENEW_AFTER_S else None

    def end(self, session: Session, caller: Caller) -> None:
        """Sign out: no cookie of this session is taken any more."""
        with on_record(self._audit, caller, "console.sign_out", None):
            now = self._clock()
            with self._lock:
                self._ended = {id: until for id, until in self._ended.items() if until > now}
                self._ended[session.id] = session.began_at + LONGEST_S

    def cookie(self, session: Session) -> str:
        """The sealed session, as text for a cookie."""
        held = canonical(
            {
                "id": session.id,
                "who": session.principal_id,
                "token": session.token,
                "began": session.began_at,
                "seen": session.seen_at,
            }
        )
        return base64.urlsafe_b64encode(seal(self._sealing, held, self._context)).decode("ascii").rstrip("=")

    def _opened(self, cookie: str) -> Session:
        if len(cookie) > MAX_COOKIE or not cookie.isascii():
            raise Unauthenticated(_ENDED)
        try:
            sealed = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
            held = json.loads(open_sealed(self._sealing, sealed, self._context))
        except (binascii.Error, TamperedData):
            raise Unauthenticated(_ENDED) from None
        if "who" not in held:
            raise Unauthenticated(_ENDED)  # a cookie of an earlier release, which knew keys alone
        return Session(held["id"], held["who"], held["token"], held["began"], held["seen"])
