"""Reads a sealed stream from anywhere in it, as one seeks in a file; no byte is given before its chunk was verified.

The length of the file says which chunk is the last, and that one is verified when the stream is opened: so a stream
that was cut is found out at once, and one with a chunk that is moved or changed where that chunk is read.
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from lookalike.errors import TamperedData
from security.envelope import TAG_BYTES, Context
from security.sealed_stream import open_chunk, read_head
from security.secret_key import SecretKey


class SealedReader(io.RawIOBase):
    """The plaintext of a stream that begins where `source` stands and ends with the file. Not thread-safe."""

    def __init__(self, key: SecretKey, source: BinaryIO, context: Context) -> None:
        """Raises: TamperedData."""
        super().__init__()
        self._source = source
        self._head = read_head(key, source, context)
        self._first = source.tell()
        body = source.seek(0, os.SEEK_END) - self._first
        self._sealed_size = self._head.size + TAG_BYTES
        self._chunks = max(1, -(-body // self._sealed_size))
        self._at = 0
        self._held: tuple[int, bytes] = (-1, b"")
        self.size = (self._chunks - 1) * self._head.size + len(self._chunk(self._chunks - 1))
        """Of the plaintext, in bytes."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Raises: TamperedData."""
        if self._at >= self.size:
            return 0
        number, within = divmod(self._at, self._head.size)
        piece = self._chunk(number)[within : within + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._held = (-1, b"")
            self._source.close()
        super().close()

    def _chunk(self, number: int) -> bytes:
        if self._held[0] != number:
            self._source.seek(self._first + number * self._sealed_size)
            sealed = self._source.read(self._sealed_size)
            last = number == self._chunks - 1
            plain = open_chunk(self._head, sealed, number, last)
            if not last and len(plain) != self._head.size:
                raise TamperedData("a sealed file is damaged, cut short or put together from parts")
            self._held = number, plain
        return self._held[1]
