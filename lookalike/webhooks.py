"""Webhooks: receivers outside that events are sent to, how far each has got, and who may manage them.

A receiver's place is a number in the audit log: all events up to it were taken, or given up and listed. What is
delivered is delivered in the log's order, at least once. Giving up never loses an event: it can be sent again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Permission
from lookalike.errors import InvalidInput, LimitExceeded, WebhookNotFound
from lookalike.events import EventFilter, EventKind, kinds_of
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Records
from lookalike.settings import is_loopback

MAX_WEBHOOKS = 100
MAX_URL = 2_000
MOST_GIVEN_UP = 10_000
"""Numbers of events that one receiver did not take that are kept; the newest ones."""

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, repr=False)
class Webhook:
    """collections: None for all; names: whether subjects' ids are told; secret: what signs each delivery."""

    id: str
    url: str
    collections: tuple[str, ...] | None
    kinds: frozenset[EventKind]
    names: bool
    secret: bytes
    created_at: float
    created_by: str
    paused: bool = False

    @property
    def wanted(self) -> EventFilter:
        return EventFilter(None if self.collections is None else frozenset(self.collections), self.kinds)

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """Where one must hold a right to have it over this receiver."""
        return (None,) if self.collections is None else self.collections


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a receiver has got. No value here tells of a person.

    seq: of the last event that it took, or that is not for it; tries: failed ones of the event that comes next;
    failing_since, next_at: since when it takes nothing, and when it is tried again; error: why, in a word or two;
    given_up: numbers of events that it did not take; holder, until: which process sends to it now.
    """

    seq: int
    tries: int = 0
    failing_since: float | None = None
    next_at: float = 0.0
    error: str | None = None
    given_up: tuple[int, ...] = ()
    holder: str = ""
    until: float = 0.0


class WebhookStore(Protocol):
    """Receivers and how far they are. Thread-safe, and several processes may share one."""

    def all(self) -> list[Webhook]:
        """Oldest first."""
        ...

    def delivery(self, id: str) -> Delivery | None: ...
    def put(self, webhook: Webhook, delivery: Delivery | None, entry: AuditEntry) -> None:
        """Insert or replace. delivery: None leaves it as it is. Raises: LimitExceeded beyond MAX_WEBHOOKS."""
        ...

    def delete(self, id: str, entry: AuditEntry) -> None:
        """Raises: WebhookNotFound."""
        ...

    def change(
        self, id: str, change: Callable[[Delivery], Delivery | None], entry: AuditEntry | None = None
    ) -> Delivery | None:
        """Replace a delivery by what `change` makes of its newest state, in one transaction; None leaves it.

        Returns what `change` did, None also for a receiver that is gone.
        """
        ...


class Webhooks:
    """The use cases of whoever manages receivers. hosts: HOST or HOST:PORT, the only ones that a URL may name."""

    def __init__(
        self,
        store: WebhookStore,
        records: Records,
        audit: AuditLog,
        hosts: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._records = records
        self._audit = audit
        self._hosts = frozenset(host.lower() for host in hosts)
        self._clock = clock

    def create(
        self,
        caller: Caller,
        url: str,
        collections: Iterable[str] | None,
        kinds: Iterable[str],
        names: bool,
    ) -> Webhook:
        """A new receiver, which is told of what happens from now on. kinds: none takes all.

        Raises: PermissionDenied unless the caller manages webhooks on each collection, CollectionNotFound,
        InvalidInput for a URL that is not allowed, LimitExceeded.
        """
        wanted = None if collections is None else tuple(dict.fromkeys(collections))
        with on_record(self._audit, caller, "webhook.create", None) as record:
            if wanted is not None and not wanted:
                raise InvalidInput("collections: at least one, or none given for all of them")
            for scope in (None,) if wanted is None else wanted:
                caller.principal.require(Permission.MANAGE_WEBHOOKS, scope)
            for name in wanted or ():
                self._records.collection(name)
            webhook = Webhook(
                id=secrets.token_hex(8),
                url=require_allowed(url, self._hosts),
                collections=wanted,
                kinds=kinds_of(kinds) or frozenset(EventKind),
                names=names,
                secret=secrets.token_bytes(SECRET_BYTES),
                created_at=self._clock(),
                created_by=caller.principal.id,
            )
            record.details.update(webhook=webhook.id, names=int(names))
            self._store.put(webhook, Delivery(self._audit.last_seq()), record.commit())
            return webhook

    def list(self, caller: Caller) -> list[tuple[Webhook, Delivery]]:
        """Those that the caller manages, oldest first."""
        with on_record(self._audit, caller, "webhook.list", None):
            self._require_any(caller)
            return [
                (webhook, self._store.delivery(webhook.id) or Delivery(0))
                for webhook in self._store.all()
                if _manages(caller, webhook)
            ]

    def one(self, caller: Caller, id: str) -> tuple[Webhook, Delivery]:
        """Raises: WebhookNotFound, also for one that the caller does not manage."""
        with on_record(self._audit, caller, "webhook.read", None):
            self._require_any(caller)
            return self._found(caller, id), self._store.delivery(id) or Delivery(0)

    def pause(self, caller: Caller, id: str, paused: bool) -> Webhook:
        """Send it nothing until it is resumed; what happens meanwhile is sent then. Raises: WebhookNotFound."""
        with on_record(self._audit, caller, "webhook.pause" if paused else "webhook.resume", None) as record:
            self._require_any(caller)
            changed = replace(self._found(caller, id), paused=paused)
            record.details.update(webhook=id)
            self._store.put(changed, None, record.commit())
            if not paused:
                self._store.change(id, retried)
            return changed

    def replay(self, caller: Caller, id: str, after: int | None) -> Delivery:
        """Send again all events after a number of the audit log, or, with None, those that were given up.

        Raises: WebhookNotFound, InvalidInput for a number that the log does not have yet.
        """
        with on_record(self._audit, caller, "webhook.replay", None) as record:
            self._require_any(caller)
            self._found(caller, id)
            if after is not None and not 0 <= after <= self._audit.last_seq():
                raise InvalidInput("after: a number of the audit log that was reached is allowed")
            record.details.update(webhook=id, after=after)

            def back(held: Delivery) -> Delivery:
                to = after if after is not None else min([seq - 1 for seq in held.given_up], default=held.seq)
                left = tuple(seq for seq in held.given_up if seq <= to)
                return retried(replace(held, seq=min(to, held.seq), given_up=left))

            changed = self._store.change(id, back, record.commit())
            if changed is None:
                raise WebhookNotFound("there is no such webhook")
            return changed

    def delete(self, caller: Caller, id: str) -> None:
        """Send it nothing any more. Raises: WebhookNotFound."""
        with on_record(self._audit, caller, "webhook.delete", None) as record:
            self._require_any(caller)
            self._found(caller, id)
            record.details.update(webhook=id)
            self._store.delete(id, record.commit())

    def to_test(self, caller: Caller, id: str) -> Webhook:
        """The receiver, for a delivery that somebody tries out. Raises: WebhookNotFound."""
        with on_record(self._audit, caller, "webhook.test", None) as record:
            self._require_any(caller)
            record.details.update(webhook=id)
            return self._found(caller, id)

    @staticmethod
    def _require_any(caller: Caller) -> None:
        if not caller.principal.may_anywhere(Permission.MANAGE_WEBHOOKS):
            caller.principal.require(Permission.MANAGE_WEBHOOKS, None)

    def _found(self, caller: Caller, id: str) -> Webhook:
        for webhook in self._store.all():
            if webhook.id == id and _manages(caller, webhook):
                return webhook
        raise WebhookNotFound("there is no such webhook")


def retried(held: Delivery) -> Delivery:
    """Tried again at once."""
    return replace(held, tries=0, failing_since=None, next_at=0.0, error=None)


def require_room(count: int) -> None:
    """Raises: LimitExceeded where one more receiver would be too many."""
    if count >= MAX_WEBHOOKS:
        raise LimitExceeded(f"at most {MAX_WEBHOOKS} webhooks are allowed")


def require_allowed(url: str, hosts: frozenset[str]) -> str:
    """A URL that events may be sent to. Raises: InvalidInput, which does not repeat it: it may hold a secret."""
    if not hosts:
        raise InvalidInput(
            "url: no receiver is allowed here; the operator lists their hosts in LOOKALIKE_WEBHOOK_HOSTS"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInput("url: https://HOST[:PORT]/PATH is allowed") from None
    plain = len(url) <= MAX_URL and url.isascii() and url.isprintable() and " " not in url
    if not plain or parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise InvalidInput("url: https://HOST[:PORT]/PATH is allowed, without a user or a password")
    host = parts.hostname.lower()
    if parts.scheme == "http" and not is_loopback(host):
        raise InvalidInput("url: http:// is allowed on this machine's own addresses only; take https://")
    shown = f"[{host}]" if ":" in host else host
    default = 443 if parts.scheme == "https" else 80
    if f"{shown}:{port or default}" not in hosts and not (port in (None, default) and shown in hosts):
        raise InvalidInput("url: its host is none of those that LOOKALIKE_WEBHOOK_HOSTS allows")
    return url


def _manages(caller: Caller, webhook: Webhook) -> bool:
    return all(caller.principal.may(Permission.MANAGE_WEBHOOKS, scope) for scope in webhook.scopes)
