"""SQLite's transactions as the commit queue uses them, and the bound on the write-ahead log between them."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from index.sqlite_connection import WAL_SIZE_LIMIT_BYTES, translate
from index.sqlite_writer import SqliteWriter
from lookalike.errors import LookalikeError
from lookalike.ports import RowWriter

BATCH_LIMIT = 256

INSIST_MS = 250
"""How long writers wait for readers when the WAL has grown beyond its bound."""


class SqliteTransactions:
    """The commit queue's Transactions. open_connection: called on the writing thread when one is needed."""

    def __init__(self, open_connection: Callable[[], apsw.Connection], busy_timeout_s: float) -> None:
        self.batch_limit = BATCH_LIMIT
        self._open_connection = open_connection
        self._busy_timeout_s = busy_timeout_s
        self._wal_limit_bytes = WAL_SIZE_LIMIT_BYTES
        self._connection: apsw.Connection | None = None
        self._writer = SqliteWriter(self._connected)

    @property
    def writer(self) -> RowWriter:
        return self._writer

    def begin(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def mark(self) -> None:
        self._execute("SAVEPOINT work")

    def undo(self) -> None:
        self._execute("ROLLBACK TO work")
        self._execute("RELEASE work")

    def keep(self) -> None:
        self._execute("RELEASE work")

    def is_open(self) -> bool:
        return self._connected().in_transaction

    def commit(self) -> None:
        self._execute("COMMIT")

    def tidy(self) -> None:
        """Commits checkpoint by themselves; readers that never pause all at once keep the WAL growing: then insist."""
        connection = self._connected()
        try:
            pages, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
            size = pages * connection.pragma("page_size")
            if size < self._wal_limit_bytes:
                return
            self._wal_limit_bytes = size + WAL_SIZE_LIMIT_BYTES
            connection.set_busy_timeout(INSIST_MS)
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._wal_limit_bytes = WAL_SIZE_LIMIT_BYTES
        except apsw.Error:
            return  # It is durable already; the WAL is tried again when it has grown by as much once more.
        finally:
            connection.set_busy_timeout(round(self._busy_timeout_s * 1000))

    def abandon(self) -> None:
        """Let go of the connection, and with it of the open transaction; first give back what space the WAL holds."""
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if self._connection is not None:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self.close()
        except apsw.Error:
            self._connection = None

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def empty_wal(self) -> bool:
        """Move all that is committed into the database file and cut the WAL to nothing; False if readers were in it."""
        try:
            self._connected().wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.Error, LookalikeError):
            return False
        return True

    def _connected(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = self._open_connection()
        return self._connection

    def _execute(self, sql: str) -> None:
        connection = self._connected()
        try:
            connection.execute(sql)
        except apsw.Error as error:
            raise translate(error, connection.system_errno) from error
