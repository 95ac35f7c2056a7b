"""What a live service does for its keys by itself: follows rotations, rotates after erasures, ends handovers."""

from __future__ import annotations

import time
from collections.abc import Callable

from api.job_kinds import SERVICE
from api.jobs import JobRunner
from security.rotation import KeyRotation

AGAIN_S = 3600.0
"""How long it waits before it tries a rotation again that did not end well."""


class KeyCare:
    """Called now and then. after_s: how long after an erasure the collection is rotated. Thread-safe."""

    def __init__(
        self, rotation: KeyRotation, jobs: JobRunner, after_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._rotation = rotation
        self._jobs = jobs
        self._after_s = after_s
        self._clock = clock
        self._asked: dict[str, float] = {}

    def __call__(self) -> None:
        self._rotation.follow()
        now = self._clock()
        for name, id in self._rotation.due(self._after_s):
            if now - self._asked.get(id, 0.0) >= AGAIN_S and self._jobs.unended("rotate", id) is None:
                self._asked[id] = now
                self._jobs.submit("rotate", SERVICE, (name, id), {"due": True})
