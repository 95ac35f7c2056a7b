"""Bounds on a request's body and on the time of its answer, before anything parses it.

A body has a greatest size, is never idle for long, and is not slower on the whole than a minimum rate; only time
spent waiting for the sender counts. Answers that come before the body was read let the sender finish for a moment,
or its connection would break before it could read them. All bodies in hand share one budget of memory.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import RequestTimeout, RequestTooLarge, problem, problem_of
from lookalike.errors import LookalikeError, Overloaded

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})
"""Paths that answer without a credential."""

NEVER_SHED = OPEN_PATHS | {"/metrics"}
"""Paths that answer also when every worker is busy."""

LINGER_S = 2.0


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """max_held_bytes: of all bodies in hand together; most_bytes: instead of max_bytes, by path.

    streamed, max_streamed_bytes: paths whose bodies go to the disk as they come and are not held, and their bound.
    """

    max_bytes: int
    max_held_bytes: int
    idle_timeout_s: float
    min_bytes_per_s: int
    answer_timeout_s: float
    most_bytes: Mapping[str, int] = field(default_factory=dict)
    streamed: re.Pattern[str] | None = None
    max_streamed_bytes: int = 0

    def of(self, scope: Scope) -> int:
        """The largest body that this request may have."""
        if self.is_streamed(scope):
            return self.max_streamed_bytes
        return self.most_bytes.get(scope["path"], self.max_bytes)

    def is_streamed(self, scope: Scope) -> bool:
        """Whether the body is not held in memory."""
        return self.streamed is not None and self.streamed.fullmatch(scope["path"]) is not None


class Limits:
    """ASGI middleware that enforces `BodyLimits` and sheds work while `full()`."""

    def __init__(self, app: ASGIApp, limits: BodyLimits, full: Callable[[], bool]) -> None:
        self._app = app
        self._limits = limits
        self._full = full
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(self, self._limits, scope, receive)
        answer = _Answer(body, send)
        try:
            self._admit(scope)
            async with asyncio.timeout(self._limits.answer_timeout_s) as deadline:
                body.deadline = deadline
                try:
                    await self._app(scope, body.receive, answer.send)
                finally:
                    body.deadline = None
        except TimeoutError:
            if answer.started:
                raise
            refusal = problem("overloaded", "the answer took too long", scope["state"]["request_id"])
            await refusal(scope, receive, answer.send)
        except LookalikeError as error:
            await problem_of(error, scope["state"]["request_id"])(scope, receive, answer.send)
        finally:
            self._held -= body.held

    def _admit(self, scope: Scope) -> None:
        if content_length(scope) > self._limits.of(scope):
            raise too_large(self._limits.of(scope))
        if scope["path"] not in NEVER_SHED and self._full():
            raise Overloaded("all workers are busy and the queue is full")

    def hold(self, size: int) -> None:
        """Raises: Overloaded when the bodies in hand would go beyond the budget."""
        if self._held + size > self._limits.max_held_bytes:
            raise Overloaded("too many large requests at once")
        self._held += size


class _Body:
    """A request's body as it comes in. size: bytes that came so far; held: and are in memory."""

    def __init__(self, owner: Limits, limits: BodyLimits, scope: Scope, receive: Receive) -> None:
        self.size = 0
        self.held = 0
        self.complete = not has_body(scope)
        self.stalled = False
        self.deadline: asyncio.Timeout | None = None
        self._owner = owner
        self._limits = limits
        self._max_bytes = limits.of(scope)
        self._streamed = limits.is_streamed(scope)
        self._receive = receive
        self._waited_s = 0.0

    async def receive(self) -> Message:
        """The next part of the body, in time and within bounds. Raises: RequestTooLarge, RequestTimeout, Overloaded."""
        if self.complete:
            return await self._receive()
        message = await self._next()
        size = len(message.get("body", b""))
        if self.size + size > self._max_bytes:
            raise too_large(self._max_bytes)
        if not self._streamed:
            self._owner.hold(size)
            self.held += size
        self.size += size
        if self.deadline is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + self._limits.answer_timeout_s)
        return message

    def answer_goes_on(self) -> None:
        """A piece of the answer is ready, so that the time for the next one begins."""
        if self.deadline is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + self._limits.answer_timeout_s)

    async def _next(self) -> Message:
        limits = self._limits
        allowed_s = limits.idle_timeout_s + self.size / limits.min_bytes_per_s - self._waited_s
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(max(0.0, min(limits.idle_timeout_s, allowed_s))):
                message = await self._receive()
        except TimeoutError:
            self.stalled = True
            raise RequestTimeout("the body stood still or came too slowly") from None
        self._waited_s += loop.time() - began
        self._note(message)
        return message

    def _note(self, message: Message) -> None:
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.complete = True

    async def drain(self) -> None:
        """Read and forget what the sender is still sending, within bounds."""
        left = self._max_bytes
        try:
            async with asyncio.timeout(min(LINGER_S, self._limits.idle_timeout_s)):
                while not (self.complete or self.stalled) and left > 0:
                    message = await self._receive()
                    self._note(message)
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return

    async def sink(self) -> None:
        """Take whatever still comes until the connection is closed, so that the server never waits for us."""
        while (await self._receive())["type"] != "http.disconnect":
            continue


class _Answer:
    """The answer on its way out; its last byte waits until an unread body is drained."""

    def __init__(self, body: _Body, send: Send) -> None:
        self.started = False
        self._body = body
        self._send = send
        self._sink: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        self.started = True
        self._body.answer_goes_on()
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not last or self._body.complete:
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        await self._body.drain()
        if not self._body.complete:
            self._sink = asyncio.create_task(self._body.sink())
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def too_large(max_bytes: int) -> RequestTooLarge:
    """The refusal of a body beyond this size."""
    return RequestTooLarge(f"a request of at most {max_bytes} bytes is allowed")


def content_length(scope: Scope) -> int:
    """As declared; 0 where nothing is."""
    value: bytes = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(value) if value.isdigit() else 0


def has_body(scope: Scope) -> bool:
    """Whether a body is on its way."""
    chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
    return chunked or content_length(scope) > 0 or scope.get("http_version") == "2"
