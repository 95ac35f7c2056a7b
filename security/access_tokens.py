"""Whether an access token is what it says: signature, issuer, audience, times and kind, from values alone.

A token is a JWT (RFC 7519) as RFC 9068 has it, and as Keycloak, Entra and Dex make it. Its header says by which key it
was signed, and nothing else of it is believed: `jku`, `x5u`, `jwk` and `x5c` lead nowhere. What says anything twice is
refused, since two readers could read it differently, and so is what a client was given for itself: an ID token.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import jwt

from lookalike.errors import Unauthenticated
from security.jwks import ALGORITHMS, PublicKey

MAX_TOKEN: Final = 16_384
MAX_GROUPS: Final = 1000
_MAX_TEXT: Final = 512
_ACCESS = ("at+jwt", "application/at+jwt")
_PLAIN = ("jwt", "application/jwt", "")
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash")
"""Claims that OpenID Connect gives to ID tokens alone."""

_NEEDED = ["exp", "iat", "iss", "aud", "sub"]

_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the access token has expired"),
    (jwt.ImmatureSignatureError, "the access token is not valid yet"),
    (jwt.InvalidAudienceError, "the access token is for another audience"),
    (jwt.InvalidIssuerError, "the access token is of another issuer"),
    (jwt.InvalidSignatureError, "the access token's signature is wrong"),
)
_REFUSED = "the access token is malformed, or lacks a claim"


TokenKind = Literal["access", "at+jwt", "any"]
"""Which tokens are taken: those that are no ID token, whose header says at+jwt, or also what looks like an ID token."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What is asked of a token. groups_claim: its name, or the path to it with dots; leeway_s: for clocks."""

    issuer: str
    audience: str
    groups_claim: str = "groups"
    leeway_s: float = 30.0
    kind: TokenKind = "access"


@dataclass(frozen=True, slots=True)
class Header:
    """Which key signed. type: in lower case, '' where it is not said."""

    algorithm: str
    key_id: str | None
    type: str


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a verified token stands for. name: as people call it, where the token says so."""

    subject: str
    groups: frozenset[str]
    name: str | None


def looks_like_token(secret: str) -> bool:
    """Whether a credential is a signed JWT rather than a key: three parts, the first of them a JSON object."""
    return secret.startswith("eyJ") and secret.count(".") == 2


def header_of(token: str) -> Header:
    """What the header says, before anything is verified. Raises: Unauthenticated."""
    if len(token) > MAX_TOKEN:
        raise Unauthenticated(f"an access token of at most {MAX_TOKEN} characters is allowed")
    held = _part(token.partition(".")[0])
    algorithm, key_id, type = held.get("alg"), held.get("kid"), held.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Unauthenticated(f"an access token signed with {', '.join(ALGORITHMS)} is allowed")
    if "crit" in held or "b64" in held or "zip" in held or not isinstance(type, str):
        raise Unauthenticated(_REFUSED)
    if key_id is not None and not (isinstance(key_id, str) and len(key_id) <= _MAX_TEXT):
        raise Unauthenticated(_REFUSED)
    return Header(algorithm, key_id, type.lower())


def verified(token: str, header: Header, key: PublicKey, rules: TokenRules) -> Bearer:
    """Whom the token stands for. header: the token's own, by which the key was found. Raises: Unauthenticated."""
    if header.type not in _ACCESS and (rules.kind == "at+jwt" or header.type not in _PLAIN):
        raise Unauthenticated("an access token (at+jwt) is allowed, and this is another kind")
    claims = verified_claims(token, header, key, rules.issuer, rules.audience, rules.leeway_s)
    if header.type not in _ACCESS and rules.kind != "any" and _is_no_access_token(claims):
        raise Unauthenticated("this is an ID token or another kind of token: send the access token")
    name = claims.get("preferred_username")
    return Bearer(
        str(claims["sub"]),
        groups_in(claims, rules.groups_claim),
        name if isinstance(name, str) and name.isprintable() and len(name) <= _MAX_TEXT else None,
    )


def verified_claims(
    token: str, header: Header, key: PublicKey, issuer: str, audience: str, leeway_s: float
) -> dict[str, Any]:
    """The claims of a JWT whose signature, issuer, audience and times are right. Raises: Unauthenticated."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[header.algorithm],
            issuer=issuer,
            audience=audience,
            leeway=leeway_s,
            options={"require": _NEEDED, "enforce_minimum_key_length": True},
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
        reason = next((text for kind, text in _REASONS if isinstance(error, kind)), _REFUSED)
        raise Unauthenticated(reason) from None
    if _part(token.split(".")[1]) != claims or not 1 <= len(claims["sub"]) <= _MAX_TEXT:
        raise Unauthenticated(_REFUSED)
    return claims


def groups_in(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """The groups in a claim, none where it is absent. name: of the claim, else the path to it: `realm_access.roles`.

    Raises: Unauthenticated for a claim that holds anything but texts.
    """
    found: Any = claims.get(name)
    if found is None and "." in name:
        found = claims
        for step in name.split("."):
            found = found.get(step) if isinstance(found, dict) else None
    groups = [] if found is None else [found] if isinstance(found, str) else found
    if not isinstance(groups, list) or len(groups) > MAX_GROUPS:
        raise Unauthenticated(f"the access token's groups are no list of at most {MAX_GROUPS} texts")
    if not all(isinstance(group, str) and len(group) <= _MAX_TEXT for group in groups):
        raise Unauthenticated(f"the access token's groups are no list of at most {MAX_GROUPS} texts")
    return frozenset(groups)


def _is_no_access_token(claims: Mapping[str, Any]) -> bool:
    """Whether a token whose header does not say is an ID token, or one that Keycloak says is for something else."""
    return any(name in claims for name in _OF_ID_TOKENS) or str(claims.get("typ", "Bearer")).lower() != "bearer"


def _part(text: str) -> dict[str, Any]:
    """A part of a token, in which nothing is said twice. Raises: Unauthenticated."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        held = json.loads(decoded.decode(), object_pairs_hook=_once)
    except (binascii.Error, ValueError, RecursionError):
        raise Unauthenticated(_REFUSED) from None
    if not isinstance(held, dict):
        raise Unauthenticated(_REFUSED)
    return held


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("said twice")
    return found
