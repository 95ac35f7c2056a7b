"""The durable, transactional store of ciphertext rows on SQLite: one writing thread, a reader for each thread.

Several processes may open the same file. A write is answered when the disk has it; a reader never waits for a writer.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import apsw

from index import migrations
from index.commit_queue import CommitQueue
from index.schema import FORMAT
from index.sqlite_connection import create_private_file, open_connection, require_safe_sqlite, translated_errors
from index.sqlite_reader import SqliteReader
from index.sqlite_transactions import SqliteTransactions
from index.way_back import destroy_copies
from lookalike.errors import StorageUnavailable
from lookalike.ports import RowReader, RowWriter

T = TypeVar("T")

READER_CACHE_KIB = 512
WRITER_CACHE_KIB = 4096


class SqliteRows:
    """The port Rows over one database file, which is made if it is not there.

    busy_timeout_s: how long to wait for another process that writes, before StorageUnavailable.
    Raises on opening: Unsafe for an SQLite that can lose data; DataTooNew; StorageUnavailable for an older format,
    which index/data_format.py migrates; StorageFull, TamperedData.
    """

    def __init__(self, path: Path, busy_timeout_s: float = 10.0) -> None:
        require_safe_sqlite(apsw.sqlite_lib_version())
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._mine = threading.local()
        self._readers: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
        self._gate = threading.Lock()
        self._closed = False
        create_private_file(path)
        self._require_format()
        self._reader = SqliteReader(self._connection)
        self._transactions = SqliteTransactions(
            lambda: open_connection(path, busy_timeout_s, WRITER_CACHE_KIB), busy_timeout_s
        )
        self._commits = CommitQueue(self._transactions)

    def read(self) -> RowReader:
        """A reader; it may be kept and used on any thread, and each call sees the newest committed state."""
        return self._reader

    @contextmanager
    def snapshot(self) -> Iterator[RowReader]:
        """A reader that sees one committed state throughout, on a connection of its own."""
        connection = open_connection(self._path, self._busy_timeout_s, READER_CACHE_KIB)
        try:
            reader = SqliteReader(lambda: connection)
            with translated_errors(connection):
                connection.pragma("query_only", 1)
                connection.execute("BEGIN")
            reader.last_seq()  # the first read is what fixes the state
            yield reader
        finally:
            connection.close()

    def write(self, work: Callable[[RowWriter], T]) -> T:
        """Run `work` alone in a transaction; returns once it is durable."""
        return self._commits.run(work)

    def scrub(self) -> bool:
        """Take what was erased out of the WAL, and of a migration's copy; False if something was in the way for now."""
        return self._commits.between(self._transactions.empty_wal) and destroy_copies(self._path)

    def close(self) -> None:
        """Finish the writes that wait, then close every connection."""
        self._commits.close()
        with self._gate:
            self._closed = True
            for connection in list(self._readers):
                connection.close()

    def _require_format(self) -> None:
        connection = open_connection(self._path, self._busy_timeout_s, READER_CACHE_KIB)
        try:
            if migrations.version_of(connection) == 0:
                migrations.create(connection)
            found = migrations.version_of(connection)
            migrations.refuse_newer(found)
            if found < FORMAT:
                raise StorageUnavailable(f"the database has format {found} and must be migrated to {FORMAT} first")
        finally:
            connection.close()

    def _connection(self) -> apsw.Connection:
        """This thread's reading connection; it closes when the thread ends."""
        connection = getattr(self._mine, "connection", None)
        if connection is None:
            with self._gate:
                if self._closed:
                    raise StorageUnavailable("the database is closed")
                connection = open_connection(self._path, self._busy_timeout_s, READER_CACHE_KIB)
                with translated_errors(connection):
                    connection.pragma("query_only", 1)
                self._mine.connection = connection
                self._readers.add(connection)
        return connection
