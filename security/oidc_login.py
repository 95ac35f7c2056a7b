"""Signing a person in at the identity provider: authorization code with PKCE, state and nonce, in one sealed cookie.

What has to be remembered between leaving for the provider and coming back goes with the browser, sealed, so that any
replica can go on and nothing is kept of those who never come back. It counts for ten minutes and for this browser
alone: whoever makes somebody else's browser open a way back has not got its cookie.
Source: OpenID Connect Core 1.0 (3.1), RFC 7636 (PKCE), RFC 9207 (the issuer in the answer), RFC 9700.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from lookalike.domain import Principal
from lookalike.errors import BadSettings, IdentityUnavailable, Overloaded, TamperedData, Unauthenticated
from security.access_tokens import Bearer, groups_in, header_of, looks_like_token, verified, verified_claims
from security.envelope import open_sealed, seal
from security.identities import Identities, Tokens
from security.issuer import Endpoints, discover
from security.issuer_http import IssuerHttp, read_object
from security.keys import KeyRing
from security.sealed_codec import canonical
from security.secret_files import read_secret_file

COUNTS_FOR_S: Final = 600.0
AT_ONCE: Final = 2
"""How many people's codes are being redeemed at once: each holds a worker while the provider answers."""

KNOWN_FOR_S: Final = 300.0
MAX_COOKIE: Final = 4000
_MAX_CODE: Final = 4096
_BEGIN_AGAIN: Final = (
    "this way back from the identity provider is not one that was begun here a moment ago: sign in again"
)


@dataclass(frozen=True, slots=True, repr=False)
class Client:
    """What the provider knows this console as. secret_file: None for a public client; back: where it sends people."""

    id: str
    secret_file: Path | None
    scopes: str
    back: str


@dataclass(frozen=True, slots=True, repr=False)
class Departure:
    """Where to send a browser, and the cookie that it takes along."""

    to: str
    cookie: str


class OidcLogin:
    """Sends people to the provider and recognises them when they come back. Thread-safe."""

    def __init__(
        self,
        client: Client,
        identities: Identities,
        tokens: Tokens,
        http: IssuerHttp,
        keyring: KeyRing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises: BadSettings, KeyUnavailable for a secret that cannot be read."""
        self._client = client
        self._identities = identities
        self._tokens = tokens
        self._http = http
        self._clock = clock
        self._sealing = keyring.derived_key("console oidc")
        self._context = keyring.context("console-oidc")
        self._secret = None if client.secret_file is None else _read_secret(client.secret_file)
        self._endpoints: tuple[float, Endpoints] | None = None
        self._turns = threading.Semaphore(AT_ONCE)

    def depart(self, next: str) -> Departure:
        """Begin. next: where in the console to go on. Raises: IdentityUnavailable, Overloaded."""
        authorization = self._found().authorization
        if authorization is None:
            raise IdentityUnavailable("the identity provider names no authorization endpoint")
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        asked = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": self._client.back,
            "scope": self._client.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": _unpadded(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        held = {"state": state, "nonce": nonce, "verifier": verifier, "next": next, "at": self._clock()}
        cookie = _unpadded(seal(self._sealing, canonical(held), self._context))
        return Departure(f"{authorization}{'&' if '?' in authorization else '?'}{urlencode(asked)}", cookie)

    def arrive(self, cookie: str | None, answer: Mapping[str, str]) -> tuple[Principal, str]:
        """Who came back, and where to go on. answer: the query that the provider sent along.

        Raises: Unauthenticated; PermissionDenied for somebody without rights; IdentityUnavailable, Overloaded.
        """
        held = self._opened(cookie)
        if not hmac.compare_digest(answer.get("state", "").encode(), held["state"].encode()):
            raise Unauthenticated(_BEGIN_AGAIN)
        issuer = self._tokens.rules.issuer
        if answer.get("iss", issuer) != issuer:
            raise Unauthenticated("this answer is another identity provider's")
        code = answer.get("code", "")
        if not 1 <= len(code) <= _MAX_CODE:
            raise Unauthenticated("the identity provider did not sign in anybody")
        sent = self._redeemed(code, held["verifier"])
        return self._identities.of_bearer(self._who(sent, held["nonce"]), issuer), held["next"]

    def _redeemed(self, code: str, verifier: str) -> Mapping[str, object]:
        token = self._found().token
        if token is None:
            raise IdentityUnavailable("the identity provider names no token endpoint")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.back,
            "code_verifier": verifier,
            "client_id": self._client.id,
        }
        auth = None if self._secret is None else (self._client.id, self._secret)
        with self._turn():
            return read_object(self._http.post_form(token, form, auth), "the identity provider's answer")

    def _who(self, sent: Mapping[str, object], nonce: str) -> Bearer:
        """Whom the ID token stands for, with the groups of an access token where that is for this API."""
        id_token, access_token = sent.get("id_token"), sent.get("access_token")
        if not isinstance(id_token, str):
            raise Unauthenticated("the identity provider sent no ID token: the scope openid is needed")
        header, rules = header_of(id_token), self._tokens.rules
        key = self._tokens.keys.key(header.key_id, header.algorithm)
        claims = verified_claims(id_token, header, key, rules.issuer, self._client.id, rules.leeway_s)
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise Unauthenticated(_BEGIN_AGAIN)
        if claims.get("azp", self._client.id) != self._client.id:
            raise Unauthenticated("the ID token was made for another client")
        if isinstance(access_token, str) and looks_like_token(access_token):
            try:
                header = header_of(access_token)
                return verified(access_token, header, self._tokens.keys.key(header.key_id, header.algorithm), rules)
            except (Unauthenticated, IdentityUnavailable):
                pass  # it is for another audience, or another issuer, and what the ID token says counts
        name = claims.get("preferred_username")
        return Bearer(claims["sub"], groups_in(claims, rules.groups_claim), name if isinstance(name, str) else None)

    def _found(self) -> Endpoints:
        """The provider's endpoints, asked for anew now and then."""
        known, now = self._endpoints, self._clock()
        if known is None or not 0 <= now - known[0] < KNOWN_FOR_S:
            with self._turn():
                known = self._endpoints = now, discover(self._tokens.rules.issuer, self._http)
        return known[1]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(blocking=False):
            raise Overloaded("other people are signing in at this moment: try again")
        try:
            yield
        finally:
            self._turns.release()

    def _opened(self, cookie: str | None) -> Mapping[str, str]:
        if cookie is None or len(cookie) > MAX_COOKIE or not cookie.isascii():
            raise Unauthenticated(_BEGIN_AGAIN)
        try:
            sealed = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
            held: dict[str, str] = json.loads(open_sealed(self._sealing, sealed, self._context))
        except (binascii.Error, TamperedData):
            raise Unauthenticated(_BEGIN_AGAIN) from None
        if not 0 <= self._clock() - float(held["at"]) < COUNTS_FOR_S:
            raise Unauthenticated(_BEGIN_AGAIN)
        return held


def _read_secret(path: Path) -> str:
    secret = read_secret_file(path, "the file of LOOKALIKE_OIDC_CLIENT_SECRET_FILE", at_most=4096).strip()
    if not secret or not all(32 < byte < 127 for byte in secret):
        raise BadSettings("LOOKALIKE_OIDC_CLIENT_SECRET_FILE: one line of printable characters is needed")
    return secret.decode("ascii")


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
