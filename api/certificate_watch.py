"""Keeps the certificate that a service shows the one that lies in its place, and says so when that cannot be shown.

The files are looked at every second, and at once on SIGHUP; a new pair is served once it has lain still from one look
to the next, which is within three seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from api.logs import LOGGER
from security.tls_reload import LiveContext, Look, ServedCertificate

if TYPE_CHECKING:
    from api.edge import Edge
    from lookalike.settings import Settings

LOOK_EVERY_S = 1.0


class CertificateWatch:
    """One service's certificate, looked after from its event loop."""

    def __init__(self, settings: Settings, make: Callable[[], ssl.SSLContext]) -> None:
        """make: a context of the files as they are now. Raises: as `make`."""
        own = settings.data.absolute() / "tls"
        certificate, key = settings.tls_certificate or own / "server.crt", settings.tls_key or own / "server.key"

        def speaking_http() -> ssl.SSLContext:
            context = make()
            context.set_alpn_protocols(["http/1.1"])
            return context

        trusted = [] if settings.tls_client_ca is None else [settings.tls_client_ca]
        self._served = ServedCertificate(speaking_http, certificate, [key, *trusted])
        self._now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def context(self) -> LiveContext:
        return self._served.context

    def tell_of(self, edge: Edge) -> None:
        """Show in figures, and to whoever asks for readiness with a credential, how the certificate stands."""
        edge.metrics.watch_certificate(lambda: self._served.not_after, lambda: self._served.refused is not None)
        edge.notes.append(self._note)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look from now on, until the loop ends."""
        self._task = loop.create_task(self._go_on())
        if not _has_terminal():
            # On a terminal SIGHUP says that it is closed, and ends the service as ever.
            loop.add_signal_handler(signal.SIGHUP, self._now.set)

    def _note(self) -> str | None:
        refused = self._served.refused
        return None if refused is None else f"the TLS certificate before is still served: {refused}"

    async def _go_on(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._now.wait(), LOOK_EVERY_S)
            except TimeoutError:
                asked = False
            else:
                asked = True
                self._now.clear()
            # In a thread: a file may lie on a network that hangs, and making a key readable takes its time.
            self._log(await asyncio.to_thread(self._served.look, still=asked))

    def _log(self, found: Look) -> None:
        if found is Look.TAKEN:
            logging.getLogger(LOGGER).info("a new TLS certificate is served, until %s", self._served.not_after)
        elif found is Look.REFUSED:
            logging.getLogger(LOGGER).error("a new TLS certificate is refused: %s", self._served.refused)


def _has_terminal() -> bool:
    try:
        os.close(os.open(Path("/dev/tty"), os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
