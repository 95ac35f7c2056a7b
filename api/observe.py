"""The outermost layer of every request: its id, the headers each answer carries, its log line and its figures.

An error that nobody foresaw ends here as a 500 that tells the caller nothing but the request's id.
"""

from __future__ import annotations

import secrets
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import FAULTS, problem
from api.logs import log_failure, log_request
from api.metrics import Metrics, known_method

UNMATCHED = "-"
CLIENT_GONE = 499

_HEADERS = {
    b"strict-transport-security": b"max-age=31536000",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}


class Observe:
    """ASGI middleware. A request id sent by the client is not trusted, and ignored."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        marked = _Marked(send, request_id)
        try:
            await self._app(scope, receive, marked.send)
        except ClientDisconnect:
            marked.status = CLIENT_GONE
        except Exception as error:
            log_failure("internal error", error, request_id)
            if marked.status:
                raise
            refusal = problem("internal_error", FAULTS["internal_error"].title, request_id)
            await refusal(scope, receive, marked.send)
        finally:
            self._tell(scope, marked.status or CLIENT_GONE, time.perf_counter() - began, request_id)

    def _tell(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED)
        method = known_method(scope["method"])
        caller = scope["state"].get("caller")
        self._metrics.observe(method, route, status, seconds)
        log_request(
            method=method,
            route=route,
            status=status,
            ms=seconds * 1000,
            request_id=request_id,
            principal=caller.principal.id if caller is not None else None,
        )


class _Marked:
    """An answer's way out, which adds what each answer carries. status: 0 until it has begun."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 0
        self._send = send
        self._request_id = request_id.encode()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            there = {name for name, _ in message["headers"]}
            extra = [(name, value) for name, value in _HEADERS.items() if name not in there]
            headers = [*message["headers"], *extra, (b"x-request-id", self._request_id)]
            message = {**message, "headers": headers}
        await self._send(message)
