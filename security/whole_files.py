"""Writes a file for its owner alone so that it is there whole or not at all, also after a kill or on a full disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from lookalike.errors import LookalikeError, StorageFull, StorageUnavailable

WRITING = ".writing"
"""Ends the name of a file that is not whole yet."""


def write_whole(path: Path, chunks: Iterable[bytes], what: str) -> None:
    """Replace the file. what: is said in the error. Raises: StorageFull, StorageUnavailable; the old one stays then."""
    file = WholeFile(path, what)
    try:
        with _storage_errors(what):
            for chunk in chunks:
                file.write(chunk)
        file.commit()
    finally:
        file.abort()


class WholeFile:
    """A file that is being written under another name until it is whole; `abort` leaves no trace of it."""

    def __init__(self, path: Path, what: str) -> None:
        """Raises: StorageFull, StorageUnavailable."""
        self._path = path
        self._what = what
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{WRITING}")
        with _storage_errors(what):
            self._file = open(self._temporary, "xb", opener=_private)  # noqa: SIM115, for `commit` and `abort` close it
            fcntl.flock(self._file, fcntl.LOCK_EX)  # `sweep_unfinished` leaves it

    def write(self, data: bytes) -> None:
        """Raises: StorageFull, StorageUnavailable."""
        with _storage_errors(self._what):
            self._file.write(data)

    def commit(self) -> None:
        """Put it in its place; it is there after a power cut too. Raises: StorageFull, StorageUnavailable."""
        with _storage_errors(self._what):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._path)
            _sync(self._path.parent)

    def abort(self) -> None:
        """Forget what was written, unless it is in its place already."""
        with contextlib.suppress(OSError):  # what is left of the buffer goes nowhere
            self._file.close()
        self._temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, what) from error


def sweep_unfinished(folder: Path, ending: str) -> None:
    """Delete what was left of files `*ENDING` by processes that were killed; one that is being written is left."""
    for leftover in folder.glob(f".*{ending}.*{WRITING}"):
        with contextlib.suppress(OSError), leftover.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, what: str) -> LookalikeError:
    """Our error for one of the file system's. what: was not written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFull(f"the disk is full: {what} was not written")
    return StorageUnavailable(f"{what} was not written: {error.strerror}")
