"""What Prometheus may know: counts and times by route template and by stage, the queue's depth; never a name.

Each figure is this process's own or the store's, which every replica tells alike; docs/watching.md lists them all.
What the service stands on (disk, certificate, readiness) is in api/standing.py, what it has to do and how old its keys
are in api/figures.py; memory, processor time and open files are prometheus_client's own figures of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from api.standing import Standing
from lookalike.errors import LookalikeError
from lookalike.stages import Stage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_BUCKETS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.5, 5.0, 10.0, 30.0)
_STAGE_BUCKETS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_ROWS_BUCKETS = (1, 2, 3, 4, 6, 8)


class AuditState(Protocol):
    """What is asked of whoever looks after the audit log."""

    @property
    def trouble(self) -> str | None: ...
    def waiting(self) -> int: ...
    def failing(self) -> int: ...


class DecoderState(Protocol):
    """What is asked of the processes that decode. replaced: how many were, by reason."""

    @property
    def alive(self) -> int: ...
    @property
    def replaced(self) -> Mapping[str, int]: ...


class Metrics:
    """The figures of one app, in a registry of its own. Watches requests, as lookalike/stages.py asks for it."""

    def __init__(
        self,
        queue_depth: Callable[[], int],
        running: Callable[[], int],
        drifting: Callable[[], int],
        standing: Standing,
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lookalike_requests",
            "Answered requests",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "lookalike_request_seconds",
            "Time from a request's headers to the end of its answer",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        depth = Gauge("lookalike_queue_depth", "Requests that wait for a worker", registry=self._registry)
        depth.set_function(queue_depth)
        busy = Gauge("lookalike_workers_busy", "Workers at work", registry=self._registry)
        busy.set_function(running)
        # Without a label: ids of collections, even random ones, are not for every key that may read figures.
        drift = Gauge("lookalike_collections_drifting", "Collections whose probes drift", registry=self._registry)
        drift.set_function(drifting)
        build = Gauge("lookalike_build_info", "1, with the version that runs", ("version",), registry=self._registry)
        build.labels(version("lookalike")).set(1)
        self._add_stages()
        self._standing = standing
        self._registry.register(standing)
        ProcessCollector(registry=self._registry)

    def _add_stages(self) -> None:
        """Each stage from the start, so that a rate of none is 0."""
        seconds = Histogram(
            "lookalike_stage_seconds",
            "Time that a stage of a request took",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=self._registry,
        )
        failures = Counter(
            "lookalike_stage_failures", "Stages that ended by an error", ("stage",), registry=self._registry
        )
        faces = Counter(
            "lookalike_faces",
            "Faces and pictures searched, by whether somebody was found",
            ("answer",),
            registry=self._registry,
        )
        self._stage_seconds = {stage: seconds.labels(stage.value) for stage in Stage}
        self._stage_failures = {stage: failures.labels(stage.value) for stage in Stage}
        self._matched, self._unmatched = faces.labels("matched"), faces.labels("unmatched")
        self._rows = Histogram(
            "lookalike_batch_rows",
            "Rows that went through a network together",
            buckets=_ROWS_BUCKETS,
            registry=self._registry,
        )

    def add(self, collector: Collector) -> None:
        """Tell of these figures too."""
        self._registry.register(collector)

    def watch_audit(self, audit: AuditState, refused: Callable[[], int]) -> None:
        """Tell of the audit log too. refused: credentials that were refused since the start."""

        def gauge(name: str, meaning: str, value: Callable[[], float]) -> None:
            Gauge(f"lookalike_{name}", meaning, registry=self._registry).set_function(value)

        gauge("audit_broken", "1 where the audit log is not what was signed before", lambda: audit.trouble is not None)
        gauge("audit_checkpoints_waiting", "Checkpoints that a receiver has not got", lambda: _asked(audit.waiting))
        gauge("audit_receivers_failing", "Receivers that did not take the last checkpoint", audit.failing)
        gauge("credentials_refused", "Credentials that were refused since the start", refused)

    def watch_certificate(self, ends: Callable[[], datetime], refused: Callable[[], bool]) -> None:
        """Tell of the certificate that is served. refused: whether another one lies there that cannot be."""
        self._standing.served = ends
        meaning = "1 while what lies in the certificate's place cannot be served, and the one before is"
        Gauge("lookalike_certificate_refused", meaning, registry=self._registry).set_function(refused)

    def watch_decoders(self, decoders: DecoderState) -> None:
        """Tell of the processes that decode pictures too."""
        alive = Gauge("lookalike_decoders", "Processes that decode pictures", registry=self._registry)
        alive.set_function(lambda: decoders.alive)
        self._registry.register(_Replaced(decoders))

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request. method: as `known_method`; route: the template, never the path."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    # -------------------------------------------------------------------------------------- the port Watch

    def ended(self, stage: Stage, began_s: float, seconds: float, failed: bool) -> None:
        self._stage_seconds[stage].observe(seconds)
        if failed:
            self._stage_failures[stage].inc()

    def batched(self, rows: int) -> None:
        self._rows.observe(rows)

    def answered(self, matched: int, unmatched: int) -> None:
        self._matched.inc(matched)
        self._unmatched.inc(unmatched)

    # --------------------------------------------------------------------------------------------- telling

    def exposition(self, *, ready: bool) -> bytes:
        """The text that Prometheus reads. It asks the store, so it is for a thread that may wait."""
        self._standing.ready = ready
        return generate_latest(self._registry)


class _Replaced(Collector):
    """How many decoders were replaced, by reason."""

    def __init__(self, decoders: DecoderState) -> None:
        self._decoders = decoders

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The figures as they are now."""
        found = CounterMetricFamily(
            "lookalike_decoders_replaced", "Decoders that were given up and made anew", labels=("reason",)
        )
        for reason, count in self._decoders.replaced.items():
            found.add_metric((reason,), count)
        yield found


def _asked(count: Callable[[], int]) -> float:
    """The count, or NaN where the store that knows it cannot be asked."""
    try:
        return count()
    except LookalikeError:
        return float("nan")


def known_method(method: str) -> str:
    """The method, or "other" for one that a client made up."""
    return method if method in _METHODS else "other"
