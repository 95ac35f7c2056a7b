"""Serves the application with Hypercorn over TLS 1.3 and HTTP/1.1, until told to stop; then drains.

HTTP/1.1 alone is offered: every limit on slow and silent clients holds for it, one connection being one request at a
time. A connection without complete headers is closed after `header_timeout_s`, however it drips.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from hypercorn.typing import ASGIFramework

from api.logs import start_logging
from lookalike.errors import BadSettings
from lookalike.settings import Settings

if TYPE_CHECKING:
    from api.wiring import Services

BACKLOG = 1024
DRAIN_S = 25.0
MAX_HEADER_BYTES = 32 * 1024
SOCKETS_FOR_ONE_HOST = 2

TlsContext = Callable[[], ssl.SSLContext]


class _Serving(Config):
    """Hypercorn's configuration, with a TLS context that is ours."""

    def __init__(self, tls: TlsContext | None) -> None:
        self._tls = tls

    @property
    def ssl_enabled(self) -> bool:
        return self._tls is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        if self._tls is None:
            return None
        context = self._tls()
        context.set_alpn_protocols(["http/1.1"])
        return context


def serve(services: Services, app: FastAPI, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; returns once the requests in hand are answered.

    on_ready: is told the URL once connections are accepted. Raises: BadSettings if the address cannot be bound.
    """
    settings = services.settings
    serve_app(app, settings, services.server_context if settings.tls == "on" else None, on_ready)


def serve_app(app: FastAPI, settings: Settings, tls: TlsContext | None, on_ready: Callable[[str], None]) -> None:
    """As `serve`. tls: makes the server's context; None serves plain HTTP, which settings allow on loopback only."""
    start_logging(settings.log_level)
    with _listening(settings.host, settings.port) as sockets:
        asyncio.run(_serve(app, settings, tls, sockets, on_ready))


async def _serve(
    app: FastAPI,
    settings: Settings,
    tls: TlsContext | None,
    sockets: list[socket.socket],
    on_ready: Callable[[str], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def until_stopped() -> None:
        # Hypercorn asks for this once it accepts connections.
        port = sockets[0].getsockname()[1]
        on_ready(settings.model_copy(update={"port": port}).base_url)
        await stop.wait()

    await hypercorn_serve(_framework(app), _config(settings, tls, sockets), shutdown_trigger=until_stopped, mode="asgi")


def _framework(app: FastAPI) -> ASGIFramework:
    return app  # type: ignore[return-value]


def _config(settings: Settings, tls: TlsContext | None, sockets: list[socket.socket]) -> Config:
    config = _Serving(tls)
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
