"""The copy of a database from before a migration: whole or not there, and destroyed with the first erasure after it.

`records.db.format-N` is the way back to the release before. Whoever is erased from the records would live on in it, so
it ends when anybody is: it is overwritten, then deleted. Other files beside the database are not touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lookalike.errors import StorageUnavailable

PARTIAL = ".partial"
_PIECE_BYTES = 2**20


def copy_path(records: Path, version: int) -> Path:
    """Where the copy of a database of this format lies."""
    return records.with_name(f"{records.name}.format-{version}")


def keep_copy(records: Path, version: int, back_up: Callable[[Path], None]) -> None:
    """Make the copy with `back_up`, under its name only once the disk has all of it.

    Raises: what `back_up` raises; nothing is left of the copy then, nor of one that a killed process had begun.
    """
    copy = copy_path(records, version)
    partial = copy.with_name(copy.name + PARTIAL)
    partial.unlink(missing_ok=True)
    try:
        back_up(partial)
        _sync(partial)
        partial.replace(copy)
        _sync(records.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageUnavailable(f"the copy before a migration failed: {os.strerror(error.errno or 0)}") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def destroy_copies(records: Path) -> bool:
    """Overwrite and delete what migrations left; False if that failed, so that a copy stays for now."""
    try:
        for copy in records.parent.glob(f"{records.name}.format-*"):
            _overwrite(copy)
            copy.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _overwrite(path: Path) -> None:
    try:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            for start in range(0, size, _PIECE_BYTES):
                file.write(bytes(min(_PIECE_BYTES, size - start)))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return  # another process was quicker


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
