"""Signing in with an API key, and out. The key goes into the body of a form, is checked, and is kept nowhere."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from api.console import cookies
from api.console.pages import SIGN_IN, ConsoleRoute, go, page, read_form, router, session_of
from api.edge import CallerDep, Edge, EdgeDep
from lookalike.errors import PermissionDenied, Unauthenticated

door = APIRouter(route_class=ConsoleRoute, include_in_schema=False)
"""Open to all: who signs in has no session yet."""

inside = router()

DEPART = "/console/oidc/sign-in"
"""Where the way to the identity provider begins."""

_OWN_PAGE = re.compile(r"/console/[!-~]{0,2000}")


def own_page(wanted: str) -> str:
    """Where to go on after signing in: a page of the console, and nowhere else."""
    return wanted if _OWN_PAGE.fullmatch(wanted) and "\\" not in wanted else "/"


def door_page(
    request: Request, edge: Edge, status: int = 200, *, next: str = "/", wrong: bool = False, refused: str | None = None
) -> Response:
    """The page to sign in. wrong: a key was refused; refused: why, where it was somebody from the provider."""
    by_provider = DEPART if edge.services.login is not None else None
    return page(request, "sign_in.html", status, next=next, wrong=wrong, refused=refused, by_provider=by_provider)


@door.get(SIGN_IN)
async def ask_for_key(request: Request, edge: EdgeDep, next: Annotated[str, Query(max_length=2100)] = "") -> Response:
    """The page to sign in."""
    if session_of(request) is not None:
        return go(own_page(next))
    return door_page(request, edge, next=own_page(next))


@door.post(SIGN_IN)
async def sign_in(request: Request, edge: EdgeDep) -> Response:
    """Turn an API key into a session, and go on to the page that was asked for."""
    if cookies.is_from_elsewhere(request):
        raise PermissionDenied("this form is not of this console")
    form = await read_form(request)
    target, sessions = own_page(form.get("next", "")), edge.services.sessions
    try:
        session = await edge.pool.run(sessions.begin, form.get("key", "").strip(), request.state.request_id)
    except Unauthenticated:
        edge.services.refusals.note(request.client.host if request.client is not None else "")
        return door_page(request, edge, 401, next=target, wrong=True)
    response = go(target)
    cookies.give(response, sessions.cookie(session))
    return response


@inside.post("/console/sign-out")
async def sign_out(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """End the session everywhere that its cookie may be."""
    session = session_of(request)
    if session is None:
        return go(SIGN_IN)
    await edge.pool.run(edge.services.sessions.end, session, caller)
    response = go(SIGN_IN)
    cookies.take_back(response)
    response.headers["clear-site-data"] = '"cache", "storage"'
    return response
