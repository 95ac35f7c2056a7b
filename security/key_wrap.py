"""The wrapped form of a key under a collection's key: AES-256-GCM with a random nonce, quick to open by the thousand.

Layout, lengths in bytes; 73 in all:

    magic "LKW1" 4 | suite 1 | key id 8, of the wrapping collection key | nonce 12 | wrapped key 32 | tag 16

    wrapping key = HKDF(collection key, no salt, "wrap"), SHA-512; associated data = magic | suite | key id | context

The wrapping key serves nothing else, and random nonces are safe for 2**32 keys a version (NIST SP 800-38D). No
commitment is needed here: the key that comes out must still match the commitment of the record that it opens.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lookalike.errors import TamperedData
from security.envelope import SUITE, TAG_BYTES, Context
from security.secret_key import KEY_BYTES, KEY_ID_BYTES, SecretKey

MAGIC = b"LKW1"
NONCE_BYTES = 12

ID_AT = len(MAGIC) + len(SUITE)
"""Where the id of the wrapping key stands."""

_NONCE_AT = ID_AT + KEY_ID_BYTES
_BODY_AT = _NONCE_AT + NONCE_BYTES
WRAPPED_BYTES = _BODY_AT + KEY_BYTES + TAG_BYTES


def wrapping_key_id(wrapped: bytes) -> bytes:
    """The id of the collection key that wrapped it; authentic only once it was unwrapped."""
    return wrapped[ID_AT:_NONCE_AT]


class KeyWrapper:
    """Wraps and unwraps keys under one version of a collection's key."""

    __slots__ = ("_cipher", "_header")

    def __init__(self, key: SecretKey) -> None:
        self._cipher = AESGCM(HKDF(SHA512(), KEY_BYTES, None, b"wrap").derive(key.material))
        self._header = MAGIC + SUITE + key.id

    def wrap(self, key: SecretKey, context: Context) -> bytes:
        """`key` so that it opens under this key and an equal context only."""
        return self._wrap_with_nonce(key, context, secrets.token_bytes(NONCE_BYTES))

    def unwrap(self, wrapped: bytes, context: Context) -> SecretKey:
        """Raises: TamperedData unless every bit is as it was wrapped."""
        if len(wrapped) != WRAPPED_BYTES or wrapped[:_NONCE_AT] != self._header:
            raise TamperedData("a wrapped key is damaged, of an unknown format, or of another key")
        associated = self._header + context.encode()
        try:
            return SecretKey(self._cipher.decrypt(wrapped[_NONCE_AT:_BODY_AT], wrapped[_BODY_AT:], associated))
        except InvalidTag:
            raise TamperedData("a wrapped key is damaged or stands in another key's place") from None

    def _wrap_with_nonce(self, key: SecretKey, context: Context, nonce: bytes) -> bytes:
        return self._header + nonce + self._cipher.encrypt(nonce, key.material, self._header + context.encode())
