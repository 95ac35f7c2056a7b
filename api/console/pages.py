"""What the console's pages share: templates, headers, the way in and the way errors are told.

Every page is rendered here with what one escapes by default; no script, style or picture comes from elsewhere, and none
stands within a page. A form is taken only with its session's token and from this site's own pages.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.bodies import Expected, Parts, read_parts
from api.console import cookies
from api.console.assets import address
from api.console.texts import Words, choose, read_catalogues
from api.edge import Edge
from api.errors import FAULTS, RequestTooLarge, UnsupportedMediaType, field_errors
from lookalike.answers import Caller
from lookalike.domain import Kind, Permission
from lookalike.errors import AllRejected, InvalidInput, LookalikeError, NotFound, PermissionDenied, Unauthenticated

if TYPE_CHECKING:
    from security.console_sessions import Session

MAX_FORM_BYTES = 256_000
MAX_FORM_FIELDS = 500
TOKEN_HEADER = "x-csrf-token"  # noqa: S105
SIGN_IN = "/console/sign-in"

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types lookalike",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Look:
    """The templates and the words, read once for each application."""

    templates: Environment
    catalogues: Mapping[str, Words]


def read_look() -> Look:
    """Read all templates and catalogues."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(url=url, static=address, Permission=Permission, Kind=Kind, one_in=one_in)
    templates.filters.update(when=when, date=date, number=number, percent=percent)
    return Look(templates, read_catalogues())


# ---------------------------------------------------------------------------------------------- the way in


async def guarded(request: Request) -> None:
    """Lets only signed-in people through, and forms only from our own pages.

    Raises: Unauthenticated, PermissionDenied, RequestTooLarge, UnsupportedMediaType.
    """
    session = session_of(request)
    if session is None:
        raise Unauthenticated("sign in first")
    if request.method in ("GET", "HEAD"):
        return
    token = request.headers.get(TOKEN_HEADER)
    if token is None:
        request.state.form = await read_form(request)
        token = request.state.form.get("csrf", "")
    if cookies.is_from_elsewhere(request) or not hmac.compare_digest(token.encode(), session.token.encode()):
        raise PermissionDenied("this form is out of date, or is not of this console: load the page anew")


def session_of(request: Request) -> Session | None:
    """The session that the request's cookie named; None where it has ended or never began."""
    found: Session | None = getattr(request.state, "session", None)
    return found


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a plain form. Raises: RequestTooLarge, UnsupportedMediaType, InvalidInput."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType("this form was sent in a way that this page does not take")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise RequestTooLarge(f"a form of at most {MAX_FORM_BYTES} bytes is allowed")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise InvalidInput("the form cannot be read: it must be UTF-8 text") from None
    return {name: value.replace("\r\n", "\n") for name, value in pairs}


def form_of(request: Request) -> dict[str, str]:
    """The fields that `guarded` read."""
    found: dict[str, str] = getattr(request.state, "form", {})
    return found


async def pictures_of(request: Request, edge: Edge, expected: Expected) -> Parts:
    """Pictures that a script of ours sends. Raises: as `read_parts`; a plain form has been refused before."""
    if TOKEN_HEADER not in request.headers:
        raise UnsupportedMediaType("this page sends pictures by its script: switch scripts on")
    return await read_parts(request, expected, edge.services.settings.max_image_bytes)


