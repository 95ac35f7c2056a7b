"""Sends the client's calls: over TLS, again while the service is busy, and every refusal as a ClientError."""

from __future__ import annotations

import contextlib
import itertools
import random
import ssl
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

LONGEST_WAIT_S: Final = 20.0
LISTENING_S: Final = 45.0
"""A stream of events says something more often than that."""


class ClientError(Exception):
    """The service refused or failed, or cannot be reached (status 0, code "unreachable").

    code: a stable word, see docs/errors.md; problem: the whole RFC 9457 body, which may carry more.
    """

    def __init__(
        self,
        code: str,
        status: int,
        detail: str,
        request_id: str | None = None,
        problem: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code})")
        self.code = code
        self.status = status
        self.detail = detail
        self.request_id = request_id
        self.problem = dict(problem or {})


@dataclass(frozen=True, slots=True, repr=False)
class Shown:
    """What the client shows of itself. token: gives the access token of the moment; certificate, key: PEM files."""

    api_key: str | None = None
    token: Callable[[], str] | None = None
    certificate: Path | None = None
    key: Path | None = None


class _Bearer(httpx.Auth):
    """Puts the key, or the token of the moment, into each request."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        secret = self._shown.token() if self._shown.token is not None else self._shown.api_key
        if secret:
            request.headers["authorization"] = f"Bearer {secret}"
        yield request


class Sender:
    """Connections to one service. Thread-safe; holds the credential and shows it to nobody else."""

    def __init__(
        self,
        base_url: str,
        shown: Shown,
        ca: Path | str | None,
        timeout_s: float,
        retries: int,
        transport: httpx.BaseTransport | None,
        sleep: Callable[[float], None],
    ) -> None:
        self.base_url = base_url
        self._retries = retries
        self._sleep = sleep
        self._within = transport is not None
        self._http = httpx.Client(
            base_url=base_url,
            headers={"user-agent": "lookalike-client"},
            auth=_Bearer(shown),
            timeout=timeout_s,
            verify=_context(ca, shown) if ca is not None or shown.certificate is not None else True,
            transport=transport,
            trust_env=False,
        )

    def __repr__(self) -> str:
        return f"Sender({self.base_url})"

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def send(self, method: str, path: str, *, again: bool = True, **options: Any) -> httpx.Response:
        """Send a call, and send it again while the service is busy or the connection breaks, if `again` allows.

        A connection that was refused is always tried again, since nothing was sent.
        Raises: ClientError.
        """
        for attempt in itertools.count():
            last = attempt >= self._retries
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                if last or _hopeless(error) or not (again or isinstance(error, httpx.ConnectError)):
                    raise ClientError("unreachable", 0, f"{self.base_url}: {_reason(error)}") from error
                self._sleep(_pause(attempt, None))
                continue
            if response.is_success:
                break
            if last or not again or response.status_code not in (429, 503):
                raise _refusal(response)
            self._sleep(_pause(attempt, response.headers.get("retry-after")))
        return response

    def listen(self, path: str, params: Mapping[str, Any]) -> Iterator[str]:
        """The data of each server-sent event, until the service ends the stream or its connection breaks.

        Raises: ClientError where it is refused, or cannot be reached after all retries.
        """
        for attempt in itertools.count():
            try:
                with self._http.stream("GET", path, params=params, timeout=LISTENING_S) as response:
                    if response.is_success:
                        yield from _data_of(response.iter_lines())
                        return
                    response.read()
                wait = response.headers.get("retry-after")
                if attempt >= self._retries or response.status_code not in (429, 503):
                    raise _refusal(response)
            except httpx.ConnectError as error:
                if attempt >= self._retries or _hopeless(error):
                    raise ClientError("unreachable", 0, f"{self.base_url}: {_reason(error)}") from error
                wait = None
            except httpx.TransportError:
                return  # it broke in the middle: who listens begins again where they were
            self._sleep(_pause(attempt, wait))

    @property
    def holds_answers(self) -> bool:
        """Whether an answer is seen only once it is whole, as within one process."""
        return self._within


def _data_of(lines: Iterator[str]) -> Iterator[str]:
    """The data of events of one line each. Raises: ClientError for one that says why the stream ends."""
    kind = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            kind = value
        elif field == "data" and kind == "error":
            raise ClientError(value, 0, "the service ended the stream")
        elif field == "data":
            yield value


def _context(ca: Path | str | None, shown: Shown) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise ClientError("bad_settings", 0, f"the CA file {ca} cannot be used: {_reason(error)}") from error
    if shown.certificate is not None:
        try:
            context.load_cert_chain(shown.certificate, shown.key, lambda: "")
        except (OSError, ssl.SSLError) as error:
            files = f"the client certificate {shown.certificate} and its key, PEM without a passphrase,"
            raise ClientError("bad_settings", 0, f"{files} cannot be used: {_reason(error)}") from error
    return context


def _pause(attempt: int, retry_after: str | None) -> float:
    """Seconds to wait: what the service asked for, or twice as long each time; never in step with other clients."""
    wait = min(0.2 * 2.0**attempt, LONGEST_WAIT_S)
    with contextlib.suppress(ValueError):
        wait = max(wait, float(retry_after or 0))
    return min(wait, LONGEST_WAIT_S) * random.uniform(0.75, 1.25)


def _hopeless(error: httpx.TransportError) -> bool:
    """Whether trying again cannot help: a certificate that is not trusted, or a protocol that is not spoken."""
    return isinstance(error, httpx.UnsupportedProtocol) or "CERTIFICATE" in str(error).upper()


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not trusted; name its CA file (LOOKALIKE_CA, usually tls/ca.crt of its data folder)"
    return text


def _refusal(response: httpx.Response) -> ClientError:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return ClientError("error", response.status_code, f"the service answered {response.status_code}")
    detail = problem.get("detail") or problem.get("title") or "refused"
    return ClientError(
        str(problem.get("code", "error")), response.status_code, str(detail), problem.get("request_id"), problem
    )
