"""Who asks, found out before a body is read: a key or a token in a header becomes the request's caller, or 401.

Where neither is sent, the certificate of a program's connection says who asks. No credential is read from a URL. One
that is refused is counted for its peer, who is told to wait after many. Pages of the console take the cookie of their
session instead, which counts for nothing else; without one they are asked all the same, and show the way to sign in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from api.console.cookies import is_console, sent_cookie
from api.errors import problem_of
from api.limits import NEVER_SHED, OPEN_PATHS
from api.peer_certificates import shown_by_program
from api.refusals import Refusals
from lookalike.answers import Caller
from lookalike.domain import Principal
from lookalike.errors import LookalikeError, PermissionDenied, Unauthenticated

if TYPE_CHECKING:
    from security.console_sessions import Session

MAX_SECRET = 16_384
"""An access token with some hundred groups in it."""

Authenticate = Callable[[str], Awaitable[Principal]]
Certified = Callable[[bytes], Awaitable[Principal]]
Resume = Callable[[str], Awaitable[tuple["Session", Principal]]]


class Credentials:
    """ASGI middleware that sets `scope["state"]["caller"]`; it is absent only on open paths without a credential."""

    def __init__(
        self,
        app: ASGIApp,
        authenticate: Authenticate,
        principal: Principal | None,
        refusals: Refusals,
        resume: Resume | None = None,
        certified: Certified | None = None,
    ) -> None:
        """resume: turns a cookie of the console into its session; None where there is no console.

        certified: whose a client certificate (DER) is; None where none are asked for.
        """
        self._app = app
        self._authenticate = authenticate
        self._principal = principal
        self._refusals = refusals
        self._resume = resume
        self._certified = certified

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "caller" in scope["state"]:  # who signed the request is known already
            await self._app(scope, receive, send)
            return
        request_id = scope["state"]["request_id"]
        try:
            if self._resume is not None and is_console(scope):
                principal = await self._in_session(scope, self._resume)
            else:
                principal = await self._who(scope)
        except LookalikeError as error:
            await problem_of(error, request_id)(scope, receive, send)
            return
        if principal is not None:
            scope["state"]["caller"] = Caller(principal, request_id)
        await self._app(scope, receive, send)

    async def _in_session(self, scope: Scope, resume: Resume) -> Principal | None:
        """Whose session it is; None where there is none any more."""
        cookie = sent_cookie(scope["headers"])
        if cookie is None:
            return None
        try:
            session, principal = await resume(cookie)
        except (Unauthenticated, PermissionDenied):
            return None
        self._refusals.admit(principal.id)
        scope["state"]["session"] = session
        return principal

    async def _who(self, scope: Scope) -> Principal | None:
        if self._principal is not None:
            return self._principal
        try:
            principal = await self._shown(scope)
        except Unauthenticated:
            self._refusals.note(str((scope.get("client") or ("", 0))[0]))
            raise
        if principal is None and scope["path"] not in OPEN_PATHS:
            raise Unauthenticated("send an API key or a token as 'Authorization: Bearer KEY', or 'x-api-key: KEY'")
        if principal is not None and scope["path"] not in NEVER_SHED:
            self._refusals.admit(principal.id)
        return principal

    async def _shown(self, scope: Scope) -> Principal | None:
        """Whose the key or token in a header is, or else the connection's certificate; None where there is neither."""
        secret = presented(scope["headers"])
        if secret is not None:
            return await self._authenticate(secret)
        certificate = shown_by_program(scope) if self._certified is not None else None
        if certificate is not None and self._certified is not None:
            return await self._certified(certificate)
        return None


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
