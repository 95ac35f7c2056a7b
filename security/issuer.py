"""The issuer of access tokens: its keys, found by its discovery document or read from a file, and kept up to date.

A request never waits for the issuer. A thread of its own asks it: at the start, every five minutes, and when a token
names a key that is not known yet, at most every ten seconds however many such tokens come. While the issuer does not
answer the keys that it last gave go on for as long as the settings say, and the log says so; after that its tokens are
refused. A file is looked at for changes once a second, and one that went wrong keeps the keys that it held.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from lookalike.errors import BadSettings, IdentityUnavailable, InvalidInput, LookalikeError, Unauthenticated
from security.issuer_http import IssuerHttp, read_object, require_url
from security.jwks import KeySet, PublicKey, read_keys
from security.watched_file import WatchedFile

REFRESH_S: Final = 300.0
AT_MOST_EVERY_S: Final = 10.0
"""How often tokens with unknown keys can make the issuer be asked."""

AGAIN_S: Final = 15.0
"""How long after a failure it is asked again."""

DISCOVERY: Final = "/.well-known/openid-configuration"
_UNKNOWN: Final = "the access token is signed with a key that the issuer does not have"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where an issuer says that its parts are."""

    jwks: str
    authorization: str | None
    token: str | None


class IssuerKeys(Protocol):
    """Where the keys of an issuer are found."""

    def key(self, id: str | None, algorithm: str) -> PublicKey:
        """Raises: Unauthenticated for a key that the issuer does not have, IdentityUnavailable."""
        ...

    def close(self) -> None: ...


class FileKeys:
    """Keys from a JWK set in a file, for where the issuer cannot be asked."""

    def __init__(self, path: Path) -> None:
        """Raises: BadSettings where it holds none."""
        self._file = WatchedFile(path, "LOOKALIKE_OIDC_JWKS", _read_file)

    def key(self, id: str | None, algorithm: str) -> PublicKey:
        found = self._file.current().find(id, algorithm)
        if found is None:
            raise Unauthenticated(_UNKNOWN)
        return found

    def close(self) -> None:
        """Nothing is open."""


class FetchedKeys:
    """Keys that the issuer publishes. Thread-safe."""

    def __init__(
        self, issuer: str, http: IssuerHttp, kept_s: float, timer: Callable[[], float] = time.monotonic
    ) -> None:
        """kept_s: how long keys go on while the issuer does not answer. Raises: BadSettings for a URL that is none."""
        self.issuer = require_url(issuer, "LOOKALIKE_OIDC_ISSUER")
        self._http = http
        self._kept_s = kept_s
        self._timer = timer
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._asked_at = -AT_MOST_EVERY_S
        self._failed: str | None = None
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Ask the issuer, and go on doing so; `close` ends it."""
        self._wanted.set()
        self._thread = threading.Thread(target=self._run, name="oidc-keys", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread once the issuer has answered, or its time is up."""
        self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def trouble(self) -> str | None:
        """Why the issuer could not be asked the last time."""
        return self._failed

    def key(self, id: str | None, algorithm: str) -> PublicKey:
        keys = self._keys
        if keys is not None and self._timer() - self._fetched_at > self._kept_s:
            raise IdentityUnavailable(
                "the identity provider has not answered for so long that its keys are out of date"
            )
        found = keys.find(id, algorithm) if keys is not None else None
        if found is not None:
            return found
        if keys is not None and self._timer() - self._asked_at < AT_MOST_EVERY_S and not self._wanted.is_set():
            raise Unauthenticated(_UNKNOWN)
        self._wanted.set()
        raise IdentityUnavailable(
            self._failed or "the identity provider's keys are being fetched: ask again in a moment"
        )

    def refresh(self) -> None:
        """Ask the issuer for its keys. Raises: IdentityUnavailable."""
        self._asked_at = self._timer()
        endpoints = discover(self.issuer, self._http)
        try:
            self._keys = read_keys(self._http.get(endpoints.jwks))
        except InvalidInput as error:
            raise IdentityUnavailable(str(error)) from error
        self._fetched_at = self._timer()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self.refresh()
            except LookalikeError as error:
                self._tell(str(error))
            except Exception as error:  # the thread must outlive whatever an issuer may answer
                self._tell(f"the identity provider's answer cannot be read ({type(error).__name__})")
            else:
                self._tell(None)
            self._wanted.clear()
            self._wanted.wait(AGAIN_S if self._failed is not None else REFRESH_S)
            # What is asked for too soon is asked for when its time has come.
            self._closed.wait(max(0.0, self._asked_at + AT_MOST_EVERY_S - self._timer()) if self._keys else 1.0)

    def _tell(self, failed: str | None) -> None:
        """Say once that it fails, with how long its keys go on, and once that it does no more."""
        if failed is not None and self._failed is None:
            left = max(0.0, self._kept_s - (self._timer() - self._fetched_at)) / 3600 if self._keys else 0.0
            log.warning("the issuer's keys cannot be fetched: %s; known keys go on for %.1f hours", failed, left)
        if failed is None and self._failed is not None:
            log.warning("the issuer's keys can be fetched again")
        self._failed = failed


def discover(issuer: str, http: IssuerHttp) -> Endpoints:
    """What the issuer says of itself. Raises: IdentityUnavailable, also where it is another than was asked for."""
    held = read_object(http.get(issuer.rstrip("/") + DISCOVERY), "the issuer's discovery document")
    if held.get("issuer") != issuer:
        raise IdentityUnavailable("the discovery document is of another issuer than LOOKALIKE_OIDC_ISSUER names")
    found = []
    for name in ("jwks_uri", "authorization_endpoint", "token_endpoint"):
        value = held.get(name)
        if value is not None and not isinstance(value, str):
            raise IdentityUnavailable(f"the discovery document's {name} is no text")
        try:
            found.append(None if value is None else require_url(value, name))
        except BadSettings as error:
            raise IdentityUnavailable(f"the discovery document's {error}") from error
    if found[0] is None:
        raise IdentityUnavailable("the discovery document names no jwks_uri")
    return Endpoints(found[0], found[1], found[2])


def _read_file(text: bytes) -> KeySet:
    try:
        return read_keys(text)
    except InvalidInput as error:
        raise BadSettings(str(error)) from error
