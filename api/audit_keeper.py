"""Threads of a live service that sign the audit log's end in time, and send signed checkpoints off the machine.

One thread signs what no thousandth entry has covered. Each receiver has a thread of its own, so that one which hangs
keeps nobody else waiting, and no operation ever waits for any. What cannot be sent stays among the records and is tried
again at growing intervals; `state` says what waits and why. Before it sends, it looks whether the log still begins with
what the receiver got last, where the receiver can tell.
"""

from __future__ import annotations

import http.client
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from api.audit_receivers import Receiver
from api.logs import log_failure
from lookalike.errors import LookalikeError, TamperedData
from security.audit import CHECKPOINT_EVERY, CHECKPOINT_EVERY_S, SealedAuditLog
from security.checkpoint_outbox import Outbox

LOOK_EVERY_S = 5.0
MOST_PATIENCE_S = 60.0
STOP_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """waiting: checkpoints that it has not got; since: time of the oldest one's entry; error: why, if it took none."""

    name: str
    waiting: int
    since: float | None
    error: str | None


class AuditKeeper:
    """Thread-safe. every_s: entries are covered by a checkpoint within this time."""

    def __init__(
        self,
        audit: SealedAuditLog,
        outbox: Outbox,
        receivers: Sequence[tuple[str, Receiver]] = (),
        every_s: float = CHECKPOINT_EVERY_S,
    ) -> None:
        """receivers: each with its URL."""
        self._audit = audit
        self._outbox = outbox
        self._every_s = every_s
        self._look_every_s = min(LOOK_EVERY_S, every_s / 4)
        self._senders = [Sender(url, receiver, audit, outbox) for url, receiver in receivers]
        self._trouble: str | None = None
        self._seen: tuple[int, float] | None = None
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def trouble(self) -> str | None:
        """What is wrong with the log, None if nothing was found: it is not what was signed, or sent, before."""
        return next((found for found in (self._trouble, *(s.trouble for s in self._senders)) if found), None)

    def start(self) -> None:
        """Begin; `stop` ends it."""
        self._threads = [threading.Thread(target=self._run, name="audit-signing", daemon=True)]
        for sender in self._senders:
            self._threads.append(
                threading.Thread(target=sender.run, args=(self._stop,), name="audit-push", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Sign the end, and leave what was not sent for the next start."""
        self._stop.set()
        for sender in self._senders:
            sender.wake.set()
        for thread in self._threads:
            thread.join(STOP_S)  # one that waits for a receiver that hangs is left to die with the process
        if self._threads:
            self._carefully(self._sign_rest)

    def state(self) -> list[ReceiverState]:
        """What every receiver has not got yet. Raises: StorageUnavailable."""
        return [sender.state() for sender in self._senders]

    def failing(self) -> int:
        """How many receivers did not take what was sent last."""
        return sum(sender.error is not None for sender in self._senders)

    def waiting(self) -> int:
        """Checkpoints that the receiver which is furthest behind has not got. Raises: StorageUnavailable."""
        return max((state.waiting for state in self.state()), default=0)

    def tend(self) -> None:
        """Sign the log's end if it is time, by a clock that never goes back, as the time of entries may.

        Raises: TamperedData where the log is not the one that was signed before.
        """
        count, newest = self._audit.uncovered(), self._audit.newest()
        covered = newest.seq if newest is not None else 0
        if self._seen is None or self._seen[0] != covered or count == 0:
            self._seen = covered, time.monotonic()
        late = time.monotonic() - self._seen[1] >= self._every_s - 2 * self._look_every_s
        if count >= CHECKPOINT_EVERY or (count and late):
            self._sign()
        self._trouble = None

    def register(self) -> None:
        """Keep, from now on, what these receivers have not got."""
        newest = self._audit.newest()
        line, seq = (newest.line, newest.seq) if newest is not None else (None, 0)
        self._outbox.register([sender.url for sender in self._senders], line, seq)

    def _run(self) -> None:
        self._carefully(self.register)
        while not self._stop.wait(self._look_every_s):
            self._carefully(self.tend)

    def _sign_rest(self) -> None:
        if self._audit.uncovered():
            self._audit.checkpoint()

    def _sign(self) -> None:
        self._audit.checkpoint()
        for sender in self._senders:
            sender.wake.set()

    def _carefully(self, work: Callable[[], None]) -> None:
        """Do it. What is wrong with the log is told once, what is wrong with the store is tried again."""
        try:
            work()
        except TamperedData as error:
            if str(error) != self._trouble:
                log.error("%s", error)
            self._trouble = str(error)
        except LookalikeError as error:
            log.warning("the audit log's end could not be signed: %s", error.code)
        except Exception as error:  # the thread must outlive whatever it meets
            log_failure("audit signing", error, "-")


class Sender:
    """Sends to one receiver what waits for it, in order. error: why it took nothing; trouble: it has another log."""

    def __init__(self, url: str, receiver: Receiver, audit: SealedAuditLog, outbox: Outbox) -> None:
        self.url = url
        self.error: str | None = None
        self.trouble: str | None = None
        self.wake = threading.Event()
        self._receiver = receiver
        self._audit = audit
        self._outbox = outbox
        self._holder = secrets.token_hex(8)

    def state(self) -> ReceiverState:
        waiting = self._outbox.waiting(self.url)
        return ReceiverState(self._receiver.name, waiting.checkpoints, waiting.since, self.error)

    def run(self, stop: threading.Event) -> None:
        """Send until `stop`."""
        patience_s = 1.0
        self._check()
        while not stop.is_set():
            if self._sent():
                patience_s = 1.0
                self.wake.wait(LOOK_EVERY_S)
            else:
                self.wake.wait(patience_s)
                patience_s = min(2 * patience_s, MOST_PATIENCE_S)
            self.wake.clear()

    def send_waiting(self) -> bool:
        """Whether the receiver now has all that waited for it, or another process sends it."""
        lines: list[tuple[int, bytes]] = []
        try:
            lines = self._outbox.claim(self.url, self._holder)
            for seq, line in lines:
                self._check()
                self._receiver.send(line)
                self._outbox.sent(self.url, seq)
        except (OSError, http.client.HTTPException, LookalikeError) as error:
            self._tell(_reason(error))
            return False
        finally:
            if lines:
                self._release()
        self._tell(None)
        return True

    def _release(self) -> None:
        with suppress(LookalikeError):  # its turn ends by itself then
            self._outbox.release(self.url, self._holder)

    def _sent(self) -> bool:
        try:
            return self.send_waiting()
        except Exception as error:  # the thread must outlive whatever it meets
            log_failure("audit push", error, "-")
            return False

    def _check(self) -> None:
        """Look whether the log still begins with what the receiver has."""
        try:
            last = self._receiver.last()
            if last is not None:
                self._audit.require_growth(last)
            self.trouble = None
        except TamperedData as error:
            trouble = f"{self._receiver.name} knows another log: {error}"
            if trouble != self.trouble:
                log.error("%s", trouble)
            self.trouble = trouble
        except (OSError, LookalikeError) as error:
            self._tell(_reason(error))

    def _tell(self, error: str | None) -> None:
        if error is not None and error != self.error:
            log.warning("checkpoints wait to be sent to %s: %s", self._receiver.name, error)
        if error is None and self.error is not None:
            log.info("checkpoints are sent to %s again", self._receiver.name)
        self.error = error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
