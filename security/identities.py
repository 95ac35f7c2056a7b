"""Turns whatever a caller shows into a principal: an API key, an access token, or a client certificate.

Rights are decided anew with every request: a block, a changed map or a revocation list holds within seconds, whatever
the token or the certificate still says. `principal` answers for somebody who is not here: a job that goes on in their
name, and a session of the console. For them what they last showed counts, for a day at most.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Grant, Permission, Principal
from lookalike.errors import InvalidInput, PermissionDenied, Unauthenticated
from lookalike.on_record import on_record
from lookalike.ports import AuditLog
from security.access_tokens import Bearer, TokenRules, header_of, looks_like_token, verified
from security.blocks import Block, Blocks
from security.client_certificates import CertificateReader, ClientCertificate, Standing
from security.identity_map import IdentityMap
from security.issuer import IssuerKeys
from security.known_principals import Known, KnownPrincipals
from security.rbac import principal_for
from security.tokens import ApiKeys
from security.watched_file import WatchedFile

COUNTS_FOR_S: Final = 86_400.0
"""How long what somebody last showed counts while they are not here."""

TELL_AGAIN_S: Final = 60.0
"""How often it is put on record that somebody came who has no right at all."""

_MAX_TOLD: Final = 10_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """What access tokens are judged by."""

    rules: TokenRules
    keys: IssuerKeys


@dataclass(frozen=True, slots=True)
class Whom:
    """One of these: a principal's id, a token's subject, the SHA-256 fingerprint of a certificate in hex."""

    principal: str | None = None
    subject: str | None = None
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody who came, and what they may now. fingerprint: of their certificate, where they showed one."""

    known: Known
    grants: tuple[Grant, ...]
    blocked: bool
    fingerprint: str | None


