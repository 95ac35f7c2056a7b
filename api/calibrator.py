"""Has collections that grew learn their thresholds from their own pairs, as jobs, without being asked.

The shipped calibration speaks for a mixed public; a collection of some hundred people can speak for itself, and keeps
the rate of false alarms that was asked for more closely (docs/thresholds.md).
"""

from __future__ import annotations

from api.job_kinds import SERVICE
from api.jobs import JobRunner
from lookalike.gallery import Gallery


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
        due = {c.name: c.id for c in self._gallery.overdue(self._at_least)}
        self._asked &= due.keys()  # what is due no more was done, and may become due again
        for name in sorted(due.keys() - self._asked):
            self._asked.add(name)
            self._jobs.submit("calibrate", SERVICE, (name, due[name]))
