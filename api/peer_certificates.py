"""The certificate that a client showed when its connection began, taken from the connection itself and from no header.

Hypercorn tells an application nothing of it, so its server is asked here to put it into the state of each connection,
which it copies into every request's scope. The layer `PeerCertificates` judges it before anything else is looked at: a
certificate that is revoked or blocked opens nothing, whatever key is sent with it.

A certificate is something that a browser sends by itself, also with requests that another site's page makes it send. So
it counts for programs alone: a request that a browser marks as its own is not signed in by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import hypercorn.asyncio.run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import AppWrapper, LifespanState
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import TooManyRequests, problem_of
from api.pool import Pool
from api.refusals import Refusals
from lookalike.errors import LookalikeError, Unauthenticated

PEER: Final = "peer_certificate"
"""In a connection's state: the client's verified certificate, DER; absent where it showed none."""

_OF_BROWSERS: Final = (b"origin", b"cookie")


class CertifiedServer(TCPServer):
    """A connection that knows whose it is."""

    def __init__(
        self,
        app: AppWrapper,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        context: WorkerContext,
        state: LifespanState,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__(app, loop, config, context, state, reader, writer)
        ssl_object = writer.get_extra_info("ssl_object")
        der = ssl_object.getpeercert(binary_form=True) if ssl_object is not None else None
        # Without verification OpenSSL would hand over whatever was sent.
        if der is not None and ssl_object.context.verify_mode:
            self.state = LifespanState({**state, PEER: der})


def tell_certificates() -> None:
    """Have every connection of Hypercorn carry its client's certificate from now on."""
    hypercorn.asyncio.run.TCPServer = CertifiedServer  # type: ignore[attr-defined]


class PeerCertificates:
    """ASGI middleware that judges a connection's certificate, and leaves it in the state for `Credentials`."""

    def __init__(
        self, app: ASGIApp, require_standing: Callable[[bytes], object], pool: Pool, refusals: Refusals
    ) -> None:
        self._app = app
        self._require_standing = require_standing
        self._pool = pool
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        der = scope.get("state", {}).get(PEER) if scope["type"] == "http" else None
        if der is not None:
            try:
                await self._pool.look_up(self._require_standing, der)
            except LookalikeError as error:
                await problem_of(self._counted(error, scope), scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _counted(self, error: LookalikeError, scope: Scope) -> LookalikeError:
        """The refusal itself, or that there were too many of this peer."""
        if isinstance(error, Unauthenticated):
            try:
                self._refusals.note(str((scope.get("client") or ("", 0))[0]))
            except TooManyRequests as many:
                return many
        return error


def shown_by_program(scope: Scope) -> bytes | None:
    """The certificate of a request that no browser made; None where there is none."""
    if any(name in _OF_BROWSERS or name.startswith(b"sec-fetch-") for name, _ in scope["headers"]):
        return None
    der: bytes | None = scope["state"].get(PEER)
    return der
