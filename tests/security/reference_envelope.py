"""A second, slow implementation of the sealed formats, written from their description alone."""

from __future__ import annotations

import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"lookalike key id" + key).digest()[:8]


def context_bytes(context: dict[str, str | int]) -> bytes:
    names = ("deployment", "collection", "subject", "record", "type", "model")
    texts = [str(context[name]).encode("utf-8") for name in names]
    lengths = b"".join(struct.pack(">I", len(text)) for text in texts)
    return lengths + struct.pack(">QQ", context["schema"], context["version"]) + b"".join(texts)


def hkdf(key: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(SHA512(), 32, salt, info).derive(key)


def seal_record(key: bytes, plaintext: bytes, context: dict[str, str | int], salt: bytes) -> bytes:
    header = b"LKR1" + b"\x01" + key_id(key)
    body = AESGCM(hkdf(key, salt, b"enc")).encrypt(bytes(12), plaintext, header + context_bytes(context))
    return header + salt + hkdf(key, salt, b"commit") + body


def seal_stream(
    key: bytes, plaintext: bytes, context: dict[str, str | int], salt: bytes, prefix: bytes, chunk: int
) -> bytes:
    header = b"LKS1" + b"\x01" + key_id(key) + struct.pack(">I", chunk) + salt + prefix
    bound = header + context_bytes(context)
    cipher = AESGCM(hkdf(key, salt, b"enc stream" + bound))
    chunks = [plaintext[at : at + chunk] for at in range(0, len(plaintext), chunk)] or [b""]
    sealed = [
        cipher.encrypt(prefix + struct.pack(">IB", n, n == len(chunks) - 1), piece, None)
        for n, piece in enumerate(chunks)
    ]
    return header + hkdf(key, salt, b"commit stream" + bound) + b"".join(sealed)


def wrap_key(wrapping: bytes, key: bytes, context: dict[str, str | int], nonce: bytes) -> bytes:
    header = b"LKW1" + b"\x01" + key_id(wrapping)
    return header + nonce + AESGCM(hkdf(wrapping, None, b"wrap")).encrypt(nonce, key, header + context_bytes(context))


def seal_to(
    recipient: bytes,
    ephemeral: bytes,
    sender: bytes,
    plaintext: bytes,
    context: dict[str, str | int],
    salt: bytes,
    prefix: bytes,
    chunk: int,
) -> bytes:
    """recipient: a public key; ephemeral, sender: private ones."""
    once, signer = X25519PrivateKey.from_private_bytes(ephemeral), Ed25519PrivateKey.from_private_bytes(sender)
    head = b"LKX1" + b"\x01" + hashlib.sha256(b"lookalike recipient key" + recipient).digest()[:16]
    head += once.public_key().public_bytes_raw() + signer.public_key().public_bytes_raw()
    signature = signer.sign(b"lookalike sealed to a recipient\n" + head + recipient + context_bytes(context))
    shared = once.exchange(X25519PublicKey.from_public_bytes(recipient))
    key = hkdf(shared, None, b"lookalike recipient" + head + signature + recipient)
    return head + signature + seal_stream(key, plaintext, context, salt, prefix, chunk)
