"""A thread that keeps the live galleries up with what other processes write, and what is derived from them up too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from api.logs import log_failure
from lookalike.errors import IndexUnavailable, LookalikeError, StorageFull
from lookalike.rosters import SNAPSHOT_FROM, Rosters

FOLLOW_EVERY_S = 0.25
SNAPSHOT_EVERY_S = 30.0
CHECK_EVERY_S = 1.0
TEND_EVERY_S = 2.0


class Follower:
    """Follows the change sequence until stopped; a failure shows in readiness and is tried again.

    tend: looks every two seconds whether a gallery that grew wants something done. require_room: raises StorageFull.
    """

    def __init__(
        self, rosters: Rosters, tend: Callable[[], None], require_room: Callable[[], None] = lambda: None
    ) -> None:
        self._rosters = rosters
        self._require_room = require_room
        self._tend = tend
        self._stop = threading.Event()
        self._checked_at = 0.0
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following, and leave snapshots for the next start."""
        self._stop.set()
        self._thread.join()
        self._save(at_least=1)

    def _run(self) -> None:
        saved_at = tended_at = time.monotonic()
        while not self._stop.wait(FOLLOW_EVERY_S):
            try:
                self._follow()
                self._rosters.trouble = None
            except (IndexUnavailable, StorageFull) as error:
                self._rosters.trouble = f"{error.code}: {error}"
            except LookalikeError as error:
                self._rosters.trouble = f"changes cannot be followed: {error.code}"
            except Exception as error:  # the thread must outlive whatever it meets
                self._rosters.trouble = "changes cannot be followed"
                log_failure("follower", error, "-")
            if time.monotonic() - tended_at >= TEND_EVERY_S:
                self._tend_to_galleries()
                tended_at = time.monotonic()
            if time.monotonic() - saved_at >= SNAPSHOT_EVERY_S:
                self._save(at_least=SNAPSHOT_FROM)
                saved_at = time.monotonic()

    def _follow(self) -> None:
        """Catch up at once, even while the index is in trouble; ask now and then whether it is."""
        self._rosters.catch_up()
        if time.monotonic() - self._checked_at >= CHECK_EVERY_S or self._rosters.trouble is not None:
            self._rosters.check()
            self._checked_at = time.monotonic()
        self._require_room()

    def _tend_to_galleries(self) -> None:
        try:
            self._tend()
        except IndexUnavailable:  # readiness says so
            pass
        except Exception as error:  # it is tried again, and the thread must outlive it
            log_failure("tend", error, "-")

    def _save(self, *, at_least: int) -> None:
        try:
            self._rosters.save_snapshots(at_least=at_least)
        except Exception as error:  # a snapshot is derived: without one the next start takes longer
            log_failure("snapshot", error, "-")
