"""Serves the application with Hypercorn over TLS 1.3 and HTTP/1.1, until told to stop; then drains.

HTTP/1.1 alone is offered: every limit on slow and silent clients holds for it, one connection being one request at a
time. A connection without complete headers is closed after `header_timeout_s`, however it drips. Hypercorn would turn
any connection into HTTP/2 that asks for it in the clear (`PRI *`, `Upgrade: h2c`), where those limits do not hold and a
silent connection stays open; `Http11Only` keeps it from that.
"""

from __future__ import annotations

import asyncio
import functools
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h11
import hypercorn.protocol
from fastapi import FastAPI
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ASGIFramework

from api.certificate_watch import CertificateWatch
from api.logs import start_logging
from api.peer_certificates import tell_certificates
from lookalike.errors import BadSettings
from lookalike.settings import Settings

if TYPE_CHECKING:
    from api.wiring import Services

BACKLOG = 1024
DRAIN_S = 25.0
FAREWELL_S = 2.0
"""How long a client may take to answer that a TLS connection is being closed."""

MAX_HEADER_BYTES = 32 * 1024
SOCKETS_FOR_ONE_HOST = 2


class Http11Only(H11Protocol):
    """HTTP/1.1 that stays what it is."""

    async def _check_protocol(self, event: h11.Request) -> None:
        return  # A request to speak HTTP/2 is answered like any other.


class _Serving(Config):
    """Hypercorn's configuration, with a TLS context that is ours."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context

    @property
    def ssl_enabled(self) -> bool:
        return self._context is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._context


SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep Python's lock while others want it.

Workers are in C for most of their time and come back for a moment; at Python's own 5 ms they queue behind whoever
parses a request. Measured with 8 clients on two cores, interleaved: 65 identifications a second at 50 ms, 80 at 5 ms,
84 at .5 ms, the same at .1 ms.
"""


def serve(services: Services, app: FastAPI, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; returns once the requests in hand are answered.

    on_ready: is told the URL once connections are accepted.
    Raises: BadSettings if the address cannot be bound, and as `services.server_context`.
    """
    settings = services.settings
    watch = None
    if settings.tls == "on":
        watch = CertificateWatch(settings, services.server_context)
        watch.tell_of(app.state.edge)
    start_logging(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    hypercorn.protocol.H11Protocol = Http11Only  # type: ignore[attr-defined]
    tell_certificates()
    with _listening(settings.host, settings.port) as sockets:
        asyncio.run(_serve(app, settings, watch, sockets, on_ready))


async def _serve(
    app: FastAPI,
    settings: Settings,
    watch: CertificateWatch | None,
    sockets: list[socket.socket],
    on_ready: Callable[[str], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    context = None if watch is None else watch.context
    if watch is not None:
        watch.start(loop)
    # Hypercorn leaves this at asyncio's 30 s, and clients with idle connections answer no farewell.
    loop.create_server = functools.partial(  # type: ignore[method-assign]
        loop.create_server, **({"ssl_shutdown_timeout": FAREWELL_S} if context is not None else {})
    )
    loop.set_exception_handler(_tell)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def until_stopped() -> None:
        # Hypercorn asks for this once it accepts connections.
        port = sockets[0].getsockname()[1]
        on_ready(settings.model_copy(update={"port": port}).base_url)
        await stop.wait()
        app.state.streams.end()

    await hypercorn_serve(
        _framework(app), _config(settings, context, sockets), shutdown_trigger=until_stopped, mode="asgi"
    )


def _tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody foresaw, but not that a client did not answer a farewell: they all do that."""
    error = context.get("exception")
    if not (isinstance(error, TimeoutError) and str(error) == "SSL shutdown timed out"):
        loop.default_exception_handler(context)


def _framework(app: FastAPI) -> ASGIFramework:
    return app  # type: ignore[return-value]


def _config(settings: Settings, context: ssl.SSLContext | None, sockets: list[socket.socket]) -> Config:
    config = _Serving(context)
    # Hypercorn closes each socket that it is given, so it gets duplicates.
    config.bind = [f"fd://{sock.detach()}" for sock in (s.dup() for s in sockets)]
    config.backlog = BACKLOG
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.keep_alive_timeout = settings.header_timeout_s  # also bounds the time until headers are complete
    config.ssl_handshake_timeout = settings.header_timeout_s
    config.keep_alive_max_requests = 1_000_000
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.graceful_timeout = DRAIN_S
    return config


@contextmanager
def _listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets that listen on every address of `host`, at one port. Raises: BadSettings."""
    sockets: list[socket.socket] = []
    try:
        try:
            _bind(sockets, host, port)
        except OSError as error:
            raise BadSettings(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def _bind(sockets: list[socket.socket], host: str, port: int) -> None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(found[:SOCKETS_FOR_ONE_HOST]):
        sock = socket.socket(family, socket.SOCK_STREAM)
        sockets.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # The first address fixes the port, also when any was asked for.
        sock.bind((address[0], sockets[0].getsockname()[1] or port, *address[2:]))
        sock.listen(BACKLOG)