class Identities:
    """Who somebody is, and what they may now. Thread-safe."""

    def __init__(
        self,
        api_keys: ApiKeys,
        known: KnownPrincipals,
        blocks: Blocks,
        audit: AuditLog,
        mapped: WatchedFile[IdentityMap] | None = None,
        tokens: Tokens | None = None,
        certificates: Standing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """mapped: who may what; without it no token and no certificate gives any right."""
        self.known = known
        self.blocks = blocks
        self.tokens = tokens
        self._api_keys = api_keys
        self._audit = audit
        self._mapped = mapped
        self._certificates = certificates
        self._reader = CertificateReader()
        self._clock = clock
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def authenticate(self, secret: str) -> Principal:
        """Who sent this key or access token.

        Raises: Unauthenticated; PermissionDenied for a good token that gives no right; IdentityUnavailable.
        """
        if self.tokens is None or not looks_like_token(secret):
            return self._api_keys.authenticate(secret)
        header = header_of(secret)
        key = self.tokens.keys.key(header.key_id, header.algorithm)
        return self.of_bearer(verified(secret, header, key, self.tokens.rules), self.tokens.rules.issuer)

    def of_bearer(self, bearer: Bearer, issuer: str) -> Principal:
        """Who a verified token stands for. Raises: Unauthenticated, PermissionDenied."""
        known = Known(
            self.known.token_id(issuer, bearer.subject), issuer, bearer.subject, bearer.groups, name=bearer.name
        )
        self.blocks.require_free(known.id)
        return self._admitted(known)

    def require_standing(self, der: bytes) -> ClientCertificate:
        """The certificate of a connection, if it still stands. Raises: Unauthenticated."""
        if self._certificates is None:
            raise Unauthenticated("no client certificates are taken")
        certificate = self._reader.read(der)
        self._certificates.require_good(certificate)
        self.blocks.require_free(certificate.fingerprint, self.known.certificate_id(certificate.identity))
        return certificate

    def of_certificate(self, der: bytes) -> Principal:
        """Who holds a certificate. Raises: Unauthenticated; PermissionDenied for a good one that gives no right."""
        certificate = self.require_standing(der)
        id = self.known.certificate_id(certificate.identity)
        return self._admitted(Known(id, certificate=der, name=certificate.shown))

    def principal(self, id: str) -> Principal:
        """Who a principal's id stands for now. Raises: Unauthenticated, PermissionDenied once it stands for nobody."""
        if id.startswith("key:"):
            return self._api_keys.principal(id.removeprefix("key:"))
        known = self.known.find(id)
        if known is None or self._clock() - known.seen_at > COUNTS_FOR_S:
            raise Unauthenticated("whoever this was has not been here for a day: they must come again")
        self.blocks.require_free(id)
        if known.certificate:
            self.require_standing(known.certificate)
        elif self.tokens is None or self.tokens.rules.issuer != known.issuer:
            raise Unauthenticated("tokens of this issuer are not taken any more")
        return self._granted(known)

    def grants_of(self, known: Known) -> tuple[Grant, ...]:
        """What the map gives somebody now."""
        if self._mapped is None:
            return ()
        mapped = self._mapped.current()
        if known.certificate:
            return mapped.of_certificate(self._reader.read(known.certificate).names)
        return mapped.of_token(known.subject, known.groups)

    # ---------------------------------------------------------------------------------------------- managing

    def seen(self, caller: Caller) -> tuple[list[Seen], list[Block]]:
        """Who came with rights, and what is blocked. Raises: PermissionDenied."""
        with on_record(self._audit, caller, "principal.list", Permission.MANAGE_KEYS):
            blocks = self.blocks.all()
            blocked = {block.what for block in blocks}
            return [self._seen(known, blocked) for known in self.known.all().values()], blocks

    def _seen(self, known: Known, blocked: set[str]) -> Seen:
        fingerprint = self._reader.read(known.certificate).fingerprint if known.certificate else None
        return Seen(known, self.grants_of(known), bool(blocked & {known.id, fingerprint}), fingerprint)

    def block(self, caller: Caller, whom: Whom, reason: str | None = None) -> Block:
        """Refuse somebody from now on. Raises: InvalidInput, PermissionDenied."""
        return self.blocks.block(caller, self._named(whom), reason)

    def unblock(self, caller: Caller, whom: Whom) -> None:
        """Let somebody in again. Raises: InvalidInput, PrincipalNotFound, PermissionDenied."""
        self.blocks.lift(caller, self._named(whom))

    def _named(self, whom: Whom) -> str:
        """What a block is called by."""
        given = [value for value in (whom.principal, whom.subject, whom.certificate) if value is not None]
        if len(given) != 1:
            raise InvalidInput("exactly one of principal, subject and certificate is needed")
        if whom.certificate is not None:
            return "sha256:" + whom.certificate.removeprefix("sha256:").replace(":", "").lower()
        if whom.subject is None:
            return given[0]
        if self.tokens is None:
            raise InvalidInput("subject: no tokens are taken here (LOOKALIKE_OIDC_ISSUER)")
        return self.known.token_id(self.tokens.rules.issuer, whom.subject)

    # ------------------------------------------------------------------------------------------------ inside

    def _admitted(self, known: Known) -> Principal:
        """Remember who came with rights; put on record who came without any. Raises: PermissionDenied."""
        try:
            principal = self._granted(known)
        except PermissionDenied:
            if self._is_news(known.id):
                self._audit.append(AuditEntry("authenticate", known.id, "denied", "-"))
            raise
        self.known.remember(known)
        return principal

    def _granted(self, known: Known) -> Principal:
        grants = self.grants_of(known)
        if not grants:
            raise PermissionDenied("no group, subject or certificate of this credential is in LOOKALIKE_IDENTITY_MAP")
        return principal_for(known.id, grants)

    def _is_news(self, id: str) -> bool:
        now = self._clock()
        with self._lock:
            if len(self._told) >= _MAX_TOLD:
                self._told.clear()
            if now - self._told.get(id, 0.0) < TELL_AGAIN_S:
                return False
            self._told[id] = now
        return True

    def close(self) -> None:
        """End what fetches the issuer's keys."""
        if self.tokens is not None:
            self.tokens.keys.close()
