"""The sealed form of a long byte string: a header, then chunks of 1 MiB that open only whole and in order.

Layout, lengths in bytes:

    magic "LKS1" 4 | suite 1 | key id 8 | chunk size 4 | salt 32 | nonce prefix 7 | commitment 32 | chunks

With H = all of the header before the commitment, C the canonical context and HKDF of RFC 5869 over SHA-512:

    encryption key = HKDF(K, salt, "enc stream" | H | C), commitment = HKDF(K, salt, "commit stream" | H | C)
    nonce of chunk i = prefix 7 | i 4 | 1 if it is the last, else 0

This is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015). Every chunk but the last is full, and there
is always a last one, perhaps empty. So a chunk that is cut, moved, doubled, left out or taken from another stream fails
its tag. A reader gets each chunk after its own tag was verified; that the stream was whole is known only once the
iterator has ended without raising.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lookalike.errors import TamperedData
from security.envelope import COMMITMENT_BYTES, SALT_BYTES, SUITE, TAG_BYTES, Context
from security.secret_key import KEY_BYTES, KEY_ID_BYTES, SecretKey

MAGIC = b"LKS1"
CHUNK_BYTES = 1 << 20
MAX_CHUNK_BYTES = 1 << 24
PREFIX_BYTES = 7
MAX_CHUNKS = 1 << 32

_SIZE_AT = len(MAGIC) + len(SUITE) + KEY_ID_BYTES
_SALT_AT = _SIZE_AT + 4
_PREFIX_AT = _SALT_AT + SALT_BYTES
_COMMITMENT_AT = _PREFIX_AT + PREFIX_BYTES
HEADER_BYTES = _COMMITMENT_AT + COMMITMENT_BYTES


def seal_stream(key: SecretKey, pieces: Iterable[bytes], context: Context) -> Iterator[bytes]:
    """Header, then sealed chunks, of all pieces joined; the pieces may have any sizes."""
    salt, prefix = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(PREFIX_BYTES)
    return _seal_with_salt(key, pieces, context, salt, prefix, CHUNK_BYTES)


def open_stream(key: SecretKey, source: BinaryIO, context: Context) -> Iterator[bytes]:
    """The plaintext chunk by chunk. Raises: TamperedData at the first that does not verify, or if any is missing."""
    header = source.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or header[: len(MAGIC)] != MAGIC:
        raise TamperedData("a sealed file is damaged or of an unknown format")
    if header[len(MAGIC) : len(MAGIC) + 1] != SUITE:
        raise TamperedData("a sealed file names an unknown cipher suite")
    size = int.from_bytes(header[_SIZE_AT:_SALT_AT], "big")
    if not 1 <= size <= MAX_CHUNK_BYTES:
        raise TamperedData("a sealed file names an impossible chunk size")
    cipher, commitment = _derive(key, header[:_COMMITMENT_AT], context)
    if not hmac.compare_digest(commitment, header[_COMMITMENT_AT:]):
        raise TamperedData("a sealed file is damaged, misplaced, or was sealed under another key")
    return _opened_chunks(cipher, header[_PREFIX_AT:_COMMITMENT_AT], source, size + TAG_BYTES)


def _opened_chunks(cipher: AESGCM, prefix: bytes, source: BinaryIO, sealed_size: int) -> Iterator[bytes]:
    counter, sealed, last = 0, source.read(sealed_size), False
    while not last:
        following = source.read(sealed_size)
        last = not following
        try:
            yield cipher.decrypt(_nonce(prefix, counter, last), sealed, None)
        except InvalidTag:
            raise TamperedData("a sealed file is damaged, cut short or put together from parts") from None
        counter, sealed = counter + 1, following


def _seal_with_salt(
    key: SecretKey, pieces: Iterable[bytes], context: Context, salt: bytes, prefix: bytes, size: int
) -> Iterator[bytes]:
    """A salt must never serve twice under one key."""
    header = MAGIC + SUITE + key.id + size.to_bytes(4, "big") + salt + prefix
    cipher, commitment = _derive(key, header, context)
    yield header + commitment
    counter, pending = 0, bytearray()
    for piece in pieces:
        view = memoryview(piece)
        while len(pending) + len(view) > size:
            taken = size - len(pending)
            pending += view[:taken]
            view = view[taken:]
            yield cipher.encrypt(_nonce(prefix, counter, last=False), bytes(pending), None)
            counter, pending = counter + 1, bytearray()
        pending += view
    yield cipher.encrypt(_nonce(prefix, counter, last=True), bytes(pending), None)


def _nonce(prefix: bytes, counter: int, last: bool) -> bytes:
    if counter >= MAX_CHUNKS:
        raise ValueError("a stream has at most 2**32 chunks")
    return prefix + counter.to_bytes(4, "big") + (b"\x01" if last else b"\x00")


def _derive(key: SecretKey, header: bytes, context: Context) -> tuple[AESGCM, bytes]:
    salt, bound = header[_SALT_AT:_PREFIX_AT], header + context.encode()
    return (
        AESGCM(HKDF(SHA512(), KEY_BYTES, salt, b"enc stream" + bound).derive(key.material)),
        HKDF(SHA512(), COMMITMENT_BYTES, salt, b"commit stream" + bound).derive(key.material),
    )
