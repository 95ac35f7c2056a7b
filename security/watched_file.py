"""A file of the operator's that is read anew when it changes: looked at once a second, and never half taken.

What cannot be read, or is wrong, ends the start. Later the value that was good goes on, and the log says so once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from lookalike.errors import BadSettings, LookalikeError

T = TypeVar("T")

LOOK_EVERY_S: Final = 1.0
MAX_BYTES: Final = 16_000_000

log = logging.getLogger(__name__)


class WatchedFile(Generic[T]):
    """The file's present value. Thread-safe."""

    def __init__(
        self, path: Path, setting: str, read: Callable[[bytes], T], timer: Callable[[], float] = time.monotonic
    ) -> None:
        """read: makes the value of the bytes. Raises: BadSettings, naming the setting."""
        self._path = path
        self._setting = setting
        self._read = read
        self._timer = timer
        self._lock = threading.Lock()
        self._seen = self._mark()
        self._value = self._take()
        self._looked_at = timer()
        self.trouble: str | None = None

    def current(self) -> T:
        """As the file is now, or was when it was last good."""
        if self._timer() - self._looked_at >= LOOK_EVERY_S and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looked_at = self._timer()
                self._lock.release()
        return self._value

    def _look(self) -> None:
        mark = self._mark()
        if mark == self._seen:
            return
        self._seen = mark
        try:
            self._value = self._take()
        except LookalikeError as error:
            self.trouble = str(error)
            log.error("%s; what it held before goes on", error)
            return
        self.trouble = None
        log.warning("%s was read anew", self._setting)

    def _take(self) -> T:
        try:
            with self._path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise BadSettings(f"{self._setting}: {self._path} cannot be read: {error.strerror}") from error
        if len(text) > MAX_BYTES:
            raise BadSettings(f"{self._setting}: {self._path} has more than {MAX_BYTES} bytes")
        try:
            return self._read(text)
        except LookalikeError as error:
            raise BadSettings(f"{self._setting}: {self._path}: {error}") from error

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            facts = self._path.stat()
        except OSError:
            return None
        return facts.st_ino, facts.st_mtime_ns, facts.st_size
