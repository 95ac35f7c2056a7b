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
        shape = self._shape
        numbers, which = np.unique(positions // shape.rows, return_inverse=True)
        plain = b"".join(self._opened(numbers))
        rows = np.frombuffer(plain, dtype="<f4").reshape(-1, shape.dimension)
        found: Floats = rows[which * shape.rows + positions % shape.rows]
        return found

    def _opened(self, numbers: NDArray[np.int64]) -> Iterator[bytes]:
        """The plaintext of these blocks, ascending; neighbours are read together."""
        size, associated = self._shape.block_bytes, self._shape.associated
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
            sealed = self._pread(len(run) * size, int(run[0]) * size) if len(run) else memoryview(b"")
            try:
                for i, number in enumerate(run.tolist()):
                    yield self._cipher.decrypt(_nonce(number), sealed[i * size : (i + 1) * size], associated)
            except InvalidTag:
                raise TamperedData("a file of vectors is damaged, cut short or put together from parts") from None

    def _pread(self, count: int, at: int) -> memoryview:
        """What is there; less than `count` bytes where the file was cut, whose tags fail then."""
        try:
            return memoryview(os.pread(self._descriptor, count, at))
        except OSError as error:
            raise StorageUnavailable(f"{_WHAT} cannot be read: {error.strerror}") from error


def _in_whole_blocks(blocks: Iterable[Floats], shape: _Shape) -> Iterator[list[bytes]]:
    """The same rows as the plaintext of sealed blocks, several at once; the last one is filled up with zeros."""
    rest = np.empty((0, shape.dimension), dtype="<f4")
    for some in blocks:
        rows = np.concatenate([rest, some]) if len(rest) else np.ascontiguousarray(some, dtype="<f4")
        whole = len(rows) // shape.rows * shape.rows
        if whole:
            yield [rows[at : at + shape.rows].tobytes() for at in range(0, whole, shape.rows)]
        rest = rows[whole:].copy()
    if len(rest):
        padded = np.zeros((shape.rows, shape.dimension), dtype="<f4")
        padded[: len(rest)] = rest
        yield [padded.tobytes()]


def _nonce(number: int) -> bytes:
    return number.to_bytes(_NONCE_BYTES, "big")
