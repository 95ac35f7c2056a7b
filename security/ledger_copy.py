"""The ledger's copy outside the data folder: an erasure is acknowledged once it is there, and older data is found out.

The folder that LOOKALIKE_LEDGER names holds two files that only grow: `erasures.ledger`, the lines of ledger.py, and
`audit.checkpoints`, a signed checkpoint of the audit log and of the ledger's head after each erasure. Lines are kept
among the records in the erasure's own transaction and copied from there under a lock, so that a copy that was behind
(full disk, lost mount) is made whole by the next one, and several processes may share it. A copy that knows more than
the records, or others, means that the data folder is an older one put back: then nothing is served.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lookalike.domain import Ledgered
from lookalike.errors import BadSettings, LedgerMismatch, LookalikeError, StorageUnavailable, TamperedData
from lookalike.ports import Rows, RowWriter
from security.audit import SealedAuditLog
from security.keys import KeyRing
from security.ledger import Head, enter, head_of, least_versions, line_at, read_ledger

ERASURES = "erasures.ledger"
CHECKPOINTS = "audit.checkpoints"
_TAIL_BYTES = 1 << 16
"""More than a line ever has."""

_BATCH = 1000

log = logging.getLogger(__name__)


class Ledger:
    """Enters erasures, and keeps the copy in `folder` up with them; None for no copy. Thread-safe."""

    def __init__(self, rows: Rows, keyring: KeyRing, audit: SealedAuditLog, folder: Path | None = None) -> None:
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._folder = folder
        self._copied: Head | None = None
        self._owed = False
        self._told = False
        self._lock = threading.Lock()

    def enter(self, rows: RowWriter, kind: str, facts: Mapping[str, str | int], at: float) -> None:
        """Put what this transaction erased into the ledger, after its audit entry."""
        enter(rows, self._keyring, kind, facts, at)

    def publish(self) -> Ledgered:
        """Bring the copy up to what is committed, durably, with a checkpoint. PENDING is tried again by `catch_up`."""
        if self._folder is None:
            return Ledgered.NONE
        with self._lock:
            try:
                copied = self._copy(self._folder / ERASURES)
                if self._owed:
                    self._audit.sign_end(self._folder / CHECKPOINTS)
                    self._owed = False
            except (OSError, LookalikeError) as error:
                reason = error.strerror if isinstance(error, OSError) else str(error)
                if not self._told:
                    log.warning("erasures wait to be copied to the ledger: %s", reason)
                self._told = True
                return Ledgered.PENDING
            self._copied, self._told = copied, False
        return Ledgered.WRITTEN

    def checkpoint(self) -> Ledgered:
        """Publish, and append a checkpoint of the audit log's end too."""
        with self._lock:
            self._owed = True
        return self.publish()

    def catch_up(self) -> None:
        """Publish what was left behind, by any process of this data folder."""
        if self._folder is not None and head_of(self._rows.read(), self._keyring.deployment) != self._copied:
            self.publish()

    def require_current(self) -> None:
        """Refuse a data folder that is older than its ledger, then bring the copy up to it; and from now on any
        collection's key of a version that the ledger says was destroyed.

        Raises: BadSettings where the folder is not there; LedgerMismatch.
        """
        if self._folder is None:
            return
        if not self._folder.is_dir():
            raise BadSettings(f"LOOKALIKE_LEDGER: {self._folder} is no folder: make it, or mount what it lies on")
        try:
            if (self._folder / ERASURES).exists():
                with _locked(self._folder / ERASURES, os.O_RDONLY, fcntl.LOCK_SH) as file:
                    self._known(_last_line(file)[0])
        except OSError as error:
            raise BadSettings(f"LOOKALIKE_LEDGER: {self._folder} cannot be read: {error.strerror}") from error
        self.publish()
        for collection, version in self._least_versions().items():
            self._keyring.refuse_below(collection, version)

    def _least_versions(self) -> dict[str, int]:
        if self._folder is None or not (self._folder / ERASURES).exists():
            return {}
        return least_versions(lines_in(self._folder), self._keyring.deployment, self._keyring.public_key)

    def verify(self) -> int | None:
        """Check every line of the copy: signature, chain, and that the records hold the same. Returns how many.

        None where no folder is named. Raises: TamperedData, LedgerMismatch, StorageUnavailable.
        """
        if self._folder is None:
            return None
        reader, count = self._rows.read(), 0
        for line in read_ledger(lines_in(self._folder), self._keyring.deployment, self._keyring.public_key):
            if line_at(reader, line.number) != line.text:
                raise TamperedData(f"line {line.number} of the ledger differs from the records")
            count = line.number
        return count

    def _copy(self, path: Path) -> Head:
        """Append what is missing. Returns the copy's head. Raises: OSError, LedgerMismatch, TamperedData."""
        fresh = not path.exists()
        with _locked(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, fcntl.LOCK_EX) as file:
            last, whole = _last_line(file)
            number = self._known(last)
            if whole != os.fstat(file).st_size:
                os.ftruncate(file, whole)  # a line that a kill or a full disk cut
            head = head_of(self._rows.read(), self._keyring.deployment)
            for start in range(number + 1, head.number + 1, _BATCH):
                self._owed = True
                _append(file, self._lines(start, min(start + _BATCH, head.number + 1)))
        if fresh:
            _sync_folder(path.parent)
        return head

    def _lines(self, start: int, end: int) -> bytes:
        reader = self._rows.read()
        lines = [line_at(reader, number) for number in range(start, end)]
        if None in lines:
            raise TamperedData("a line of the ledger is gone from the records")
        return b"".join(line + b"\n" for line in lines if line is not None)

    def _known(self, last: bytes) -> int:
        """The number of the copy's last line, which must be one of the records' own. Raises: LedgerMismatch."""
        if not last:
            return 0
        try:
            number = int(json.loads(last)["number"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LedgerMismatch(
                f"the last line of {ERASURES} is not a ledger's: put the ledger's copy back"
            ) from error
        reader = self._rows.read()
        ours = line_at(reader, number)
        if ours == last:
            return number
        if ours is None:
            behind = number - head_of(reader, self._keyring.deployment).number
            raise LedgerMismatch(
                f"the data folder is older than its ledger: {behind} lines are unknown to it, and serving would bring "
                "back who was erased. Restore a backup with this ledger, or put the newest data folder back"
            )
        raise LedgerMismatch(
            f"the ledger is of another history than the data folder: they differ at line {number}. Restore a backup "
            "with this ledger, or name an empty folder"
        )


def lines_in(folder: Path) -> Iterator[bytes]:
    """The lines of a ledger's copy. Raises: StorageUnavailable, LedgerMismatch where there is none."""
    try:
        with (folder / ERASURES).open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):  # one that was cut was never acknowledged
                    yield line[:-1]
    except FileNotFoundError:
        raise LedgerMismatch(f"there is no {ERASURES} in {folder}") from None
    except OSError as error:
        raise StorageUnavailable(f"the ledger cannot be read: {error.strerror}") from error


@contextmanager
def _locked(path: Path, flags: int, lock: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, lock)
        yield descriptor
    finally:
        os.close(descriptor)


def _last_line(file: int) -> tuple[bytes, int]:
    """The last whole line, and how many bytes the file has up to its end."""
    size = os.fstat(file).st_size
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(file, size - start, start)
    end = tail.rfind(b"\n")
    if end < 0 and start:
        raise LedgerMismatch(f"{ERASURES} is no ledger: put the ledger's copy back")
    if end < 0:
        return b"", 0
    return tail[tail.rfind(b"\n", 0, end) + 1 : end], start + end + 1


def _append(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.fsync(file)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
