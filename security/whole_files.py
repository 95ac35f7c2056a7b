"""Writes a file for its owner alone so that it is there whole or not at all, also after a kill or on a full disk."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lookalike.errors import LookalikeError, StorageFull, StorageUnavailable

WRITING = ".writing"
"""Ends the name of a file that is not whole yet."""


def write_whole(path: Path, chunks: Iterable[bytes], what: str) -> None:
    """Replace the file. what: is said in the error. Raises: StorageFull, StorageUnavailable; the old one stays then."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{WRITING}")
    try:
        with open(temporary, "xb", opener=_private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise storage_error(error, what) from error
    finally:
        temporary.unlink(missing_ok=True)


def sweep_unfinished(folder: Path, ending: str) -> None:
    """Delete what was left of files `*ENDING` by processes that were killed; one that is being written is left."""
    for leftover in folder.glob(f".*{ending}.*{WRITING}"):
        with suppress(OSError), leftover.open("rb") as file:
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
