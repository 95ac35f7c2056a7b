"""The data folder states the version of its format: a newer one is refused, an older one migrated after a backup.

`format.json` says it to people, `PRAGMA user_version` inside the database decides. Processes that use the folder hold
a shared lock on `format.lock` as long as they do; a migration needs it alone, so no older process sees a half-changed
folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import apsw

from index import migrations
from index.migrations import MIGRATIONS, Migration
from index.schema import FORMAT
from index.sqlite_connection import create_private_file, open_connection
from index.way_back import keep_copy
from lookalike.errors import Conflict, DataTooNew, RestoreUnfinished, StorageUnavailable, TamperedData

RECORDS = "records.db"
STATEMENT = "format.json"
LOCK = "format.lock"
RESTORING = "restore.unfinished"
"""Lies in a folder that is being restored: nothing serves it, and the next restore begins it anew."""

BUSY_TIMEOUT_S = 10.0
_CACHE_KIB = 1024


class DataFolder:
    """A data folder of this release's format, held open against migrations by others.

    `records` is the path of its database. Raises on opening: DataTooNew, StorageUnavailable (in use by another
    release's process, or a migration is missing), StorageFull, TamperedData.
    """

    def __init__(
        self,
        folder: Path,
        made_by: str,
        table: Mapping[int, Migration] = MIGRATIONS,
        target: int = FORMAT,
    ) -> None:
        self.records = folder / RECORDS
        self._folder = folder
        migrations.refuse_newer(_stated(folder / STATEMENT), target)
        create_private_file(folder / LOCK)
        if (folder / RESTORING).exists():
            raise RestoreUnfinished("a restore into this data folder goes on or was interrupted: run it again")
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            self._bring_up_to_date(made_by, table, target)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others migrate the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> DataFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _bring_up_to_date(self, made_by: str, table: Mapping[int, Migration], target: int) -> None:
        create_private_file(self.records)
        connection = open_connection(self.records, BUSY_TIMEOUT_S, _CACHE_KIB)
        try:
            found = migrations.version_of(connection)
            migrations.refuse_newer(found, target)
            if found == 0:
                migrations.create(connection)
                found = migrations.version_of(connection)
            if found < target:
                self._migrate_alone(connection, table, found, target)
        finally:
            connection.close()
        if _stated(self._folder / STATEMENT) != target:
            _state(self._folder / STATEMENT, target, made_by)

    def _migrate_alone(
        self, connection: apsw.Connection, table: Mapping[int, Migration], found: int, target: int
    ) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageUnavailable(
                f"the data folder has format {found} and must be migrated to {target}: stop the service that uses it"
            ) from error
        keep_copy(self.records, found, lambda copy: migrations.back_up(connection, copy))
        migrations.migrate(connection, table, target)
        fcntl.flock(self._lock, fcntl.LOCK_SH)


class RestoredFolder:
    """A data folder while a backup is restored into it; nothing else opens it before `finish`.

    It must be empty, or what an interrupted restore left behind, which is deleted then.
    Raises on opening: Conflict for a folder that holds anything else; StorageUnavailable, StorageFull.
    """

    def __init__(self, folder: Path) -> None:
        self.records = folder / RECORDS
        self._folder = folder
        marker = folder / RESTORING
        if not marker.exists():
            self._require_alone(0)
            create_private_file(marker)
            try:
                self._require_alone(1)  # a service may have begun to use the folder in between
            except Conflict:
                marker.unlink()
                raise
        self._lock = os.open(marker, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StorageUnavailable("another restore into this folder is going on") from error
        self._empty()

    def finish(self) -> None:
        """The folder is whole: from now on it is a data folder like any other."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            (self._folder / RESTORING).unlink()
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let others try."""
        os.close(self._lock)

    def _require_alone(self, entries: int) -> None:
        if len(list(self._folder.iterdir())) > entries:
            raise Conflict(
                f"{self._folder} is not empty: a backup is restored into an empty folder, never over another one"
            )

    def _empty(self) -> None:
        for entry in self._folder.iterdir():
            if entry.name == RESTORING:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _stated(path: Path) -> int:
    """The version that `format.json` states, 0 where there is none. Raises: TamperedData, DataTooNew."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0
    except (OSError, UnicodeDecodeError) as error:
        raise StorageUnavailable(f"{STATEMENT} cannot be read") from error
    try:
        version = json.loads(text)["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise TamperedData(f'{STATEMENT} is damaged: it should say {{"format": {FORMAT}}}') from error
    if not isinstance(version, int):
        raise DataTooNew(f"{STATEMENT} states the format {version!r}, which this release does not know")
    return version


def _state(path: Path, version: int, made_by: str) -> None:
    """Write `format.json`, whole or not at all."""
    fresh = path.with_name(f"{STATEMENT}.{os.getpid()}")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(json.dumps({"format": version, "made_by": made_by}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise StorageUnavailable(f"{STATEMENT} cannot be written: {os.strerror(error.errno or 0)}") from error
