"""A thread of a live service that keeps the counts of probes and looks once a minute whether a collection drifts.

When one begins to, a line in the log says so, without its name and without a figure; `lookalike drift` tells the rest.
"""

from __future__ import annotations

import logging
import threading

from api.logs import LOGGER, log_failure
from lookalike.drift_watch import DriftWatch
from lookalike.probe_log import ProbeLog

LOOK_EVERY_S = 60.0

log = logging.getLogger(f"{LOGGER}.drift")


class DriftLook:
    """Without `start` it only keeps what was counted when it closes."""

    def __init__(self, drift: DriftWatch, probes: ProbeLog, every_s: float = LOOK_EVERY_S) -> None:
        self._drift = drift
        self._probes = probes
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        self._drifting: set[str] = set()

    @property
    def drifting(self) -> int:
        """Collections that drifted when this process last looked."""
        return len(self._drifting)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """Keep what was counted, and judge every collection."""
        self._probes.flush()
        now = self._drift.look()
        for _ in now - self._drifting:
            log.warning("a collection's probes have begun to drift: `lookalike drift` tells what moved")
        self._drifting = now

    def close(self) -> None:
        """Stop looking, and keep what was counted."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self._probes.flush()
        except Exception as error:  # these counts are lost, and closing must go on
            log_failure("counts of probes", error, "-")

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self.look()
            except Exception as error:  # it is tried again, and the thread must outlive it
                log_failure("drift", error, "-")
