"""The public keys of an issuer of tokens, read from its JWK set: those that may verify a signature, by their ids.

A set is somebody else's document. What of it is not a public key for signatures of a kind that is allowed here is left
out: secrets (`oct`), private halves, keys for encryption, RSA below 2048 bits, other curves than P-256 and Ed25519. So
no key can be used with an algorithm that it was not made for, and none of them is a shared secret.
Source: RFC 7517, RFC 7518, RFC 8037.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from lookalike.errors import InvalidInput

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

ALGORITHMS: Mapping[str, type[PublicKey]] = {
    "RS256": RSAPublicKey,
    "PS256": RSAPublicKey,
    "ES256": EllipticCurvePublicKey,
    "EdDSA": Ed25519PublicKey,
}
"""What a token may be signed with, and by which kind of key; never none, and never a shared secret."""

READERS: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}
"""What reads a key, by the kind that it says it is."""

MAX_BYTES = 256_000
MAX_KEYS = 100
LEAST_RSA_BITS = 2048
_MOST_RSA_BITS = 8192
_PRIVATE = ("d", "p", "q", "k")


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One key. id: None where the issuer gave it none; algorithm: the only one it is for, where the issuer says so."""

    id: str | None
    algorithm: str | None
    public: PublicKey

    def fits(self, algorithm: str) -> bool:
        """Whether a signature of this algorithm can be this key's."""
        return isinstance(self.public, ALGORITHMS[algorithm]) and self.algorithm in (None, algorithm)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of an issuer."""

    keys: tuple[IssuerKey, ...]

    def find(self, id: str | None, algorithm: str) -> PublicKey | None:
        """The key of a signature, None where it is not here. A token that names none is of the only one that fits."""
        fitting = [key for key in self.keys if key.fits(algorithm) and (id is None or key.id == id)]
        return fitting[0].public if len(fitting) == 1 else None


def read_keys(text: bytes) -> KeySet:
    """Raises: InvalidInput where it is no JWK set, or holds no key that is allowed."""
    if len(text) > MAX_BYTES:
        raise InvalidInput(f"the issuer's keys are more than {MAX_BYTES} bytes")
    try:
        listed = json.loads(text)["keys"]
        if not isinstance(listed, list):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput("the issuer's keys are no JWK set: an object with a list 'keys' is expected") from None
    found = tuple(key for each in listed[:MAX_KEYS] if (key := _read(each)) is not None)
    if not found:
        raise InvalidInput(
            f"the issuer's JWK set holds no public key for {', '.join(ALGORITHMS)} (RSA of {LEAST_RSA_BITS} bits or"
            " more, P-256, Ed25519)"
        )
    return KeySet(found)


def _read(held: object) -> IssuerKey | None:
    """A key that is allowed, else None."""
    if not isinstance(held, dict) or any(name in held for name in _PRIVATE):
        return None
    operations = held.get("key_ops")
    if held.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        return None
    algorithm, id = held.get("alg"), held.get("kid")
    if algorithm is not None and algorithm not in ALGORITHMS:
        return None
    public = _public(held)
    if public is None or not (id is None or isinstance(id, str)):
        return None
    return IssuerKey(id, algorithm, public)


def _public(held: dict[str, Any]) -> PublicKey | None:
    read = READERS.get(str(held.get("kty")))
    if read is None:
        return None
    try:
        key = read(held)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if isinstance(key, RSAPublicKey):
        return key if LEAST_RSA_BITS <= key.key_size <= _MOST_RSA_BITS else None
    if isinstance(key, EllipticCurvePublicKey):
        return key if isinstance(key.curve, SECP256R1) else None
    return key if isinstance(key, Ed25519PublicKey) else None
