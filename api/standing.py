"""What the service stands on, as figures for Prometheus: readiness, the disk, the certificates.

They are looked up when they are asked for. One that cannot be had is left out, so that an alert on its absence or its
last value can fire, and the other figures are still told.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lookalike.errors import LookalikeError
from security.certificates import validity

if TYPE_CHECKING:
    from lookalike.settings import Settings


class Standing(Collector):
    """A collector for the registry of api/metrics.py. ready: set by whoever asked the service, who may wait for it.

    served: when the certificate that clients are shown ends, which may be another than the one that lies there.
    """

    def __init__(self, settings: Settings) -> None:
        self._data = settings.data
        self._files: dict[str, Path] = {}
        if settings.tls == "on":
            self._files["certificate"] = settings.tls_certificate or settings.data / "tls" / "server.crt"
        if settings.tls == "on" and settings.tls_certificate is None:
            self._files["authority"] = settings.data / "tls" / "ca.crt"
        self.ready = False
        self.served: Callable[[], datetime] | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures as they are now."""
        yield _gauge("lookalike_ready", "Whether it can do its work, as /readyz says", float(self.ready))
        yield from self._disk()
        yield from self._certificates()

    def _disk(self) -> Iterator[GaugeMetricFamily]:
        try:
            usage = shutil.disk_usage(self._data)
        except OSError:
            return
        yield _gauge("lookalike_disk_free_bytes", "Room on the data folder's disk", usage.free)
        yield _gauge("lookalike_disk_bytes", "Size of the data folder's disk", usage.total)

    def _certificates(self) -> Iterator[GaugeMetricFamily]:
        for which, file in self._files.items():
            begin = end = None
            with contextlib.suppress(OSError, LookalikeError):  # of no certificate; the one before may be served still
                begin, end = validity(file.read_bytes())
            if which == "certificate" and self.served is not None:
                end = self.served()
            for word, verb, at in (("before", "begins", begin), ("after", "ends", end)):
                if at is not None:
                    meaning = f"When the {which} {verb}, in Unix time"
                    yield _gauge(f"lookalike_{which}_not_{word}_seconds", meaning, at.timestamp())


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)
