"""What a request goes through, stage by stage, told to whoever watches that request: figures, and traces by choice.

A stage is named where its work is done; who watches is set where the request comes in, and travels with it from thread
to thread. Work that nobody watches, such as a job's or a comparison's after the answer, costs one look and is told to
nobody. Nothing but a stage's name, its time and counts is ever told.
"""

from __future__ import annotations

import enum
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Stage(enum.StrEnum):
    """authenticate: the credential is looked up; queue: the wait for a worker; batch: that part of `embed` which is a
    wait for others; records: the matched subjects' are opened, or new ones stored; audit: the entry is made durable."""

    AUTHENTICATE = "authenticate"
    QUEUE = "queue"
    DECODE = "decode"
    DETECT = "detect"
    EMBED = "embed"
    BATCH = "batch"
    SEARCH = "search"
    RECORDS = "records"
    AUDIT = "audit"


class Watch(Protocol):
    """Told what becomes of one request, from any thread. Must not raise, and must not take long."""

    def ended(self, stage: Stage, began_s: float, seconds: float, failed: bool) -> None:
        """A stage is over. began_s: by `time.perf_counter`; failed: it ended by an error, the caller's included."""
        ...

    def batched(self, rows: int) -> None:
        """So many rows, of this request and of others, went through a network together."""
        ...

    def answered(self, matched: int, unmatched: int) -> None:
        """So many faces or pictures were given a candidate, and so many none."""
        ...


_watch: ContextVar[Watch | None] = ContextVar("lookalike_watch", default=None)


def watching() -> Watch | None:
    """Who watches the work at hand."""
    return _watch.get()


@contextmanager
def watched_by(watch: Watch) -> Iterator[None]:
    """Tell `watch` of the stages within, also in threads that are given a copy of this context."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


class stage:
    """`with stage(Stage.SEARCH): …` tells whoever watches once it is over."""

    __slots__ = ("_began_s", "_name", "_watch")

    def __init__(self, name: Stage) -> None:
        self._name = name
        self._watch = _watch.get()
        self._began_s = 0.0

    def __enter__(self) -> None:
        if self._watch is not None:
            self._began_s = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.ended(self._name, self._began_s, time.perf_counter() - self._began_s, kind is not None)


def passed(name: Stage, began_s: float) -> None:
    """Tell of a stage that began elsewhere, such as in another thread, and is over now."""
    watch = _watch.get()
    if watch is not None:
        watch.ended(name, began_s, time.perf_counter() - began_s, False)


def staged(name: Stage) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A function whose every call is a stage."""

    def wrap(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with stage(name):
                return function(*args, **kwargs)

        return call

    return wrap
