"""One delivery to a receiver: an event as JSON, signed as Standard Webhooks has it, and whether it was taken.

    webhook-id: DEPLOYMENT-SEQ          the same when it is sent again, so that a receiver can take it once
    webhook-timestamp: seconds          a receiver refuses old ones, and so a replay
    webhook-signature: v1,BASE64        HMAC-SHA256 of "ID.TIMESTAMP.BODY" under the receiver's secret

No redirect is followed and no proxy of the environment used; what a receiver answers is not read beyond its status.
Source: Standard Webhooks 1.0.0 (standardwebhooks.com).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from lookalike.errors import BadSettings, InvalidInput
from lookalike.webhooks import Webhook, require_allowed

TIMEOUT_S = 10.0
SECRET_PREFIX = "whsec_"  # noqa: S105

POISON = frozenset({400, 413, 415, 422})
"""Answers that are about the one event: the receiver takes others."""


@dataclass(frozen=True, slots=True)
class Taken:
    """status: None where there was no answer; error: why it was not taken, None where it was."""

    status: int | None
    error: str | None = None

    @property
    def about_event(self) -> bool:
        return self.status in POISON


class Courier:
    """Sends to receivers. Thread-safe. hosts: as LOOKALIKE_WEBHOOK_HOSTS; ca: trusted, the system's if None."""

    def __init__(self, hosts: tuple[str, ...], ca: Path | None, clock: Callable[[], float] = time.time) -> None:
        """Raises: BadSettings for a CA file that cannot be used."""
        try:
            trusted = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
        except (OSError, ssl.SSLError) as error:
            raise BadSettings(f"LOOKALIKE_WEBHOOK_CA: {ca} cannot be used: {type(error).__name__}") from error
        self._hosts = frozenset(host.lower() for host in hosts)
        self._clock = clock
        self._http = httpx.Client(verify=trusted, timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def send(self, webhook: Webhook, id: str, body: bytes) -> Taken:
        """Deliver once. It never raises for what a receiver does."""
        try:
            require_allowed(webhook.url, self._hosts)
        except InvalidInput:
            return Taken(None, "its host is no longer among LOOKALIKE_WEBHOOK_HOSTS")
        headers = signed(webhook.secret, id, int(self._clock()), body) | {
            "content-type": "application/json",
            "user-agent": "lookalike",
        }
        try:
            with self._http.stream("POST", webhook.url, content=body, headers=headers) as response:
                status = response.status_code
        except (httpx.HTTPError, ssl.SSLError, OSError, ValueError) as error:
            return Taken(None, _reason(error))
        return Taken(status, None if 200 <= status < 300 else f"it answered {status}")


def signed(secret: bytes, id: str, at: int, body: bytes) -> dict[str, str]:
    """The three headers."""
    mac = hmac.new(secret, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def shown_secret(secret: bytes) -> str:
    """As libraries of Standard Webhooks take it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def _reason(error: Exception) -> str:
    """In a word or two, without an address or what was sent."""
    if "CERTIFICATE" in str(error).upper():
        return "its certificate is not trusted: LOOKALIKE_WEBHOOK_CA names its CA"
    return {"ConnectError": "it cannot be reached", "ReadTimeout": "it did not answer in time"}.get(
        type(error).__name__, type(error).__name__
    )
