"""Sealed files of vectors that one process writes, reads by row, and takes with it when it ends.

A file has no name: it is unlinked before anything is written, so that whatever ends the process frees its room. Its key
is random, of this file alone, and stands nowhere but in this process's memory, so nobody can open what is left of it on
the disk, and letting go of the file shreds it. Layout, lengths in bytes:

    block 0 | block 1 | …, each of rows 4·D·R, float32 little-endian, and a tag 16

R rows fill about 8 KiB. Each block is AES-256-GCM with its number as nonce (12, big-endian) and `LKV1`, D and the
number of rows as associated data (8 each, big-endian). It is written once and never again, so no nonce serves twice;
one that is changed, moved, cut or taken from another file fails its tag. The last one is filled up with zeros.
"""

from __future__ import annotations

import os
import struct
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from lookalike.domain import Floats
from lookalike.errors import StorageUnavailable, TamperedData
from security.envelope import TAG_BYTES
from security.secret_key import KEY_BYTES
from security.whole_files import storage_error

MAGIC = b"LKV1"
BLOCK_BYTES = 8192
"""Opening this much takes hardly longer than opening one row of it, and a file is read through at twice the pace."""

TOGETHER = 128
"""Blocks that are sealed and written at once."""

_NONCE_BYTES = 12
_SHAPE = struct.Struct(">2Q")
_WHAT = "a file of vectors"


class SealedRowFiles:
    """The port RowFiles over a folder, which is made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, count: int, dimension: int, blocks: Iterable[Floats]) -> SealedRowFile:
        """A file of `count` rows, which come in blocks (B, D). Raises: StorageFull, before anything is written, and
        StorageUnavailable."""
        shape = _Shape(count, dimension)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder, buffering=0) as unnamed:
                descriptor = os.dup(unnamed.fileno())
            file = SealedRowFile(descriptor, shape)
            if count:
                os.posix_fallocate(descriptor, 0, shape.file_bytes)
        except OSError as error:
            raise storage_error(error, _WHAT) from error
        file.fill(blocks)
        return file


class _Shape:
    """Of a file of `count` rows: rows of a block, bytes of a sealed one and of all."""

    def __init__(self, count: int, dimension: int) -> None:
        self.count = count
        self.dimension = dimension
        self.rows = max(1, BLOCK_BYTES // (4 * dimension))
        self.block_bytes = 4 * dimension * self.rows + TAG_BYTES
        self.file_bytes = -(-count // self.rows) * self.block_bytes
        self.associated = MAGIC + _SHAPE.pack(dimension, count)


class SealedRowFile:
    """The port RowFile. It closes when nobody holds it any more: searches that have begun may still read it."""

    def __init__(self, descriptor: int, shape: _Shape) -> None:
        self._descriptor = descriptor
        self._shape = shape
        self._cipher = AESGCM(os.urandom(KEY_BYTES))
        weakref.finalize(self, os.close, descriptor)

    def __repr__(self) -> str:
        return f"SealedRowFile({self._shape.count} rows)"

    @property
    def disk_bytes(self) -> int:
        return self._shape.file_bytes

    def fill(self, blocks: Iterable[Floats]) -> None:
        """Write all of the file, once. Raises: StorageFull, StorageUnavailable."""
        number = 0
        for rows in _in_whole_blocks(blocks, self._shape):
            sealed = [
                self._cipher.encrypt(_nonce(number + i), row, self._shape.associated) for i, row in enumerate(rows)
            ]
            number += len(sealed)
            self._append(b"".join(sealed))

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            raise storage_error(error, _WHAT) from error

    def read(self, positions: NDArray[np.int64]) -> Floats:
        """(N,) -> (N, D) float32. Raises: TamperedData, StorageUnavailable."""
        rows = self._shape.rows
        if len(positions) > 1 and (np.diff(positions) == 1).all():
            first, last = int(positions[0]) // rows, int(positions[-1]) // rows
            skipped = int(positions[0]) - first * rows
            return self._plain(np.arange(first, last + 1))[skipped : skipped + len(positions)]
        numbers, which = np.unique(positions // rows, return_inverse=True)
        found: Floats = self._plain(numbers)[which * rows + positions % rows]
        return found

    def _plain(self, numbers: NDArray[np.int64]) -> Floats:
        """All rows of these blocks, ascending."""
        rows: Floats = np.frombuffer(b"".join(self._opened(numbers)), dtype="<f4").reshape(-1, self._shape.dimension)
        return rows

    def _opened(self, numbers: NDArray[np.int64]) -> list[bytes]:
        """The plaintext of these blocks, ascending: one by one, or read together where there are none between them."""
        size, associated, decrypt = self._shape.block_bytes, self._shape.associated, self._cipher.decrypt
        if not len(numbers):
            return []
        first, last = int(numbers[0]), int(numbers[-1])
        try:
            if last - first + 1 == len(numbers):
                sealed = memoryview(self._pread(len(numbers) * size, first * size))
                return [
                    decrypt(_nonce(number), sealed[at : at + size], associated)
                    for number, at in zip(range(first, last + 1), range(0, len(numbers) * size, size), strict=True)
                ]
            pread = self._pread
            return [decrypt(_nonce(number), pread(size, number * size), associated) for number in numbers.tolist()]
        except InvalidTag:
            raise TamperedData("a file of vectors is damaged, cut short or put together from parts") from None

    def _pread(self, count: int, at: int) -> bytes:
        """What is there; less than `count` bytes where the file was cut, whose tags fail then."""
        try:
            return os.pread(self._descriptor, count, at)
        except OSError as error:
            raise StorageUnavailable(f"{_WHAT} cannot be read: {error.strerror}") from error


def _in_whole_blocks(blocks: Iterable[Floats], shape: _Shape) -> Iterator[list[bytes]]:
    """The same rows as the plaintext of sealed blocks, several at once; the last one is filled up with zeros."""
    rest = np.empty((0, shape.dimension), dtype="<f4")
    together = TOGETHER * shape.rows
    for some in blocks:
        for start in range(0, len(some), together):
            piece = np.ascontiguousarray(some[start : start + together], dtype="<f4")
            rows = np.concatenate([rest, piece]) if len(rest) else piece
            whole = len(rows) // shape.rows * shape.rows
            yield [rows[at : at + shape.rows].tobytes() for at in range(0, whole, shape.rows)]
            rest = rows[whole:].copy()
    if len(rest):
        padded = np.zeros((shape.rows, shape.dimension), dtype="<f4")
        padded[: len(rest)] = rest
        yield [padded.tobytes()]


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "big")
