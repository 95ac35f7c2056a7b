"""Events as they happen, for whoever listens over HTTP: server-sent events from a place in the audit log on.

Each event's id is its number there, so that a listener who comes back with Last-Event-ID misses none. Rights are asked
for again every few seconds: one that was taken away ends the stream. Source: WHATWG HTML, server-sent events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from api.errors import TooManyRequests
from api.schemas_events import EventOut
from lookalike.errors import LookalikeError
from lookalike.events import Event

LOOK_EVERY_S = 0.1
HEARTBEAT_S = 10.0
RIGHTS_EVERY_S = 2.0
MOST_STREAMS = 100
LONG_POLL_S = 25.0
RETRY_MS = 2_000
"""How long a browser waits before it comes back."""

Following = Callable[[int], Awaitable[tuple[list[tuple[str, Event]], int]]]
"""The events after a number, each with its id, and the number of the last entry looked at."""


class EventStreams:
    """The streams of one process; all of them end when it stops."""

    def __init__(self) -> None:
        self._open = 0
        self._ending = False

    def end(self) -> None:
        """Have every stream end soon; listeners come back to another process, or later."""
        self._ending = True

    def admit(self) -> None:
        """Raises: TooManyRequests beyond MOST_STREAMS."""
        if self._open >= MOST_STREAMS:
            raise TooManyRequests(f"at most {MOST_STREAMS} may listen to one process", 10)

    async def lines(
        self, after: int, following: Following, still_allowed: Callable[[], Awaitable[bool]], once: bool = False
    ) -> AsyncIterator[bytes]:
        """The stream, from the event after this number on.

        once: it ends with the first events that there are, or after LONG_POLL_S without any.
        """
        self._open += 1
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            began = said = looked = time.monotonic()
            while not self._ending:
                if time.monotonic() - looked >= RIGHTS_EVERY_S:
                    looked = time.monotonic()
                    if not await still_allowed():
                        return
                events, reached = await following(after)
                for id, event in events:
                    yield line_of(event, id)
                    said = time.monotonic()
                if once and (events or time.monotonic() - began >= LONG_POLL_S):
                    return
                if reached > after:
                    after = reached
                    continue
                if time.monotonic() - said >= HEARTBEAT_S:
                    said = time.monotonic()
                    yield f": {after}\n\n".encode()
                await asyncio.sleep(LOOK_EVERY_S)
        except LookalikeError as error:
            yield f"event: error\ndata: {error.code}\n\n".encode()  # the status has been sent: this is all one can say
        finally:
            self._open -= 1


def line_of(event: Event, id: str) -> bytes:
    """One event, whose id in the stream is its number."""
    return f"id: {event.seq}\nevent: {event.type}\ndata: {EventOut.of(event, id).model_dump_json()}\n\n".encode()
