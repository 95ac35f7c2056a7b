"""The durable, transactional store of ciphertext rows on PostgreSQL: one writing thread, a few connections to read by.

Several processes on several machines may share one database. A write is answered when the server's disk has it; a
reader never waits for a writer. A server that was away is used again as soon as it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar, cast

import psycopg
from psycopg import sql

from index.commit_queue import CommitQueue
from index.postgres_connection import Params, PatientConnection, open_connection, translated_errors
from index.postgres_reader import PostgresReader, asking, asking_on
from index.postgres_schema import CREATE, ERASED_FROM, FORMAT, SCHEMA
from index.postgres_sessions import Sessions
from index.postgres_transactions import PostgresTransactions
from lookalike.errors import DataTooNew, LookalikeError, StorageUnavailable
from lookalike.ports import RowReader, RowWriter

T = TypeVar("T")

SCRUB_S = 5.0
MIGRATIONS: Mapping[int, str] = {}
"""Version → the statements that turn it into the next one."""

_HAS_TABLES = (
    "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relname = 'turn' AND n.nspname = current_setting('search_path'))"
)
# The first query is what fixes the state; who reads it may do something else in between for longer than a writer may.
_SNAPSHOT = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = '10min';"
    " SELECT format FROM turn"
)
_VACUUM = f"VACUUM (TRUNCATE false) {', '.join(ERASED_FROM)}"


class PostgresRows:
    """The port Rows over one schema of a database, which is made if it is not there.

    password: read anew for each connection, so that a changed one needs no restart.
    Raises on opening: StorageUnavailable with the server's reason; Unsafe for a server that can lose data; DataTooNew.
    """

    def __init__(self, params: Params, password: Callable[[], str | None], schema: str = SCHEMA) -> None:
        def connect() -> PatientConnection:
            return open_connection(params, password, schema)

        first = connect()
        try:
            bring_up_to_date(first, schema)
        finally:
            first.close()
        self._sessions = Sessions(connect)
        self._reader = PostgresReader(asking(self._sessions))
        self._commits = CommitQueue(PostgresTransactions(self._sessions))

    def read(self) -> RowReader:
        """A reader; it may be kept and used on any thread, and each call sees the newest committed state."""
        return self._reader

    @contextmanager
    def snapshot(self) -> Iterator[RowReader]:
        """A reader that sees one committed state throughout, on a connection of its own."""
        connection = self._sessions.open()
        try:
            with translated_errors():
                connection.execute(cast("sql.SQL", _SNAPSHOT), prepare=False)
            yield PostgresReader(asking_on(connection))
        finally:
            connection.close()

    def write(self, work: Callable[[RowWriter], T]) -> T:
        """Run `work` alone in a transaction; returns once it is durable.

        StorageUnavailable may mean that it was kept all the same, if the connection was lost in the commit.
        """
        return self._commits.run(work)

    def scrub(self) -> bool:
        """Give the place of what was erased free, to be written over; False if that could not be done now.

        PostgreSQL's own write-ahead log keeps it until it is recycled: docs/data-on-disk.md says what that means.
        """
        self._sessions.require_open()
        try:
            with self._sessions.alone() as connection, connection.patient_for(SCRUB_S):
                connection.execute(cast("sql.SQL", _VACUUM))
        except (psycopg.Error, LookalikeError):
            return False
        return True

    def close(self) -> None:
        """Finish the writes that wait, then close every connection."""
        self._commits.close()
        self._sessions.close()


def bring_up_to_date(
    connection: PatientConnection, schema: str, migrations: Mapping[int, str] = MIGRATIONS, target: int = FORMAT
) -> None:
    """Make the tables in an empty database, migrate older ones; several processes may try at once.

    Raises: DataTooNew; StorageUnavailable if a migration is missing.
    """
    with translated_errors():
        if _version(connection) == target:
            return
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('lookalike ' || %s, 0))", (schema,))
            found = _version(connection)
            if found > target:
                raise DataTooNew(
                    f"the database has format {found}, this release knows up to {target}: "
                    "run the release that wrote it, or a newer one"
                )
            if found == 0:
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
                connection.execute(cast("sql.SQL", CREATE))
                connection.execute("INSERT INTO turn (format, seq, number) VALUES (%s, 0, 0)", (target,))
            else:
                _migrate(connection, migrations, found, target)


def describe(connection: PatientConnection) -> str:
    """What a server is, in words."""
    info, format = connection.info, _version(connection)
    version = ".".join(str(part) for part in (info.server_version // 10000, info.server_version % 10000))
    secured = "TLS" if connection.pgconn.ssl_in_use else "no TLS"
    kept = f"format {format}" if format else "nothing stored yet"
    return f"PostgreSQL {version} on {info.host} port {info.port}, database {info.dbname}, {secured}, {kept}"


def _migrate(connection: PatientConnection, migrations: Mapping[int, str], found: int, target: int) -> None:
    """All steps or none; the turn is held, so that nobody writes meanwhile."""
    connection.execute("SELECT 1 FROM turn FOR UPDATE")
    for version in range(found, target):
        if version not in migrations:
            raise StorageUnavailable(f"this release cannot migrate format {version}")
        connection.execute(cast("sql.SQL", migrations[version]))
        connection.execute("UPDATE turn SET format = %s", (version + 1,))


def _version(connection: PatientConnection) -> int:
    """The format of the tables; 0 where there are none."""
    # The catalogue is asked, since a session remembers for a while that it knew of no such name.
    if connection.execute(_HAS_TABLES).fetchone() != (True,):
        return 0
    row = connection.execute("SELECT format FROM turn").fetchone()
    return int(row[0]) if row is not None else 0
