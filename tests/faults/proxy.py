"""A TCP proxy before a server on this machine that can hang, refuse or cut, as a network and a dying node do."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Listens on a free port; `mode` is "pass", "hang" (takes bytes, gives none), "cut" (ends each connection)."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._open: set[socket.socket] = set()
        self.mode = "pass"
        self._listener: socket.socket | None = self._listen(0)
        self.port = self._listener.getsockname()[1]

    def refuse(self) -> None:
        """Listen no more, and end what is open."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def listen(self) -> None:
        """Pass everything on again."""
        self.mode = "pass"
        self.cut()
        if self._listener is None:
            self._listener = self._listen(self.port)

    def cut(self) -> None:
        """End every open connection."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    close = refuse

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if self.mode == "cut":
                near.close()
                continue
            far = socket.create_connection(self._to)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        self._open.add(source)
        try:
            while data := source.recv(65536):
                if self.mode == "cut":
                    break
                if self.mode == "pass":
                    target.sendall(data)
        except OSError:
            pass
        finally:
            self._open.discard(source)
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
