"""Runs queued writes on one thread, many to a transaction, and answers each only when the disk has it (group commit).

A batch is one transaction in which each piece of work has a savepoint of its own: work that raises is undone alone.
Nothing is answered before the commit has returned; if the transaction fails, every piece of the batch is told so, the
database is connected to anew for the next batch, and the service goes on by itself once that can write again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from lookalike.errors import LookalikeError, StorageUnavailable
from lookalike.ports import RowWriter

T = TypeVar("T")

BATCH_TIME_LIMIT_S = 0.1
"""A batch takes no more work after this, so that the first to come is not kept waiting for the last."""


class Transactions(Protocol):
    """A database's transactions, one at a time, used by the queue's thread alone. Its errors are LookalikeErrors.

    batch_limit: how many savepoints a transaction takes well.
    """

    batch_limit: int

    @property
    def writer(self) -> RowWriter:
        """What work writes with, within the open transaction."""
        ...

    def begin(self) -> None:
        """Begin a transaction and take this database's one turn to write."""
        ...

    def mark(self) -> None:
        """A savepoint, which `undo` goes back to and `keep` lets go of."""
        ...

    def undo(self) -> None: ...
    def keep(self) -> None:
        """Raises what shows now that the work cannot be kept; it is then undone."""
        ...

    def is_open(self) -> bool:
        """Whether the transaction can still go on; False once the database gave it up as a whole."""
        ...

    def commit(self) -> None:
        """Returns once it is durable."""
        ...

    def tidy(self) -> None:
        """What is due after a commit. It raises nothing."""
        ...

    def abandon(self) -> None:
        """Let go of an open transaction and of the connection. It raises nothing."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Job:
    """One piece of work and its answer. between: it is run between two transactions, and needs no writer."""

    work: Callable[[RowWriter], object] | None
    between: Callable[[], object] | None = None
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
    """The only writer of this process."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="commits", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[RowWriter], T]) -> T:
        """Run `work` in a transaction; returns once it is durable. Raises: what `work` raises; StorageFull and so on.

        An error that keeps a commit from being confirmed leaves the outcome open: of SQLite's only if the machine
        then loses power, of a server's if the connection is lost in the commit. A caller that tries again with the
        same ids is safe.
        """
        return cast(T, self._submit(_Job(work)))

    def between(self, work: Callable[[], T]) -> T:
        """Run `work` on the writing thread between two transactions. Raises: what `work` raises."""
        return cast(T, self._submit(_Job(None, work)))

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
            if job.between is not None:
                self._run_between(job)
            else:
                self._commit_batch(job)
        self._transactions.close()

    def _run_between(self, job: _Job) -> None:
        outcome = _Outcome(job)
        try:
            outcome.result = cast(Callable[[], object], job.between)()
        except BaseException as error:
            outcome.error = error
        outcome.deliver()

    def _commit_batch(self, first: _Job) -> None:
        outcomes: list[_Outcome] = []
        between: _Job | None = None
        job: _Job | None = first
        deadline = time.monotonic() + BATCH_TIME_LIMIT_S
        try:
            self._begin(first)
            while job is not None:
                outcome = _Outcome(job)
                outcomes.append(outcome)
                self._run_alone(outcome)
                job = None
                if len(outcomes) < self._transactions.batch_limit and time.monotonic() < deadline:
                    job = self._waiting()
                    if job is not None and job.between is not None:
                        between, job = job, None
            self._transactions.commit()
        except _NotBegun:
            return
        except Exception as error:
            self._transactions.abandon()
            _fail(outcomes, error)
        else:
            for outcome in outcomes:
                outcome.deliver()
            self._transactions.tidy()
        if between is not None:
            self._run_between(between)

    def _begin(self, first: _Job) -> None:
        """Begin the batch's transaction; where that fails, whoever waits is told so at once, as each would wait anew.

        Raises: _NotBegun.
        """
        try:
            self._transactions.begin()
        except Exception as error:
            self._transactions.abandon()
            outcomes = [_Outcome(first)]
            while (job := self._waiting()) is not None:
                if job.between is not None:
                    self._run_between(job)
                else:
                    outcomes.append(_Outcome(job))
            _fail(outcomes, error)
            raise _NotBegun from error

    def _waiting(self) -> _Job | None:
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return None
        if job is None:
            self._jobs.put(None)
        return job

    def _run_alone(self, outcome: _Outcome) -> None:
        """Run one piece of work in a savepoint; its own error is its own, the transaction's is raised."""
        self._transactions.mark()
        try:
            outcome.result = cast(Callable[[RowWriter], object], outcome.job.work)(self._transactions.writer)
            self._transactions.keep()
        except BaseException as error:
            outcome.error = error
            if not self._transactions.is_open():  # The database gave it up: a full disk or a lost server, for two.
                raise error if isinstance(error, LookalikeError) else _unavailable(error) from error
            self._transactions.undo()


class _NotBegun(Exception):
    """The transaction could not begin, and all who waited for it were told why."""


def _fail(outcomes: list[_Outcome], error: Exception) -> None:
    """Tell all of a batch that nothing of it stays; each gets an error object of its own."""
    for outcome in outcomes:
        again = type(error)(str(error)) if isinstance(error, LookalikeError) else _unavailable(error)
        again.__cause__ = error
        outcome.error = again
        outcome.deliver()


def _unavailable(error: BaseException) -> StorageUnavailable:
    return StorageUnavailable(f"the database failed: {type(error).__name__}")
