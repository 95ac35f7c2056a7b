"""Opens a connection to the database with the settings that durability and erasure rest on, and translates its errors.

Every connection is WAL, synchronous=FULL (a commit is on the disk when it returns), secure_delete=ON (freed bytes are
overwritten with zeros) and keeps temporary data in memory. SQLite before 3.51.3 can lose data in WAL mode when
checkpoints race: https://sqlite.org/releaselog/3_51_3.html; it is refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from lookalike.errors import Conflict, LookalikeError, NotFound, StorageFull, StorageUnavailable, TamperedData, Unsafe

OLDEST_SQLITE = (3, 51, 3)
WAL_SIZE_LIMIT_BYTES = 16 * 2**20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def require_safe_sqlite(version: str) -> None:
    """Raises: Unsafe if this SQLite has the WAL bug."""
    if tuple(int(part) for part in version.split(".")[:3]) < OLDEST_SQLITE:
        raise Unsafe(f"SQLite {version} can lose committed data; 3.51.3 or newer is needed (the apsw wheel brings it)")


def create_private_file(path: Path) -> None:
    """Make the file with mode 0600 if it is not there, its folders with 0700, and bring both names to the disk.

    SQLite gives its WAL and shared-memory files the mode of the database.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return
        os.close(descriptor)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _full_or_unavailable(error.errno) from error


def open_connection(path: Path, busy_timeout_s: float, cache_kib: int) -> apsw.Connection:
    """A connection to a database file that is there already. Raises: StorageFull, StorageUnavailable, TamperedData."""
    with translated_errors():
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(round(busy_timeout_s * 1000))
            if connection.pragma("journal_mode") != "wal" and connection.pragma("journal_mode", "wal") != "wal":
                raise StorageUnavailable("this file system cannot hold a SQLite database in WAL mode")
            for name, value in (
                ("synchronous", "FULL"),
                ("fullfsync", 1),
                ("secure_delete", 1),
                ("foreign_keys", 1),
                ("recursive_triggers", 1),
                ("trusted_schema", 0),
                ("temp_store", "MEMORY"),
                ("cache_size", -cache_kib),
                ("journal_size_limit", WAL_SIZE_LIMIT_BYTES),
            ):
                connection.pragma(name, value)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def translated_errors(connection: apsw.Connection | None = None) -> Iterator[None]:
    """Turn SQLite's errors into ours. connection: asked for the operating system's reason of an I/O error."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, connection.system_errno if _is_io(error) and connection is not None else 0) from error


def translate(error: apsw.Error, system_errno: int) -> LookalikeError:
    """Our error for one of SQLite's; its text is SQLite's own and holds no value of a row."""
    if isinstance(error, apsw.FullError) or _is_io(error):
        return _full_or_unavailable(errno.ENOSPC if isinstance(error, apsw.FullError) else system_errno)
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StorageUnavailable("the database is busy: another process holds it for too long")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return TamperedData("the database is damaged; restore it from a backup")
    if isinstance(error, apsw.ConstraintError):
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_CONSTRAINT_FOREIGNKEY:
            return NotFound("the collection or subject that this belongs to is gone")
        return Conflict(f"the database refused a write: {error}")
    return StorageUnavailable(f"the database failed: {error}")


def _is_io(error: apsw.Error) -> bool:
    return isinstance(error, apsw.IOError | apsw.CantOpenError)


def _full_or_unavailable(system_errno: int | None) -> LookalikeError:
    if system_errno in _NO_SPACE:
        return StorageFull(
            "the disk that holds the data folder is full: nothing is stored or put on record until there is room"
        )
    reason = os.strerror(system_errno) if system_errno else "input/output error"
    return StorageUnavailable(f"the data folder cannot be used: {reason}")
