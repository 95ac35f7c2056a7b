"""The TLS context towards Elasticsearch with a certificate of our own, read anew when its files change.

A new connection is given what the files hold at that moment; if they do not hold a pair, as while they are written,
what they held before.
"""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

from lookalike.errors import BadSettings

Facts = tuple[tuple[int, int, int], ...]


class ClientContext(ssl.SSLContext):
    """A client's context that hands each connection to the newest good one. Thread-safe."""

    _certificate: Path
    _key: Path
    _ca: Path | None
    _lock: threading.Lock
    _held: tuple[Facts, ssl.SSLContext]

    def __new__(cls, certificate: Path, key: Path, ca: Path | None) -> ClientContext:
        """ca: the authority to trust, None for the system's. Raises: BadSettings for files that hold no pair."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made._certificate, made._key, made._ca = certificate, key, ca
        made._lock = threading.Lock()
        try:
            made._held = made._facts(), made._fresh()
        except (OSError, ValueError) as error:
            raise BadSettings(
                f"LOOKALIKE_ELASTICSEARCH_CERTIFICATE and its key or CA cannot be used: {type(error).__name__}"
            ) from error
        return made

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """As that of the context of this moment."""
        current = self._current()
        return current.wrap_socket(
            sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, server_hostname, session
        )

    def _current(self) -> ssl.SSLContext:
        with self._lock:
            try:
                found = self._facts()
                if found != self._held[0]:
                    self._held = found, self._fresh()
            except (OSError, ValueError):
                return self._held[1]
            return self._held[1]

    def _fresh(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
        context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        return context

    def _facts(self) -> Facts:
        files = [self._certificate, self._key, *([] if self._ca is None else [self._ca])]
        return tuple((facts.st_ino, facts.st_size, facts.st_mtime_ns) for facts in (file.stat() for file in files))
