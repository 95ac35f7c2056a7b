"""Threads of a live service that send events to receivers, each in the order of the audit log, at least once.

Of several processes one sends to a receiver: whoever has the lease, which ends by itself when that process dies. What
a receiver does not take is tried again at growing intervals while later events wait, so that none overtakes another.
An event that the receiver says it cannot read is given up after some tries, and so is one that is too old; both are
listed and can be sent again. Nothing else ever waits for a receiver.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from api.logs import log_failure
from api.schemas_events import EventOut
from api.webhook_calls import Courier, Taken
from lookalike.errors import LookalikeError
from lookalike.events import Event, EventFeed
from lookalike.webhooks import MOST_GIVEN_UP, Delivery, Webhook, WebhookStore

LOOK_EVERY_S = 0.1
LEASE_S = 15.0
SAVE_EVERY_S = 0.5
SAVE_EVERY_SEEN = 1_000
"""Entries without an event for a receiver, after which its place is stored all the same."""

MOST_PATIENCE_S = 300.0
POISON_TRIES = 5
GIVE_UP_S = 3 * 86_400.0
STOP_S = 2.0

log = logging.getLogger(__name__)


class WebhookSender:
    """Looks after the receivers of one process. Thread-safe."""

    def __init__(
        self,
        store: WebhookStore,
        feed: EventFeed,
        courier: Courier,
        deployment: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """deployment: random hex, part of every event's id."""
        self._store = store
        self._feed = feed
        self._courier = courier
        self._deployment = deployment
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._sending: dict[str, tuple[_Receiver, threading.Thread]] = {}
        self.failing = 0

    def start(self) -> None:
        """Begin; `stop` ends it."""
        self._thread.start()

    def stop(self) -> None:
        """End, and let another process go on at once. What was not sent is sent after the next start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        for _, thread in self._sending.values():
            thread.join(STOP_S)  # one that waits for a receiver that hangs is left to die with the process

    def _run(self) -> None:
        told: str | None = None
        while not self._stop.is_set():
            try:
                self._look()
                told = None
            except LookalikeError as error:
                if error.code != told:
                    log.warning("webhooks cannot be read: %s", error.code)
                told = error.code
            except Exception as error:  # the thread must outlive whatever it meets
                log_failure("webhooks", error, "-")
            self._stop.wait(10 * LOOK_EVERY_S)

    def _look(self) -> None:
        """A thread for each receiver that is there."""
        there = {webhook.id: webhook for webhook in self._store.all()}
        for id, webhook in there.items():
            if id in self._sending and self._sending[id][1].is_alive():
                self._sending[id][0].webhook = webhook
                continue
            receiver = _Receiver(webhook, self._store, self._feed, self._courier, self._deployment, self._clock)
            thread = threading.Thread(target=receiver.run, args=(self._stop,), name="webhook", daemon=True)
            self._sending[id] = receiver, thread
            thread.start()
        for id in self._sending.keys() - there.keys():
            self._sending.pop(id)
        self.failing = sum(receiver.failing for receiver, _ in self._sending.values())


class _Receiver:
    """Sends to one receiver. seq: all up to it is done with; saved: as far as that is stored."""

    def __init__(
        self,
        webhook: Webhook,
        store: WebhookStore,
        feed: EventFeed,
        courier: Courier,
        deployment: str,
        clock: Callable[[], float],
    ) -> None:
        self.webhook = webhook
        self.failing = False
        self._store = store
        self._feed = feed
        self._courier = courier
        self._deployment = deployment
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._saved = self._seq = -1
        self._saved_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Send until `stop`, or until the receiver is deleted."""
        there, told = True, ""
        while there and not stop.wait(LOOK_EVERY_S):
            try:
                there, told = self.step(stop), ""
            except LookalikeError as error:
                if error.code != told:
                    log.warning("events wait for webhook %s: %s", self.webhook.id, error.code)
                told = error.code
                stop.wait(10 * LOOK_EVERY_S)
            except Exception as error:  # the thread must outlive whatever it meets
                log_failure("webhook", error, "-")
                stop.wait(10 * LOOK_EVERY_S)
        if there:
            try:
                self._release()
            except LookalikeError:
                return  # the lease ends by itself

    def step(self, stop: threading.Event) -> bool:
        """Send what waits, as far as it can be sent now. Returns whether the receiver is still there."""
        held, last = self._store.delivery(self.webhook.id), self._feed.last_seq()
        if held is None:
            return False
        if held.seq != self._saved:
            self._saved = self._seq = held.seq  # at first, and after somebody asked for a replay
        self.failing = held.error is not None
        if self.webhook.paused or self._seq == last or self._is_later(held) or not self._leased(held):
            return True
        if self._seq > last:  # an older state of the records was restored
            return self._save(last)
        while self._seq < last and not stop.is_set():
            if not self._leased(self._store.delivery(self.webhook.id)) or not self._page(stop):
                break
        return True

    def _page(self, stop: threading.Event) -> bool:
        """Send the next page of the log. Returns whether to go on."""
        events, reached = self._feed.after(self._seq, self.webhook.wanted, lambda _: self.webhook.names)
        for event in events:
            if stop.is_set():
                return False
            body = body_of(event, self._deployment)
            taken = self._courier.send(self.webhook, id_of(event.seq, self._deployment), body)
            if taken.error is not None:
                self._not_taken(event, taken)
                return False
            self._seq = event.seq
            if self.failing or time.monotonic() - self._saved_at >= SAVE_EVERY_S:
                self._save(event.seq)
        self._seq = reached
        if events or reached - self._saved >= SAVE_EVERY_SEEN:
            return self._save(reached)
        return True

    def _save(self, seq: int) -> bool:
        """Store that all up to here is done with. Returns whether nobody moved the place meanwhile."""

        def moved(held: Delivery) -> Delivery | None:
            if held.seq != self._saved:
                return None
            return replace(held, seq=seq, tries=0, failing_since=None, next_at=0.0, error=None)

        if self._store.change(self.webhook.id, moved) is None:
            return False
        if self.failing:
            log.info("events are sent to webhook %s again", self.webhook.id)
        self.failing = False
        self._saved, self._saved_at, self._seq = seq, time.monotonic(), seq
        return True

    def _not_taken(self, event: Event, taken: Taken) -> None:
        now, done = self._clock(), self._seq

        def noted(held: Delivery) -> Delivery | None:
            if held.seq != self._saved:
                return None
            tries = held.tries + 1 if held.seq == done else 1
            if now - event.at > GIVE_UP_S or (taken.about_event and tries >= POISON_TRIES):
                given_up = (*held.given_up, event.seq)[-MOST_GIVEN_UP:]
                return replace(held, seq=event.seq, tries=0, next_at=0.0, error=taken.error, given_up=given_up)
            return replace(
                held,
                seq=done,
                tries=tries,
                failing_since=held.failing_since or now,
                next_at=now + _patience(tries),
                error=taken.error,
            )

        changed = self._store.change(self.webhook.id, noted)
        if changed is not None:
            if not self.failing:
                log.warning("events wait for webhook %s: %s", self.webhook.id, taken.error)
            self.failing = True
            self._saved = self._seq = changed.seq

    def _is_later(self, held: Delivery) -> bool:
        """Whether to wait before the next try. A time that is further away than any was given by another clock."""
        return 0 < held.next_at - self._clock() <= 2 * MOST_PATIENCE_S

    def _leased(self, held: Delivery | None) -> bool:
        """Whether this process is the one that sends, from now on for a while."""
        if held is None:
            return False
        mine, left_s = held.holder == self._holder, held.until - self._clock()
        if mine and LEASE_S / 2 < left_s <= LEASE_S:
            return True
        if not mine and held.holder and _lasts(left_s):
            return False

        def taken(found: Delivery) -> Delivery | None:
            now = self._clock()
            free = found.holder in ("", self._holder) or not _lasts(found.until - now)
            return replace(found, holder=self._holder, until=now + LEASE_S) if free else None

        return self._store.change(self.webhook.id, taken) is not None

    def _release(self) -> None:
        def left(held: Delivery) -> Delivery | None:
            if held.holder != self._holder:
                return None
            seq = self._seq if held.seq == self._saved else held.seq
            return replace(held, seq=max(seq, 0), holder="", until=0.0)

        self._store.change(self.webhook.id, left)


def _lasts(left_s: float) -> bool:
    """Whether a lease holds. Clocks of replicas differ a little; one that is far ahead gave none that counts."""
    return 0 <= left_s <= 2 * LEASE_S


def id_of(seq: int, deployment: str) -> str:
    """The id of an event, the same whenever and to whomever it is sent."""
    return f"{deployment[:16]}-{seq}"


def body_of(event: Event, deployment: str) -> bytes:
    """An event as it is sent."""
    return EventOut.of(event, id_of(event.seq, deployment)).model_dump_json().encode()


def _patience(tries: int) -> float:
    """Seconds until the next try: twice as long each time, never in step with others."""
    return float(min(2.0 ** min(tries - 1, 16), MOST_PATIENCE_S) * random.uniform(0.75, 1.25))


def waiting(deliveries: Sequence[Delivery], last_seq: int) -> int:
    """Entries of the log that the receiver furthest behind has not been told of."""
    return max((last_seq - held.seq for held in deliveries), default=0)
