"""A real HTTP receiver of webhooks on a free port of this machine, that behaves as a test tells it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """seen: every delivery that came, as (headers, body), whether it was taken or not; taken: the seqs answered 2xx."""

    def __init__(self, answer: Callable[[int, int], int | None] = lambda seq, try_: 204) -> None:
        """answer: of an event's number and which delivery this is, a status, or None for a dead receiver."""
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.taken: list[int] = []
        self.answer = answer
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                seq = json.loads(body)["seq"]
                with outer._lock:
                    outer.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
                    status = outer.answer(seq, len(outer.seen))
                    if status is not None and 200 <= status < 300:
                        outer.taken.append(seq)
                if status is None:
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(status)
                if status in (301, 302, 307, 308):
                    self.send_header("location", f"http://127.0.0.1:{outer.port}/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                return

            def handle(self) -> None:
                try:
                    super().handle()
                except (OSError, ValueError):
                    return  # the connection that it closed itself

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook"

    def numbers(self) -> list[int]:
        """Of every event that came, the number, each once, in the order of its first delivery."""
        with self._lock:
            return list(dict.fromkeys(json.loads(body)["seq"] for _, body in self.seen))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
