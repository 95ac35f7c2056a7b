"""Refused credentials: on record by peer and number, and slowed down; and a bound on the requests of one principal.

A valid credential is never refused for what others did, whoever shares its address or its load balancer: only requests
that carry a wrong one are told to wait. That does not help a guesser, since a key is 256 random bits.

Refusals are counted by peer and put on record at most once a minute, the first of a quiet time at once: so many peers
by address, the rest as one sum. A flood can neither fill the disk nor go unseen; a kill loses the counts of a minute.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from api.errors import TooManyRequests
from lookalike.domain import AuditEntry
from lookalike.errors import LookalikeError

RECORD_EVERY_S = 60.0
NAMED_PEERS = 20
MOST_KEPT = 10_000
"""Peers or principals that are told apart; the ones not seen for longest are forgotten first."""

ACTION = "authenticate"
OTHERS = "others"

log = logging.getLogger(__name__)


class Buckets:
    """A token bucket for each name: `at_once` to begin with, `a_minute` more as time goes. Thread-safe."""

    def __init__(self, at_once: int, a_minute: float, timer: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._per_s = a_minute / 60.0
        self._timer = timer
        self._kept: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> int | None:
        """None if there was a token; else the seconds until there is one."""
        now = self._timer()
        with self._lock:
            held, at = self._kept.pop(name, (float(self._at_once), now))
            held = min(self._at_once, held + (now - at) * self._per_s)
            wait_s = None if held >= 1.0 else max(1, math.ceil((1.0 - held) / self._per_s))
            self._kept[name] = (held - 1.0 if wait_s is None else held), now
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return wait_s


class Refusals:
    """total: refused since the start. record: puts an entry into the audit log."""

    def __init__(
        self,
        record: Callable[[AuditEntry], None],
        refused_a_minute: int = 60,
        requests_a_minute: int = 0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """refused_a_minute: of one peer, before it must wait; requests_a_minute: of one principal, 0 for no bound.

        Each may send as many at once as in a minute.
        """
        self.total = 0
        self._record = record
        self._peers = Buckets(refused_a_minute, refused_a_minute, timer)
        self._principals = Buckets(requests_a_minute, requests_a_minute, timer) if requests_a_minute else None
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Put refusals on record as they come; `stop` ends it."""
        self._thread = threading.Thread(target=self._run, name="refusals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Put the rest on record."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self.put_on_record()

    def note(self, address: str) -> None:
        """Count a credential that was refused. Raises: TooManyRequests for a peer that sends many."""
        peer = peer_of(address)
        with self._lock:
            self.total += 1
            known = peer in self._counts or len(self._counts) < MOST_KEPT
            self._counts[peer if known else OTHERS] += 1
        self._wake.set()
        wait_s = self._peers.take(peer)
        if wait_s is not None:
            raise TooManyRequests("too many wrong credentials came from this address", wait_s)

    def admit(self, principal: str) -> None:
        """Raises: TooManyRequests for a principal beyond its bound."""
        wait_s = self._principals.take(principal) if self._principals is not None else None
        if wait_s is not None:
            raise TooManyRequests("this credential has had as many requests as it may for now", wait_s)

    def put_on_record(self) -> None:
        """Write what was counted since the last time. What cannot be written now is written with the next."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        named = counts.most_common(NAMED_PEERS)
        rest = counts.total() - sum(count for _, count in named)
        for peer, count in [*named, *([(OTHERS, rest)] if rest else [])]:
            try:
                self._record(AuditEntry(ACTION, "-", "unauthenticated", "-", details={"peer": peer, "refused": count}))
            except LookalikeError as error:
                log.warning("refused credentials could not be put on record yet: %s", error.code)
                with self._lock:
                    self._counts[peer] += count

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            self.put_on_record()
            self._stop.wait(RECORD_EVERY_S)


def peer_of(address: str) -> str:
    """What is counted as one peer: an IPv4 address, or the 64 bits of IPv6 that one host may have for itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
