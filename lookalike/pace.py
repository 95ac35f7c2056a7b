"""Keeps long work to a rate that an operator chose, so that what else the machine does has room."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lookalike.errors import InvalidInput

SLICE_S = 0.5
"""How long it pauses before it looks whether the work was given up."""


class Pace:
    """rate: things a second, at most; None for as many as can be done. Time that passed in work counts."""

    def __init__(self, rate: float | None, timer: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """Raises: InvalidInput unless the rate is positive."""
        if rate is not None and not rate > 0:
            raise InvalidInput("rate: more than 0 a second is allowed")
        self._rate = rate
        self._timer = timer
        self._sleep = sleep
        self._due = timer()

    def after(self, things: int) -> Iterator[None]:
        """Pause until so many things more may have been done; yields between slices of the pause."""
        if self._rate is None:
            return
        self._due = max(self._due, self._timer() - SLICE_S) + things / self._rate
        while (left := self._due - self._timer()) > 0:
            self._sleep(min(left, SLICE_S))
            yield
