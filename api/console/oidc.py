"""Signing in to the console at the identity provider, and coming back from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.console import cookies
from api.console.account import DEPART, door_page, own_page
from api.console.pages import ConsoleRoute, page, session_of
from api.edge import Edge, EdgeDep
from lookalike.errors import LookalikeError, NotFound, PermissionDenied, Unauthenticated

if TYPE_CHECKING:
    from security.oidc_login import OidcLogin

door = APIRouter(route_class=ConsoleRoute, include_in_schema=False)
"""Open to all: who signs in has no session yet."""

BACK = "/console/oidc/back"


@door.get(DEPART)
async def depart(request: Request, edge: EdgeDep, next: Annotated[str, Query(max_length=2100)] = "") -> Response:
    """To the identity provider. It is a link and no form, since a form may lead nowhere but to this site."""
    login = _login(edge)
    if session_of(request) is not None:
        return RedirectResponse(own_page(next), 303)
    departure = await edge.pool.run(login.depart, own_page(next))
    response = RedirectResponse(departure.to, 303)
    cookies.give_on_the_way(response, departure.cookie)
    return response


@door.get(BACK)
async def come_back(request: Request, edge: EdgeDep) -> Response:
    """Whoever comes back gets a session, or is told why not.

    The answer is a page that leads on by itself: the session's cookie goes only with requests that begin on this site,
    which a redirect from the provider does not.
    """
    login, answer = _login(edge), dict(request.query_params)
    cookie = cookies.sent_on_the_way(request.scope["headers"])
    try:
        principal, next = await edge.pool.run(login.arrive, cookie, answer)
    except (Unauthenticated, PermissionDenied) as error:
        if isinstance(error, Unauthenticated):
            edge.services.refusals.note(request.client.host if request.client is not None else "")
        return _refused(request, edge, error)
    sessions = edge.services.sessions
    session = await edge.pool.run(sessions.begin_as, principal, request.state.request_id)
    response = page(request, "oidc_back.html", next=own_page(next))
    cookies.take_back_on_the_way(response)
    cookies.give(response, sessions.cookie(session))
    return response


def _refused(request: Request, edge: Edge, error: LookalikeError) -> Response:
    status = 401 if isinstance(error, Unauthenticated) else 403
    response = door_page(request, edge, status, refused=str(error))
    cookies.take_back_on_the_way(response)
    return response


def _login(edge: Edge) -> OidcLogin:
    login = edge.services.login
    if login is None:
        raise NotFound("")
    return login
