"""Remembers which pictures are enrolled, so that an interrupted run goes on quickly where it stopped.

The service is the truth and this file only saves time: without it, a run sends everything again under the same
idempotency keys and nothing is doubled. It holds hashes over picture, subject and collection, and random sample ids;
neither a name nor a picture can be read from it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from pathlib import Path
from typing import Final

LINE: Final = re.compile(r"([0-9a-f]{64}) ([0-9A-Za-z_-]{1,64})")


class Journal:
    """A file that is only appended to, of one collection. Thread-safe."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._samples: dict[str, str] = {}
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with path.open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                # A line that a kill cut short is not one; its picture is sent again, under the same key.
                if found := LINE.fullmatch(line.rstrip("\n")):
                    self._samples[found[1]] = found[2]

    def sample_of(self, mark: str) -> str | None:
        """The sample that the picture of this mark became."""
        return self._samples.get(mark)

    def add(self, mark: str, sample: str) -> None:
        """Remember, in one write, so that a kill leaves a whole line or none."""
        with self._lock:
            self._samples[mark] = sample
            with contextlib.suppress(OSError):  # a full disk here costs time on the next run, nothing else
                os.write(self._file, f"\n{mark} {sample}".encode("ascii"))

    def close(self) -> None:
        """Close its file."""
        os.close(self._file)


def mark_of(collection: str, subject: str, picture: bytes) -> str:
    """What tells an enrolment from every other: SHA-256, in hex, over collection, subject and picture."""
    digest = hashlib.sha256(b"lookalike enrolment 1")
    for part in (collection.encode(), subject.encode(), picture):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def key_of(mark: str, attempt: int) -> str:
    """The idempotency key of an enrolment. attempt: how often what it made was taken away again, mostly 0."""
    return hashlib.sha256(f"{mark} {attempt}".encode()).hexdigest()


def journal_path(collection: str) -> Path:
    """Where the journal of a collection lies: in the user's state folder, under a hash."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "lookalike" / "enrol" / hashlib.sha256(collection.encode()).hexdigest()[:32]
