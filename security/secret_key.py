"""A symmetric key of 256 bits that never shows itself.

`id` names the key in the header of what it sealed, so that a wrong key is told from damage; it is a truncated hash of
256 random bits and gives nothing away.
"""

from __future__ import annotations

import hashlib
import secrets

KEY_BYTES = 32
KEY_ID_BYTES = 8


class SecretKey:
    """32 bytes and their id. Compares by identity, has no readable repr, and refuses to be pickled."""

    __slots__ = ("material",)

    def __init__(self, material: bytes) -> None:
        if len(material) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self.material = material

    @classmethod
    def generate(cls) -> SecretKey:
        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def id(self) -> bytes:
        """8 bytes, always the same for the same key."""
        return hashlib.sha256(b"lookalike key id" + self.material).digest()[:KEY_ID_BYTES]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id.hex()}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a key is never serialised in the clear")
