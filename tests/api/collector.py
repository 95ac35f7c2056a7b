"""A small OpenTelemetry collector over HTTP: keeps the spans that it is sent, or hangs, refuses, or sends elsewhere."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it was sent: ids in hex, times in nanoseconds since 1970."""

    name: str
    trace: str
    id: str
    parent: str
    began_ns: int
    ended_ns: int
    status: int
    attributes: dict[str, object]


@dataclass
class Collector:
    """answer: the status of each answer; release: what a hanging one waits for."""

    url: str = ""
    answer: int = 200
    location: str = ""
    hangs: bool = False
    asked: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    spans: list[Span] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    resources: list[dict[str, object]] = field(default_factory=list)
    bytes: bytes = b""

    def take(self, headers: dict[str, str], body: bytes) -> None:
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.bytes += body
        self.headers.append(headers)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(_plain(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += [
                    Span(
                        s.name,
                        s.trace_id.hex(),
                        s.span_id.hex(),
                        s.parent_span_id.hex(),
                        s.start_time_unix_nano,
                        s.end_time_unix_nano,
                        s.status.code,
                        _plain(s.attributes),
                    )
                    for s in scope.spans
                ]


def _plain(attributes) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}


@contextmanager
def collecting(**how: object) -> Iterator[Collector]:
    """A collector that runs; what hangs in it ends with it."""
    collector = Collector(**how)  # type: ignore[arg-type]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.asked.set()
            if collector.hangs:
                collector.release.wait()
                return
            body = self.rfile.read(int(self.headers["content-length"]))
            if collector.answer == 200:
                collector.take({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(collector.answer)
            if collector.location:
                self.send_header("location", collector.location)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        collector.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
