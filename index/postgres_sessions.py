"""Lends connections to PostgreSQL to the threads of this process, and finds its way back after the server was away.

A connection that was kept is found dead only when it is used: a read is then done again on a fresh one, a write only
if nothing of it had begun. After a failure to connect, nobody tries again for a second, so that callers of a server
that hangs are refused at once instead of each waiting in turn. psycopg_pool was not taken: while a server is away, its
pool tries again at growing intervals in the background, and callers wait for their timeout though the server is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from index.postgres_connection import PATIENCE_S, PatientConnection, Silent, translate
from lookalike.errors import LookalikeError, StorageUnavailable

T = TypeVar("T")

LENT = 8
"""Connections of a process besides the one that writes; PostgreSQL takes 100 in all by default."""

REST_S = 1.0

log = logging.getLogger(__name__)


class Sessions:
    """Thread-safe. open_connection: raises what keeps it from being opened."""

    def __init__(self, open_connection: Callable[[], PatientConnection], limit: int = LENT) -> None:
        self._open_connection = open_connection
        self._slots = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[PatientConnection] = []
        self._rest_until = 0.0
        self._closed = False

    def open(self) -> PatientConnection:
        """A fresh connection, which is the caller's own. Raises: StorageUnavailable, Unsafe."""
        self.require_open()
        if time.monotonic() < self._rest_until:
            raise StorageUnavailable("the database cannot be reached; it is tried again within a second")
        try:
            return self._open_connection()
        except LookalikeError as error:
            self.rest()
            log.warning("%s", error)
            raise StorageUnavailable("the database cannot be reached") from error

    def require_open(self) -> None:
        """Raises: StorageUnavailable once this was closed."""
        if self._closed:
            raise StorageUnavailable("the database is closed")

    def rest(self) -> None:
        """Let nobody try to connect for a moment, and forget the connections that nobody uses."""
        self._rest_until = time.monotonic() + REST_S
        self._forget_idle()

    def read(self, query: Callable[[PatientConnection], T]) -> T:
        """The result of a query that changes nothing. Raises: StorageUnavailable and so on."""
        with self._lent(fresh=False) as (connection, was_kept):
            try:
                return query(connection)
            except psycopg.Error as error:
                self._note(error)
                if not (was_kept and connection.closed) or isinstance(error, Silent):
                    raise translate(error) from error
        self._forget_idle()  # The server was away: what else was kept is as dead.
        with self._lent(fresh=True) as (connection, _):
            try:
                return query(connection)
            except psycopg.Error as error:
                self._note(error)
                raise translate(error) from error

    @contextmanager
    def alone(self) -> Iterator[PatientConnection]:
        """A connection for something that is not a query. Raises: StorageUnavailable."""
        with self._lent(fresh=True) as (connection, _):
            yield connection

    def _note(self, error: psycopg.Error) -> None:
        if isinstance(error, Silent):
            self.rest()

    @contextmanager
    def _lent(self, *, fresh: bool) -> Iterator[tuple[PatientConnection, bool]]:
        """A connection, and whether it was kept from before, so that it may turn out to be dead."""
        if not self._slots.acquire(timeout=PATIENCE_S):
            raise StorageUnavailable("all connections to the database are in use")
        try:
            with self._lock:
                kept = self._idle.pop() if self._idle and not fresh else None
            connection = kept if kept is not None else self.open()
            try:
                yield connection, kept is not None
            except BaseException:
                if not connection.closed and connection.pgconn.transaction_status != TransactionStatus.IDLE:
                    connection.close()
                raise
            finally:
                self._take_back(connection)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close what nobody uses; the rest closes when it comes back."""
        self._closed = True
        self._forget_idle()

    def _forget_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take_back(self, connection: PatientConnection) -> None:
        with self._lock:
            if not self._closed and not connection.closed:
                self._idle.append(connection)
                return
        connection.close()
