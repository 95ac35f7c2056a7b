"""The sealed form of one record: AES-256-GCM under a key derived for this record alone, committed to its key.

Layout, lengths in bytes; 93 more than the plaintext:

    magic "LKR1" 4 | suite 1 | key id 8 | salt 32 | commitment 32 | ciphertext n | tag 16

With K the key and HKDF of RFC 5869 over SHA-512, 32 bytes each:

    encryption key = HKDF(K, salt, "enc"), used once, so that the nonce is twelve zero bytes
    commitment     = HKDF(K, salt, "commit"), compared first and in constant time: a ciphertext opens under one key only
    associated data = magic | suite | key id | the canonical context

Invariants: no byte of plaintext leaves before its tag was verified; whatever fails to verify raises TamperedData. The
formats are final: what changes them takes a new suite, and suite 1 stays readable. tests/security/vectors holds
examples with which another implementation can be checked.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.hmac import HMAC

from lookalike.errors import TamperedData
from security.secret_key import KEY_BYTES, KEY_ID_BYTES, SecretKey

MAGIC = b"LKR1"
SUITE = b"\x01"
SALT_BYTES = 32
COMMITMENT_BYTES = 32
TAG_BYTES = 16

_SALT_AT = len(MAGIC) + len(SUITE) + KEY_ID_BYTES
_COMMITMENT_AT = _SALT_AT + SALT_BYTES
_BODY_AT = _COMMITMENT_AT + COMMITMENT_BYTES
OVERHEAD = _BODY_AT + TAG_BYTES

_ZERO_NONCE = bytes(12)
_NUMBERS = struct.Struct(">6I2Q")
_SHA512 = SHA512()


@dataclass(frozen=True, slots=True)
class Context:
    """What a sealed record belongs to; it opens under an equal context only.

    type: what is sealed, such as "sample"; schema: version of the plaintext's own layout; model: of an embedding;
    version: of the record, such as its time in microseconds.
    """

    deployment: str
    type: str
    collection: str = ""
    subject: str = ""
    record: str = ""
    schema: int = 1
    model: str = ""
    version: int = 0

    def encode(self) -> bytes:
        """Canonical bytes: the lengths of six texts in UTF-8 (4 each), schema and version (8 each), then the texts.

        The texts in order: deployment, collection, subject, record, type, model; numbers are big-endian. Two contexts
        that differ never encode alike, because the lengths come first and all of them have a fixed size.
        """
        deployment, collection, subject = self.deployment.encode(), self.collection.encode(), self.subject.encode()
        record, type, model = self.record.encode(), self.type.encode(), self.model.encode()
        sizes = (len(deployment), len(collection), len(subject), len(record), len(type), len(model))
        numbers = _NUMBERS.pack(*sizes, self.schema, self.version)
        return b"".join((numbers, deployment, collection, subject, record, type, model))


def seal(key: SecretKey, plaintext: bytes, context: Context) -> bytes:
    """The envelope of `plaintext` under a fresh random salt."""
    return _seal_with_salt(key, plaintext, context, secrets.token_bytes(SALT_BYTES))


def open_sealed(key: SecretKey, blob: bytes, context: Context) -> bytes:
    """The plaintext. Raises: TamperedData unless every bit is as it was sealed, under this key and context."""
    if len(blob) < OVERHEAD or blob[: len(MAGIC)] != MAGIC:
        raise TamperedData("a sealed record is damaged or of an unknown format")
    if blob[len(MAGIC) : len(MAGIC) + 1] != SUITE:
        raise TamperedData("a sealed record names an unknown cipher suite")
    encryption_key, commitment = _derive(key, blob[_SALT_AT:_COMMITMENT_AT])
    if not hmac.compare_digest(commitment, blob[_COMMITMENT_AT:_BODY_AT]):
        raise TamperedData("a sealed record is damaged or was sealed under another key")
    associated = blob[:_SALT_AT] + context.encode()
    try:
        return AESGCM(encryption_key).decrypt(_ZERO_NONCE, blob[_BODY_AT:], associated)
    except InvalidTag:
        raise TamperedData("a sealed record is damaged or stands in another record's place") from None


def key_id_of(blob: bytes) -> bytes:
    """The id of the key that an envelope names in its header; it is authentic only once the envelope has opened."""
    return blob[len(MAGIC) + len(SUITE) : _SALT_AT]


def _seal_with_salt(key: SecretKey, plaintext: bytes, context: Context, salt: bytes) -> bytes:
    """A salt must never serve twice under one key: the nonce is constant."""
    encryption_key, commitment = _derive(key, salt)
    header = MAGIC + SUITE + key.id
    sealed = AESGCM(encryption_key).encrypt(_ZERO_NONCE, plaintext, header + context.encode())
    return header + salt + commitment + sealed


def _derive(key: SecretKey, salt: bytes) -> tuple[bytes, bytes]:
    """(encryption key, commitment): HKDF-Extract once, then HKDF-Expand for both infos, whose one block suffices.

    Written with HMAC because the library's HKDF would extract twice; a test compares it with the library's.
    """
    extract = HMAC(salt, _SHA512)
    extract.update(key.material)
    encryption = HMAC(extract.finalize(), _SHA512)
    commitment = encryption.copy()
    encryption.update(b"enc\x01")
    commitment.update(b"commit\x01")
    return encryption.finalize()[:KEY_BYTES], commitment.finalize()[:COMMITMENT_BYTES]
