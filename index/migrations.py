"""Brings a database to the format of this release: made when new, refused when newer, migrated after a backup.

A migration runs in one transaction together with the version it leads to, so a crash in the middle leaves the old
format whole. The backup is a copy by SQLite's own backup interface, whole and consistent, made before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import apsw

from index.schema import CREATE, FORMAT, FROM_1_TO_2
from index.sqlite_connection import create_private_file, translated_errors
from lookalike.errors import DataTooNew, StorageUnavailable

Migration = Callable[[apsw.Connection], None]

MIGRATIONS: Mapping[int, Migration] = {1: lambda connection: _execute(connection, FROM_1_TO_2)}
"""Version → what turns it into the next one."""


def _execute(connection: apsw.Connection, statements: str) -> None:
    connection.execute(statements)


def version_of(connection: apsw.Connection) -> int:
    """The format of this database; 0 while it is empty."""
    with translated_errors(connection):
        return int(connection.pragma("user_version"))


def refuse_newer(found: int, known: int = FORMAT) -> None:
    """Raises: DataTooNew."""
    if found > known:
        raise DataTooNew(
            f"the data folder has format {found}, this release knows up to {known}: "
            "run the release that wrote it, or a newer one"
        )


def create(connection: apsw.Connection) -> None:
    """Make the tables in an empty database; two processes may try at once."""
    with translated_errors(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version_of(connection) == 0:
                connection.execute(CREATE)
                connection.pragma("user_version", FORMAT)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite gives one up by itself on a full disk
                connection.execute("ROLLBACK")
            raise


def migrate(connection: apsw.Connection, migrations: Mapping[int, Migration], target: int) -> None:
    """Apply the migrations from the database's version up to `target`, all or none.

    Raises: StorageUnavailable if one is missing; what a migration raises.
    """
    with translated_errors(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for version in range(version_of(connection), target):
                if version not in migrations:
                    raise StorageUnavailable(f"this release cannot migrate format {version}")
                migrations[version](connection)
                connection.pragma("user_version", version + 1)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def back_up(connection: apsw.Connection, copy: Path) -> None:
    """Copy the whole database into a new file `copy`, mode 0600."""
    create_private_file(copy)
    with translated_errors():
        target = apsw.Connection(str(copy))
    try:
        with translated_errors(target):
            with target.backup("main", connection, "main") as backup:
                backup.step()
            target.pragma("journal_mode", "delete")
    finally:
        target.close()
