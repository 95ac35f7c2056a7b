"""Receivers of events among the records: address and secret sealed, how far each has got in the clear.

In the clear stand random ids, numbers of the audit log, times, and why a receiver took nothing. A sealed row is bound
to its id, so that none can take another's place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from lookalike.domain import AuditEntry
from lookalike.errors import TamperedData, WebhookNotFound
from lookalike.events import EventKind
from lookalike.ports import Rows, RowWriter
from lookalike.webhooks import Delivery, Webhook, require_room
from security.audit import SealedAuditLog
from security.envelope import open_sealed, seal
from security.keys import KeyRing
from security.sealed_codec import canonical

_WEBHOOKS, _DELIVERIES = "webhook/", "webhook-delivery/"
_LAYOUT = 1


class SealedWebhooks:
    """The port WebhookStore."""

    def __init__(self, rows: Rows, keyring: KeyRing, audit: SealedAuditLog) -> None:
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._sealing = keyring.derived_key("webhooks")
        self._opened: dict[str, tuple[bytes, Webhook]] = {}

    def all(self) -> list[Webhook]:
        held = self._rows.read().settings(_WEBHOOKS)
        found = [self._open(name.removeprefix(_WEBHOOKS), payload) for name, payload in held.items()]
        return sorted(found, key=lambda webhook: (webhook.created_at, webhook.id))

    def delivery(self, id: str) -> Delivery | None:
        held = self._rows.read().get_setting(_DELIVERIES + id)
        return None if held is None else _delivery(held)

    def put(self, webhook: Webhook, delivery: Delivery | None, entry: AuditEntry) -> None:
        note = self._audit.prepare(entry)
        context = self._keyring.context("webhook", record=webhook.id)
        payload = seal(self._sealing, _encode(webhook), context)

        def write(rows: RowWriter) -> None:
            if delivery is not None:
                require_room(len(rows.settings(_WEBHOOKS)))
                rows.put_setting(_DELIVERIES + webhook.id, canonical(asdict(delivery)))
            elif rows.get_setting(_WEBHOOKS + webhook.id) is None:
                raise WebhookNotFound("there is no such webhook")
            rows.put_setting(_WEBHOOKS + webhook.id, payload)
            note(rows)

        self._rows.write(write)

    def delete(self, id: str, entry: AuditEntry) -> None:
        note = self._audit.prepare(entry)

        def write(rows: RowWriter) -> None:
            if not rows.delete_setting(_WEBHOOKS + id):
                raise WebhookNotFound("there is no such webhook")
            rows.delete_setting(_DELIVERIES + id)
            note(rows)

        self._rows.write(write)

    def change(
        self, id: str, change: Callable[[Delivery], Delivery | None], entry: AuditEntry | None = None
    ) -> Delivery | None:
        note = None if entry is None else self._audit.prepare(entry)

        def write(rows: RowWriter) -> Delivery | None:
            held = rows.get_setting(_DELIVERIES + id)
            changed = None if held is None else change(_delivery(held))
            if changed is not None:
                rows.put_setting(_DELIVERIES + id, canonical(asdict(changed)))
            if note is not None:
                note(rows)
            return changed

        return self._rows.write(write)

    def _open(self, id: str, payload: bytes) -> Webhook:
        """Opened once for as long as its row stays the same: a sender asks for all of them all the time."""
        before = self._opened.get(id)
        if before is None or before[0] != payload:
            plain = open_sealed(self._sealing, payload, self._keyring.context("webhook", record=id))
            before = self._opened[id] = payload, _decode(id, plain)
        return before[1]


def _encode(webhook: Webhook) -> bytes:
    return canonical(
        {
            "v": _LAYOUT,
            "url": webhook.url,
            "collections": None if webhook.collections is None else list(webhook.collections),
            "kinds": sorted(webhook.kinds),
            "names": webhook.names,
            "secret": webhook.secret.hex(),
            "created_at": webhook.created_at,
            "created_by": webhook.created_by,
            "paused": webhook.paused,
        }
    )


def _decode(id: str, data: bytes) -> Webhook:
    held = json.loads(data)
    if held.pop("v") != _LAYOUT:
        raise TamperedData("a webhook has another layout than this version writes")
    collections, kinds, secret = held.pop("collections"), held.pop("kinds"), held.pop("secret")
    return Webhook(
        id=id,
        collections=None if collections is None else tuple(collections),
        kinds=frozenset(EventKind(kind) for kind in kinds),
        secret=bytes.fromhex(secret),
        **held,
    )


def _delivery(held: bytes) -> Delivery:
    found = json.loads(held)
    return Delivery(**{**found, "given_up": tuple(found["given_up"])})
