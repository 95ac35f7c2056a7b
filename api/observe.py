"""The outermost layer of every request: its id, the headers each answer carries, its log line, figures and trace.

An error that nobody foresaw ends here as a 500 that tells the caller nothing but the request's id.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import FAULTS, problem
from api.logs import log_failure, log_request
from api.metrics import Metrics, known_method
from api.traceparent import traceparent_of
from lookalike.stages import watched_by

if TYPE_CHECKING:
    from api.traces import Traced, Traces

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
    """ASGI middleware. A request id sent by the client is not trusted, and ignored; its trace's id is taken over."""

    def __init__(self, app: ASGIApp, metrics: Metrics, traces: Traces | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = _Seen(scope, self._metrics, self._traces)
        marked = _Marked(send, seen.request_id)
        try:
            with watched_by(seen.traced or self._metrics):
                await self._app(scope, receive, marked.send)
        except ClientDisconnect:
            marked.status = CLIENT_GONE
        except Exception as error:
            log_failure("internal error", error, seen.request_id)
            if marked.status:
                raise
            refusal = problem("internal_error", FAULTS["internal_error"].title, seen.request_id)
            await refusal(scope, receive, marked.send)
        finally:
            seen.end(marked.status or CLIENT_GONE)


class _Seen:
    """One request from its headers to the end of its answer."""

    def __init__(self, scope: Scope, metrics: Metrics, traces: Traces | None) -> None:
        self._began = time.perf_counter()
        self.request_id = secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = self.request_id
        parent = traceparent_of(scope["headers"])
        self._scope = scope
        self._metrics = metrics
        self._method = known_method(scope["method"])
        # A request id has the form of a trace id, so whoever has one of the two finds the other.
        self._trace_id = self.request_id if parent is None else parent.trace_id
        self.traced: Traced | None = None
        if traces is not None:
            self.traced = traces.begin(self._trace_id, parent, metrics)

    def end(self, status: int) -> None:
        """Count it, log it, and end its span."""
        route = getattr(self._scope.get("route"), "path", UNMATCHED)
        caller = self._scope["state"].get("caller")
        seconds = time.perf_counter() - self._began
        self._metrics.observe(self._method, route, status, seconds)
        if self.traced is not None:
            self.traced.end(self._method, route, status, self.request_id)
        log_request(
            method=self._method,
            route=route,
            status=status,
            seconds=seconds,
            request_id=self.request_id,
            trace_id=self._trace_id,
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
