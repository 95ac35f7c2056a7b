"""Has collections that grew learn their thresholds from their own pairs, as jobs, without being asked.

The shipped calibration speaks for a mixed public; a collection of some hundred people can speak for itself, and keeps
the rate of false alarms that was asked for more closely (docs/thresholds.md).
"""

from __future__ import annotations

from functools import partial

from api.jobs import JobRunner
from lookalike.answers import Caller
from lookalike.domain import Permission, Principal
from lookalike.gallery import Gallery

SERVICE = Principal("service", (), {None: frozenset({Permission.MANAGE_COLLECTIONS})})
"""Who is on record for what the service does by itself."""


class Calibrator:
    """Called now and then; submits one job for each collection that is due. at_least: subjects, 0 for never."""

    def __init__(self, gallery: Gallery, jobs: JobRunner, at_least: int) -> None:
        self._gallery = gallery
        self._jobs = jobs
        self._at_least = at_least
        self._asked: set[str] = set()

    def __call__(self) -> None:
        if not self._at_least:
            return
        due = set(self._gallery.overdue(self._at_least))
        self._asked &= due  # what is due no more was done, and may become due again
        for name in sorted(due - self._asked):
            self._asked.add(name)
            self._jobs.submit("calibrate", name, partial(self._calibrate, name))

    def _calibrate(self, name: str) -> dict[str, object]:
        done = self._gallery.calibrate(Caller(SERVICE, "-"), name)
        return {"subjects": done.subjects, "pairs": done.pairs, "dropped_pairs": done.dropped_pairs}
