"""Asks an identity provider over HTTPS: no proxy, no redirect followed, an answer of bounded size and time.

Plain HTTP is accepted on this machine's own addresses alone, for a provider that runs beside the service.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from lookalike.errors import BadSettings, IdentityUnavailable
from lookalike.settings import is_loopback

TIMEOUT_S: Final = 5.0
LONGEST_S: Final = 10.0
MAX_BYTES: Final = 256_000


def require_url(url: str, setting: str) -> str:
    """The URL itself. Raises: BadSettings unless it is https, or http on loopback, and carries no secret."""
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise BadSettings(f"{setting}: {url!r} is no URL") from None
    own = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not sound or not (parts.scheme == "https" or own):
        raise BadSettings(f"{setting}: a URL over https is allowed, or over http on a loopback address")
    if "@" in parts.netloc or parts.fragment:
        raise BadSettings(f"{setting}: no credential and no fragment goes into this URL")
    return url


class IssuerHttp:
    """Connections to one provider. Thread-safe."""

    def __init__(self, ca: Path | None) -> None:
        """ca: trusted instead of the system's authorities. Raises: BadSettings."""
        try:
            self._context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
        except (OSError, ssl.SSLError) as error:
            raise BadSettings(f"LOOKALIKE_OIDC_CA: {ca} holds no certificates") from error
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    def get(self, url: str) -> bytes:
        """What lies there. Raises: IdentityUnavailable."""
        return self._ask("GET", url, None, None)

    def post_form(self, url: str, form: Mapping[str, str], auth: tuple[str, str] | None) -> bytes:
        """The answer to a form. auth: for HTTP Basic. Raises: IdentityUnavailable."""
        return self._ask("POST", url, dict(form), auth)

    def _ask(self, method: str, url: str, form: dict[str, str] | None, auth: tuple[str, str] | None) -> bytes:
        where, until = _where(url), time.monotonic() + LONGEST_S
        try:
            with (
                httpx.Client(
                    verify=self._context, timeout=TIMEOUT_S, trust_env=False, follow_redirects=False
                ) as client,
                client.stream(method, url, data=form, auth=auth, headers={"accept": "application/json"}) as answer,
            ):
                read = b""
                for piece in answer.iter_bytes():
                    read += piece
                    if len(read) > MAX_BYTES or time.monotonic() > until:
                        raise IdentityUnavailable(f"{where} answers with too much, or too slowly")
                if answer.status_code != httpx.codes.OK:
                    raise IdentityUnavailable(f"{where} answers {answer.status_code}{_reason(read)}")
                return read
        except httpx.TimeoutException as error:
            raise IdentityUnavailable(f"{where} does not answer within {TIMEOUT_S:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            trusted = "CERTIFICATE_VERIFY_FAILED" not in str(error)
            why = "cannot be reached" if trusted else "shows a certificate that is not trusted (LOOKALIKE_OIDC_CA)"
            raise IdentityUnavailable(f"{where} {why}") from error


def read_object(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object that a provider sent. Raises: IdentityUnavailable."""
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, dict):
        raise IdentityUnavailable(f"{what} is no JSON object")
    return held


def _where(url: str) -> str:
    parts = urlsplit(url)
    return f"the identity provider at {parts.scheme}://{parts.netloc}"


def _reason(text: bytes) -> str:
    """The error code that OAuth 2.0 gives, a word such as invalid_grant."""
    try:
        code = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f" ({code})" if code.isascii() and code.replace("_", "").isalnum() and len(code) <= 64 else ""
