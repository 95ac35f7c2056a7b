"""PostgreSQL's transactions as the commit queue uses them: whoever locks the row of `turn` is the only writer.

Writers of all processes take turns by that row's lock, which PostgreSQL lets go of after a commit is on the disk and
seen by everyone. So changes appear in the order of their numbers, and a follower that has seen one has seen all before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import psycopg
from psycopg.abc import Params
from psycopg.pq import TransactionStatus

from index.postgres_connection import (
    LONG_S,
    PATIENCE_S,
    TURN_S,
    PatientConnection,
    Silent,
    translate,
    translated_errors,
)
from index.postgres_reader import ask
from index.postgres_schema import FORMAT
from index.postgres_sessions import Sessions
from index.postgres_writer import Gathered, PostgresWriter
from lookalike.errors import Conflict, DataTooNew, StorageUnavailable
from lookalike.ports import AuditRow, RowWriter

T = TypeVar("T")

BATCH_LIMIT = 60
"""PostgreSQL keeps 64 savepoints of a transaction at hand; with more, every reader has to look them up."""

_BEGIN = "; ".join(
    (
        "BEGIN",
        f"SET LOCAL statement_timeout = '{TURN_S * 1000:.0f}ms'",
        "SELECT format, seq, number FROM turn FOR UPDATE",
        f"SET LOCAL statement_timeout = '{LONG_S:.0f}s'",
        "SELECT seq, at, chain, payload FROM audit ORDER BY seq DESC LIMIT 1",
    )
)
_TURN_IS, _TAIL_IS = 2, 4
"""Which of those statements' results they are, from 0."""

_MARGIN_S = 1.0
_ONLY_GROWS = "23001"
"""The SQLSTATE that the audit table's own trigger refuses with."""

_UNCONFIRMED = (
    "the database did not confirm the write, so it may have been kept or not: send it again with the same "
    "Idempotency-Key, which never doubles it"
)


class PostgresTransactions:
    """The commit queue's Transactions."""

    def __init__(self, sessions: Sessions) -> None:
        self.batch_limit = BATCH_LIMIT
        self._sessions = sessions
        self._connection: PatientConnection | None = None
        self._writer = PostgresWriter(self._ask)
        self._before = Gathered()
        # A savepoint is made by the first statement of a piece of work, since most have few and many have none.
        self._savepoint = False
        self._is_of_this_work = False
        self._was_used = False

    @property
    def writer(self) -> RowWriter:
        return self._writer

    def begin(self) -> None:
        """A connection that was kept and turns out to be dead is replaced: nothing has been written by then."""
        was_kept = self._connection is not None
        try:
            self._writer.gathered = self._take_turn()
        except psycopg.Error as error:
            if not (was_kept and self._connected().closed) or isinstance(error, Silent):
                raise self._told(error) from error
            self.abandon()
            with translated_errors():
                self._writer.gathered = self._take_turn()
        self._savepoint = self._is_of_this_work = self._was_used = False

    def _take_turn(self) -> Gathered:
        connection = self._connected()
        try:
            with connection.patient_for(TURN_S + _MARGIN_S):
                cursor = connection.execute(cast("psycopg.sql.SQL", _BEGIN), prepare=False)
        except psycopg.errors.QueryCanceled as error:
            raise StorageUnavailable("the database is busy: another process holds it for too long") from error
        for _ in range(_TURN_IS):
            cursor.nextset()
        format, seq, number = cast("tuple[int, int, int]", cursor.fetchone())
        if format != FORMAT:
            raise DataTooNew(f"the database was migrated to format {format}, this release knows {FORMAT}: upgrade it")
        for _ in range(_TAIL_IS - _TURN_IS):
            cursor.nextset()
        tail = cast("tuple[int, float, bytes, bytes] | None", cursor.fetchone())
        return Gathered(seq, number, AuditRow(*tail) if tail is not None else None)

    def mark(self) -> None:
        if self._was_used:
            self._is_of_this_work = self._was_used = False
        self._before = self._writer.gathered.copy()

    def undo(self) -> None:
        if self._is_of_this_work:
            self._execute("ROLLBACK TO SAVEPOINT work")
        self._was_used = False
        self._writer.gathered = self._before

    def keep(self) -> None:
        """The next savepoint, or the commit, lets go of this one.

        Raises: Conflict where the work went on after a refused write, as PostgreSQL then keeps nothing of it.
        """
        if self._connected().pgconn.transaction_status != TransactionStatus.INTRANS:
            raise Conflict("a refused write was passed over")

    def _save(self) -> None:
        if not self._is_of_this_work:
            self._execute("RELEASE SAVEPOINT work; SAVEPOINT work" if self._savepoint else "SAVEPOINT work")
        self._savepoint = self._is_of_this_work = self._was_used = True

    def is_open(self) -> bool:
        connection = self._connection
        return connection is not None and not connection.closed and connection.pgconn.transaction_status in _OPEN

    def commit(self) -> None:
        """Raises: StorageUnavailable also where the connection was lost meanwhile, and the outcome is not known."""
        connection = self._connected()
        try:
            with connection.pipeline():  # all in one round trip
                for sql, values in self._writer.gathered.statements():
                    connection.execute(sql, values)
                done = connection.execute("COMMIT")
        except psycopg.Error as error:
            if error.sqlstate is None or error.sqlstate.startswith("57P"):
                self._told(error)
                raise StorageUnavailable(_UNCONFIRMED) from error
            told = translate(error)
            if isinstance(told, Conflict) and (error.diag.table_name == "audit" or error.sqlstate == _ONLY_GROWS):
                raise StorageUnavailable("the audit log takes no entry, so nothing is done") from error
            raise told from error
        if done.statusmessage != "COMMIT":
            raise StorageUnavailable("the database undid the write")

    def tidy(self) -> None:
        """Autovacuum does what is due."""

    def abandon(self) -> None:
        """The server rolls back what a connection leaves open when it closes."""
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _connected(self) -> PatientConnection:
        if self._connection is None:
            self._connection = self._sessions.open()
        return self._connection

    def _execute(self, sql: str) -> None:
        try:
            self._connected().execute(cast("psycopg.sql.SQL", sql), prepare=False)
        except psycopg.Error as error:
            raise self._told(error) from error

    def _ask(self, make: Callable[..., T], sql: str, values: Params, patience_s: float = PATIENCE_S) -> list[T]:
        self._save()
        try:
            return ask(self._connected(), make, sql, values, patience_s)
        except psycopg.Error as error:
            raise self._told(error) from error

    def _told(self, error: psycopg.Error) -> Exception:
        """Our error; where the server is silent, others are kept from waiting for it too."""
        if isinstance(error, Silent):
            self._sessions.rest()
        return translate(error)


_OPEN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
