"""Traces of requests for an operator's OpenTelemetry collector: a span for each request and for each stage of it.

Used only where LOOKALIKE_TRACES_URL is set, and it alone imports OpenTelemetry (the extra `traces`). A span has the
method, the route's template, the status and counts; no name, id of a subject or of a principal, and nothing of a body.
Spans that end wait in a queue of fixed length for a thread that sends them: a collector that hangs, refuses or is gone
costs spans, never a request. They go to that one address: no proxy, no redirect, nothing from the environment.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from api.logs import LOGGER
from api.traceparent import TraceParent
from lookalike.errors import BadSettings
from lookalike.settings import Settings, is_loopback
from lookalike.stages import Stage, Watch

MOST_WAITING: Final = 4096
AT_ONCE: Final = 256
EVERY_S: Final = 1.0
SEND_S: Final = 5.0
"""How long a collector may take for a batch before it is lost."""

STOP_S: Final = 2.0

log = logging.getLogger(f"{LOGGER}.traces")

_trace_id: ContextVar[str] = ContextVar("lookalike_trace_id")


class Traces(Collector):
    """Thread-safe. Also a collector for the registry of api/metrics.py: what became of spans."""

    def __init__(self, exporter: SpanExporter, ratio: float = 1.0, most_waiting: int = MOST_WAITING) -> None:
        """ratio: the share of requests that are traced, by their trace's id, so that all services agree on which."""
        self._share = round(ratio * 2**64)
        self._queue = SpanQueue(exporter, most_waiting)
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource({"service.name": LOGGER, "service.version": version("lookalike")}),
            shutdown_on_exit=False,
            id_generator=_GivenIds(),
            span_limits=SpanLimits(max_span_attributes=16, max_events=0, max_links=0),
        )
        provider.add_span_processor(self._queue)
        self._tracer = provider.get_tracer(LOGGER, version("lookalike"))

    def begin(self, trace_id: str, parent: TraceParent | None, figures: Watch) -> Traced | None:
        """A span for a request that begins now; None where it is not one of those that are traced.

        A caller's decision not to trace is kept to; one that wants every request traced gets its share of them.
        """
        if (parent is not None and not parent.sampled) or int(trace_id[16:], 16) >= self._share:
            return None
        context = Context()
        if parent is not None:
            remote = SpanContext(
                int(trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
            )
            context = set_span_in_context(NonRecordingSpan(remote), context)
        token = _trace_id.set(trace_id)
        try:
            span = self._tracer.start_span("request", context, SpanKind.SERVER)
        finally:
            _trace_id.reset(token)
        return Traced(self, span, figures)

    def stage(self, request: Span, name: Stage, began_ns: int, ended_ns: int, failed: bool) -> None:
        """A span of a stage that is over, under its request's."""
        span = self._tracer.start_span(name.value, set_span_in_context(request, Context()), start_time=began_ns)
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(ended_ns)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Spans that were sent, and that were lost since they waited in vain or were refused."""
        found = CounterMetricFamily(
            "lookalike_trace_spans", "Spans of traces, by what became of them", labels=["outcome"]
        )
        found.add_metric(["sent"], self._queue.sent)
        found.add_metric(["lost"], self._queue.lost)
        yield found

    def close(self) -> None:
        """Send what waits, for two seconds at most."""
        self._queue.shutdown()


class Traced:
    """One request's span; tells the figures of each stage too, as the port Watch asks."""

    def __init__(self, traces: Traces, span: Span, figures: Watch) -> None:
        self._traces = traces
        self._span = span
        self._figures = figures
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()

    def ended(self, stage: Stage, began_s: float, seconds: float, failed: bool) -> None:
        self._figures.ended(stage, began_s, seconds, failed)
        began_ns = self._epoch_ns + round(began_s * 1e9)
        self._traces.stage(self._span, stage, began_ns, began_ns + round(seconds * 1e9), failed)

    def batched(self, rows: int) -> None:
        self._figures.batched(rows)
        self._span.set_attribute("lookalike.batch.rows", rows)

    def answered(self, matched: int, unmatched: int) -> None:
        self._figures.answered(matched, unmatched)
        self._span.set_attributes({"lookalike.faces.matched": matched, "lookalike.faces.unmatched": unmatched})

    def end(self, method: str, route: str, status: int, request_id: str) -> None:
        """The answer is out. route: the template."""
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "lookalike.request_id": request_id,
            }
        )
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class SpanQueue(SpanProcessor):
    """Spans on their way out: what does not find room is lost, and counted. Its thread is the only one that waits."""

    def __init__(self, exporter: SpanExporter, most_waiting: int) -> None:
        self.sent = 0
        self.lost = 0
        self._exporter = exporter
        self._most = most_waiting
        self._waiting: deque[ReadableSpan] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span, in microseconds whatever the collector does."""
        with self._lock:
            if len(self._waiting) >= self._most:
                self.lost += 1
                return
            self._waiting.append(span)
            full = len(self._waiting) >= AT_ONCE
        if full:
            self._wake.set()

    def shutdown(self) -> None:
        """Send what waits; a collector that hangs is left alone after two seconds."""
        self._stop.set()
        self._wake.set()
        self._thread.join(STOP_S)
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nobody waits for spans to be sent."""
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(EVERY_S)
            self._wake.clear()
            while batch := self._take():
                self._send(batch)

    def _take(self) -> list[ReadableSpan]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]

    def _send(self, batch: list[ReadableSpan]) -> None:
        try:
            taken = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception:  # whatever an exporter meets, this thread must outlive it
            taken = False
        with self._lock:
            self.sent += len(batch) if taken else 0
            self.lost += 0 if taken else len(batch)
        if taken == self._failing:
            log.warning("traces are sent again" if taken else "traces cannot be sent to the collector, and are lost")
        self._failing = not taken


class _GivenIds(RandomIdGenerator):
    """A trace without a parent has the id of its request."""

    def generate_trace_id(self) -> int:
        return int(_trace_id.get(), 16)


def open_traces(settings: Settings) -> Traces | None:
    """Traces to the collector that the settings name, None where they name none. Raises: BadSettings."""
    if settings.traces_url is None:
        return None
    url = urlsplit(settings.traces_url)
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
        raise BadSettings("LOOKALIKE_TRACES_URL: https:// is allowed, and http:// on a loopback address")
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc
    session.hooks["response"].append(_refuse_redirect)
    exporter = OTLPSpanExporter(
        endpoint=settings.traces_url,
        certificate_file=None if settings.traces_ca is None else str(settings.traces_ca),
        headers=_headers(settings.traces_header_file),
        timeout=SEND_S,
        compression=Compression.Gzip,
        session=session,
    )
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # SpanQueue tells once what it would tell each second
    return Traces(exporter, settings.traces_ratio)


def _refuse_redirect(answer: requests.Response, **_: object) -> None:
    """The exporter follows none, and takes one for an answer that spans were taken. Raises: TooManyRedirects."""
    if 300 <= answer.status_code < 400:
        answer.close()
        raise requests.TooManyRedirects(response=answer)


def _headers(file: Path | None) -> dict[str, str]:
    """The one header of a file, `name: value`, by which the collector knows the service. Raises: BadSettings."""
    if file is None:
        return {}
    try:
        name, colon, value = file.read_text("ascii").strip().partition(":")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"LOOKALIKE_TRACES_HEADER_FILE cannot be read: {type(error).__name__}") from error
    if not (name.strip() and colon and value.strip()) or "\n" in value:
        raise BadSettings("LOOKALIKE_TRACES_HEADER_FILE: one line `name: value` is allowed")
    return {name.strip(): value.strip()}
