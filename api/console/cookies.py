"""The console's session cookie, and which requests it counts for: pages of the console, and never a call of the API.

The API takes keys in headers alone, so a page of somebody else can make no browser call it with a cookie.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

NAME = "__Host-lookalike"
"""The prefix makes browsers insist that it is Secure, for this host alone and for all paths."""

ON_THE_WAY = "__Host-lookalike-oidc"
"""What goes to the identity provider and back with the browser. It is sent along when the provider leads back here,
which the session's is not."""

_AREA = "/console/"


def is_console(scope: Scope) -> bool:
    """Whether a request is for a page of the console, and not for the API."""
    path: str = scope["path"]
    return path.startswith(_AREA) or (path in ("/", "/console") and scope["method"] in ("GET", "HEAD"))


def sent_cookie(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The session cookie that a request carries, if it does."""
    return _sent(headers, NAME)


def sent_on_the_way(headers: list[tuple[bytes, bytes]]) -> str | None:
    """What somebody brings back from the identity provider, if they do."""
    return _sent(headers, ON_THE_WAY)


def _sent(headers: list[tuple[bytes, bytes]], wanted: str) -> str | None:
    for name, value in headers:
        if name == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1")).get(wanted)
            except CookieError:
                continue
            if found is not None:
                return found.value
    return None


def give(response: Response, cookie: str) -> None:
    """Have the browser keep the session until it is closed; the seal says when it ends."""
    response.set_cookie(NAME, cookie, path="/", secure=True, httponly=True, samesite="strict")


def give_on_the_way(response: Response, cookie: str) -> None:
    """Have the browser keep what it brings back from the identity provider."""
    response.set_cookie(ON_THE_WAY, cookie, 600, path="/", secure=True, httponly=True, samesite="lax")


def take_back_on_the_way(response: Response) -> None:
    """Have the browser forget it: it counts once."""
    response.delete_cookie(ON_THE_WAY, path="/", secure=True, httponly=True, samesite="lax")


def take_back(response: Response) -> None:
    """Have the browser forget the session."""
    response.delete_cookie(NAME, path="/", secure=True, httponly=True, samesite="strict")


def is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that another site's page made this request."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")
