"""Refusals in other protocols' words: a layer outside all others rewrites problems of RFC 9457 for the paths of each.

So whichever layer refuses a request, its client is told in the form that it reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import PROBLEM


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a problem is told. headers: besides those that every answer carries."""

    status: int
    content_type: str
    body: Mapping[str, object]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dialect:
    """speaks: whether a request is one of this protocol; refuse: tells a problem by its code and detail.

    request_id_header: where its answers carry the request's id, besides our own.
    """

    speaks: Callable[[Scope], bool]
    refuse: Callable[[str, str], Refusal]
    request_id_header: str | None = None


class Dialects:
    """ASGI middleware, outside all others."""

    def __init__(self, app: ASGIApp, dialects: Sequence[Dialect]) -> None:
        self._app = app
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect = next((d for d in self._dialects if d.speaks(scope)), None) if scope["type"] == "http" else None
        await self._app(scope, receive, send if dialect is None else _Rewritten(send, dialect).send)


class _Rewritten:
    """An answer's way out. A problem's start is held until its body tells what it is."""

    def __init__(self, send: Send, dialect: Dialect) -> None:
        self._send = send
        self._dialect = dialect
        self._held: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            if self._dialect.request_id_header is not None:
                told = (self._dialect.request_id_header.encode(), headers.get(b"x-request-id", b""))
                message = {**message, "headers": [*message["headers"], told]}
            if headers.get(b"content-type", b"").startswith(PROBLEM.encode()):
                self._held = message
                return
        elif self._held is not None:
            start, message = self._told(self._held, message)
            self._held = None
            await self._send(start)
        await self._send(message)

    def _told(self, start: Message, body: Message) -> tuple[Message, Message]:
        """A problem's start and body in the dialect. A problem is sent in one piece."""
        problem = json.loads(body["body"])
        refusal = self._dialect.refuse(problem["code"], problem["detail"])
        text = json.dumps(refusal.body).encode()
        own = {"content-type": refusal.content_type, "content-length": str(len(text)), **refusal.headers}
        replaced = {name.encode() for name in own} | {b"www-authenticate"}
        headers = [pair for pair in start["headers"] if pair[0] not in replaced]
        headers += [(name.encode(), value.encode()) for name, value in own.items()]
        return {**start, "status": refusal.status, "headers": headers}, {**body, "body": text}
