"""Runs queued writes on one thread, many to a transaction, and answers each only when the disk has it (group commit).

A batch is one BEGIN IMMEDIATE transaction in which each piece of work has a SAVEPOINT of its own: work that raises is
undone alone. Nothing is answered before COMMIT has returned; if the transaction fails, every piece of the batch is
told so, the connection is opened anew for the next batch, and the service goes on by itself once there is space.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import apsw

from index.sqlite_connection import WAL_SIZE_LIMIT_BYTES, translate
from index.sqlite_writer import SqliteWriter
from lookalike.errors import LookalikeError, StorageUnavailable
from lookalike.ports import RowWriter

T = TypeVar("T")

BATCH_LIMIT = 256
BATCH_TIME_LIMIT_S = 0.1
"""A batch takes no more work after this, so that the first to come is not kept waiting for the last."""

INSIST_MS = 250
"""How long writers wait for readers when the WAL has grown beyond its bound."""


@dataclass(slots=True)
class _Job:
    """One piece of work and its answer; work None asks for the WAL to be emptied."""

    work: Callable[[RowWriter], object] | None
    answer: Future[Any] = field(default_factory=Future)


@dataclass(slots=True)
class _Outcome:
    job: _Job
    result: object = None
    error: BaseException | None = None

    def deliver(self) -> None:
        if self.error is None:
            self.job.answer.set_result(self.result)
        else:
            self.job.answer.set_exception(self.error)


class CommitQueue:
    """The only writer of this process. open_connection: called on the writing thread when one is needed."""

    def __init__(self, open_connection: Callable[[], apsw.Connection], busy_timeout_s: float) -> None:
        self._open_connection = open_connection
        self._busy_timeout_s = busy_timeout_s
        self._wal_limit_bytes = WAL_SIZE_LIMIT_BYTES
        self._connection: apsw.Connection | None = None
        self._writer = SqliteWriter(self._connected)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="commits", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[RowWriter], T]) -> T:
        """Run `work` in a transaction; returns once it is durable. Raises: what `work` raises; StorageFull and so on.

        An error that keeps the transaction from the disk may leave the outcome open only if the machine then loses
        power; a caller that tries again with the same ids is safe.
        """
        return cast(T, self._submit(_Job(work)))

    def empty_wal(self) -> bool:
        """Move all that is committed into the database file and cut the WAL to nothing; False if readers were in it."""
        return cast(bool, self._submit(_Job(None)))

    def close(self) -> None:
        """Finish what is queued, then stop."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._thread.join()

    def _submit(self, job: _Job) -> object:
        if threading.current_thread() is self._thread:
            raise RuntimeError("a write inside a write would wait for itself")
        with self._gate:
            if self._closed:
                raise StorageUnavailable("the database is closed")
            self._jobs.put(job)
        return job.answer.result()

    # --------------------------------------------------------------------------------- on the writing thread

    def _loop(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.work is None:
                self._answer_checkpoint(job)
            else:
                self._commit_batch(job)
        self._disconnect()

    def _connected(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = self._open_connection()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _commit_batch(self, first: _Job) -> None:
        outcomes: list[_Outcome] = []
        checkpoint: _Job | None = None
        job: _Job | None = first
        deadline = time.monotonic() + BATCH_TIME_LIMIT_S
        try:
            connection = self._connected()
            self._execute(connection, "BEGIN IMMEDIATE")
            while job is not None:
                outcome = _Outcome(job)
                outcomes.append(outcome)
                self._run_alone(connection, outcome)
                job = None
                if len(outcomes) < BATCH_LIMIT and time.monotonic() < deadline:
                    job = self._waiting()
                    if job is not None and job.work is None:
                        checkpoint, job = job, None
            self._execute(connection, "COMMIT")
        except Exception as error:
            self._fail(outcomes or [_Outcome(first)], error)
        else:
            for outcome in outcomes:
                outcome.deliver()
            self._bound_wal(connection)
        if checkpoint is not None:
            self._answer_checkpoint(checkpoint)

    def _waiting(self) -> _Job | None:
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return None
        if job is None:
            self._jobs.put(None)
        return job

    def _run_alone(self, connection: apsw.Connection, outcome: _Outcome) -> None:
        """Run one piece of work in a savepoint; its own error is its own, the transaction's is raised."""
        self._execute(connection, "SAVEPOINT work")
        try:
            outcome.result = cast(Callable[[RowWriter], object], outcome.job.work)(self._writer)
        except BaseException as error:
            outcome.error = error
            if not connection.in_transaction:  # SQLite gave the whole transaction up: a full disk, for one.
                raise error if isinstance(error, LookalikeError) else _unavailable(error) from error
            self._execute(connection, "ROLLBACK TO work")
        self._execute(connection, "RELEASE work")

    def _fail(self, outcomes: list[_Outcome], error: Exception) -> None:
        """Tell all of a batch that nothing of it stays; each gets an error object of its own."""
        self._disconnect_quietly()
        for outcome in outcomes:
            again = type(error)(str(error)) if isinstance(error, LookalikeError) else _unavailable(error)
            again.__cause__ = error
            outcome.error = again
            outcome.deliver()

    def _disconnect_quietly(self) -> None:
        """Let go of the connection, and with it of the open transaction; first give back what space the WAL holds."""
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if self._connection is not None:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._disconnect()
        except apsw.Error:
            self._connection = None

    def _bound_wal(self, connection: apsw.Connection) -> None:
        """Commits checkpoint by themselves; readers that never pause all at once keep the WAL growing: then insist."""
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

    def _answer_checkpoint(self, job: _Job) -> None:
        try:
            self._connected().wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.Error, LookalikeError):
            job.answer.set_result(False)
        else:
            job.answer.set_result(True)

    @staticmethod
    def _execute(connection: apsw.Connection, sql: str) -> None:
        try:
            connection.execute(sql)
        except apsw.Error as error:
            raise translate(error, connection.system_errno) from error


def _unavailable(error: BaseException) -> StorageUnavailable:
    return StorageUnavailable(f"the database failed: {type(error).__name__}")
