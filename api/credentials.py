"""Who asks, found out before a body is read: an API key in a header becomes the request's caller, or 401.

No credential is read from a URL.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem_of
from api.limits import OPEN_PATHS
from lookalike.answers import Caller
from lookalike.domain import Principal
from lookalike.errors import LookalikeError, Unauthenticated

MAX_SECRET = 512

Authenticate = Callable[[str], Awaitable[Principal]]


class Credentials:
    """ASGI middleware that sets `scope["state"]["caller"]`; it is absent only on open paths without a credential."""

    def __init__(self, app: ASGIApp, authenticate: Authenticate, principal: Principal | None) -> None:
        self._app = app
        self._authenticate = authenticate
        self._principal = principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "caller" in scope["state"]:  # who signed the request is known already
            await self._app(scope, receive, send)
            return
        request_id = scope["state"]["request_id"]
        try:
            principal = await self._who(scope)
        except LookalikeError as error:
            await problem_of(error, request_id)(scope, receive, send)
            return
        if principal is not None:
            scope["state"]["caller"] = Caller(principal, request_id)
        await self._app(scope, receive, send)

    async def _who(self, scope: Scope) -> Principal | None:
        if self._principal is not None:
            return self._principal
        secret = presented(scope["headers"])
        if secret is not None:
            return await self._authenticate(secret)
        if scope["path"] in OPEN_PATHS:
            return None
        raise Unauthenticated("send an API key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'")


def presented(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The secret that a request carries, None where it carries none. Raises: Unauthenticated for a malformed one."""
    found = dict(reversed(headers))
    if b"authorization" in found:
        scheme, _, value = found[b"authorization"].partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated("the authorization scheme must be Bearer")
    elif b"x-api-key" in found:
        value = found[b"x-api-key"]
    else:
        return None
    value = value.strip()
    if not 1 <= len(value) <= MAX_SECRET or not value.isascii():
        raise Unauthenticated("the credential is not valid")
    return value.decode("ascii")