class ConsoleRoute(APIRoute):
    """A route whose answers carry the console's headers and whose refusals are pages, or pieces of one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wraps FastAPI's own."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await inner(request)
            except (LookalikeError, RequestValidationError) as error:
                response = refused(request, error)
            _renew(request, response)
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return handle


def router() -> APIRouter:
    """A router of pages for people who are signed in."""
    return APIRouter(route_class=ConsoleRoute, include_in_schema=False, dependencies=[Depends(guarded)])


missing = APIRouter(route_class=ConsoleRoute, include_in_schema=False)
"""What is asked for below /console and is not there; it comes after all other pages."""


@missing.get("/console")
@missing.get("/console/")
async def go_to_overview() -> Response:
    """Where the console would be looked for: it begins at /."""
    return go("/")


@missing.get("/console/{rest:path}")
async def answer_missing(rest: str, request: Request) -> Response:
    """A page that says so."""
    raise NotFound("")


def _renew(request: Request, response: Response) -> None:
    session = session_of(request)
    by_itself = "piece" in request.query_params  # a page that keeps itself fresh is no sign of somebody before it
    if session is None or by_itself or "set-cookie" in response.headers:
        return
    sessions = request.app.state.edge.services.sessions
    renewed = sessions.renewed(session)
    if renewed is not None:
        cookies.give(response, sessions.cookie(renewed))


# ---------------------------------------------------------------------------------------------- the way out


def page(request: Request, template: str, status: int = 200, /, **values: object) -> Response:
    """A page, or a piece of one, from a template; it knows the words, who asks and what they may do."""
    look: Look = request.app.state.console
    words = choose(request.headers.get("accept-language", ""), look.catalogues)
    caller: Caller | None = getattr(request.state, "caller", None)
    session = session_of(request)

    def may(permission: str, collection: str | None = None) -> bool:
        return caller is not None and caller.principal.may(Permission(permission), collection)

    def may_anywhere(permission: str) -> bool:
        return caller is not None and caller.principal.may_anywhere(Permission(permission))

    common: dict[str, object] = {
        "t": words,
        "language": words.language,
        "signed_in": session is not None,
        "me": None if caller is None else caller.principal,
        "may": may,
        "may_anywhere": may_anywhere,
        "csrf": "" if session is None else session.token,
        "here": request.url.path,
    }
    html = look.templates.get_template(template).render(common | values)
    return Response(html, status, media_type="text/html; charset=utf-8")


def words_of(request: Request) -> Words:
    """The language of a request."""
    look: Look = request.app.state.console
    return choose(request.headers.get("accept-language", ""), look.catalogues)


def go(to: str) -> Response:
    """On to another page after a form."""
    return RedirectResponse(to, 303)


def refused(request: Request, error: LookalikeError | RequestValidationError) -> Response:
    """What went wrong, in plain words: a page, or a piece of one for a script."""
    by_script = TOKEN_HEADER in request.headers
    if isinstance(error, Unauthenticated) and not by_script:
        return _to_sign_in(request)
    words = words_of(request)
    if isinstance(error, RequestValidationError):
        code, said = "invalid_input", "; ".join(f"{e['field']}: {e['message']}" for e in field_errors(error.errors()))
    else:
        code, said = error.code if error.code in FAULTS else "error", str(error)
    fault = FAULTS[code]
    said = "" if fault.status == 500 else said
    template = "pieces/error.html" if by_script else "error.html"
    response = page(
        request,
        template,
        fault.status,
        title=words.known(f"errors.{code}", fault.title),
        said=said,
        rejected=error.rejected if isinstance(error, AllRejected) else (),
        request_id=request.state.request_id,
    )
    if fault.retry_after_s is not None:
        response.headers["retry-after"] = str(fault.retry_after_s)
    return response


def _to_sign_in(request: Request) -> Response:
    """To the door, and afterwards back to the page, where it was a page that was asked for."""
    path = request.scope.get("raw_path", b"/").decode("ascii", "replace")
    wanted = path if request.method == "GET" and path not in ("/", SIGN_IN) else ""
    response = go(f"{SIGN_IN}?{urlencode({'next': wanted})}" if wanted else SIGN_IN)
    cookies.take_back(response)
    return response


# --------------------------------------------------------------------------------------- what templates need


def url(*parts: str, **query: str | None) -> str:
    """An address within the console; each part is one segment, whatever is in it."""
    found = "/console/" + "/".join(quote(part, safe="") for part in parts)
    asked = {name: value for name, value in query.items() if value is not None}
    return f"{found}?{urlencode(asked)}" if asked else found


def when(seconds: float) -> Markup:
    """A moment in UTC, which a script says in the reader's own time."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}" data-moment>{}</time>').format(
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M UTC")
    )


def date(seconds: float) -> str:
    """A day in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def number(value: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def percent(value: float) -> str:
    """A share as a percentage with as many digits as it has meaning."""
    hundred = 100 * value
    return f"{hundred:.0f}\u202f%" if hundred >= 10 else f"{hundred:.2g}\u202f%"


def one_in(rate: float) -> str:
    """N where a rate is one in N, rounded to two digits."""
    many = 1 / max(rate, 1e-12)
    if many < 10:
        return f"{many:.2g}"
    digits = max(len(str(int(many))) - 2, 0)
    return number(round(many / 10**digits) * 10**digits)
