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
from dataclasses import dataclass
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


class StreamSealer:
    """Seals a stream piece by piece, for those to whom the pieces come. header: goes before all that it gives."""

    def __init__(
        self, key: SecretKey, context: Context, salt: bytes | None = None, prefix: bytes | None = None,
        size: int = CHUNK_BYTES,
    ) -> None:  # fmt: skip
        """salt, prefix: fresh random ones unless given; a salt must never serve twice under one key."""
        self._prefix = secrets.token_bytes(PREFIX_BYTES) if prefix is None else prefix
        salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
        head = MAGIC + SUITE + key.id + size.to_bytes(4, "big") + salt + self._prefix
        self._cipher, commitment = _derive(key, head, context)
        self.header = head + commitment
        self._size = size
        self._counter = 0
        self._pending = bytearray()

    def seal(self, piece: bytes) -> Iterator[bytes]:
        """The chunks that this piece completes; what is left of it waits for the next one."""
        view = memoryview(piece)
        while len(self._pending) + len(view) > self._size:
            taken = self._size - len(self._pending)
            self._pending += view[:taken]
            view = view[taken:]
            yield self._chunk(last=False)
        self._pending += view

    def finish(self) -> bytes:
        """The last chunk, perhaps an empty one."""
        return self._chunk(last=True)

    def _chunk(self, last: bool) -> bytes:
        sealed = self._cipher.encrypt(nonce_of(self._prefix, self._counter, last), bytes(self._pending), None)
        self._counter, self._pending = self._counter + 1, bytearray()
        return sealed


@dataclass(frozen=True, slots=True, repr=False)
class StreamHead:
    """What a header says once it has been verified. size: of a chunk's plaintext in bytes; prefix: of the nonces."""

    cipher: AESGCM
    prefix: bytes
    size: int


def read_head(key: SecretKey, source: BinaryIO, context: Context) -> StreamHead:
    """Read a stream's header. Raises: TamperedData unless it is whole and of this key and context."""
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
    return StreamHead(cipher, header[_PREFIX_AT:_COMMITMENT_AT], size)


def open_stream(key: SecretKey, source: BinaryIO, context: Context) -> Iterator[bytes]:
    """The plaintext chunk by chunk. Raises: TamperedData at the first that does not verify, or if any is missing."""
    return _opened_chunks(read_head(key, source, context), source)


def _opened_chunks(head: StreamHead, source: BinaryIO) -> Iterator[bytes]:
    sealed_size = head.size + TAG_BYTES
    counter, sealed, last = 0, source.read(sealed_size), False
    while not last:
        following = source.read(sealed_size)
        last = not following
        yield open_chunk(head, sealed, counter, last)
        counter, sealed = counter + 1, following


def open_chunk(head: StreamHead, sealed: bytes, counter: int, last: bool) -> bytes:
    """The plaintext of the chunk of this number. Raises: TamperedData."""
    try:
        return head.cipher.decrypt(nonce_of(head.prefix, counter, last), sealed, None)
    except InvalidTag:
        raise TamperedData("a sealed file is damaged, cut short or put together from parts") from None


def _seal_with_salt(
    key: SecretKey, pieces: Iterable[bytes], context: Context, salt: bytes, prefix: bytes, size: int
) -> Iterator[bytes]:
    sealer = StreamSealer(key, context, salt, prefix, size)
    yield sealer.header
    for piece in pieces:
        yield from sealer.seal(piece)
    yield sealer.finish()


def nonce_of(prefix: bytes, counter: int, last: bool) -> bytes:
    """12 bytes: prefix, counter, and whether the chunk is the last."""
    if counter >= MAX_CHUNKS:
        raise ValueError("a stream has at most 2**32 chunks")
    return prefix + counter.to_bytes(4, "big") + (b"\x01" if last else b"\x00")


def _derive(key: SecretKey, header: bytes, context: Context) -> tuple[AESGCM, bytes]:
    salt, bound = header[_SALT_AT:_PREFIX_AT], header + context.encode()
    return (
        AESGCM(HKDF(SHA512(), KEY_BYTES, salt, b"enc stream" + bound).derive(key.material)),
        HKDF(SHA512(), COMMITMENT_BYTES, salt, b"commit stream" + bound).derive(key.material),
    )
