"""API keys: those that the reader manages, a new one whose secret is shown once, and an end to one."""

from __future__ import annotations

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import form_of, go, page, router, url
from api.edge import CallerDep, Edge, EdgeDep, Needs
from lookalike.answers import Caller
from lookalike.domain import Grant, Permission
from lookalike.errors import InvalidInput
from security.rbac import ROLES
from security.tokens import ApiKeyInfo, CreatedKey

pages = router()

_MANAGE = Depends(
    Needs(
        Permission.MANAGE_KEYS,
        lambda s, who, _: s.api_keys.list(who.principal, request_id=who.request_id),
        anywhere=True,
    )
)


@pages.get("/console/keys", dependencies=[_MANAGE])
async def list_keys(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """The keys that the reader manages, and the form for a new one."""
    return await _shown(request, edge, caller)


@pages.post("/console/keys", dependencies=[_MANAGE])
async def create_key(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Make a key; the answer is the only page that ever shows its secret."""
    form, days = form_of(request), form_of(request).get("expires_days", "").strip()
    grant = Grant(form.get("role", ""), form.get("collection", "").strip() or None)
    try:
        if days and not (days.isascii() and days.isdigit() and len(days) < 7):
            raise InvalidInput("expires_days: a whole number of days is allowed, or nothing")
        made = await edge.pool.run(
            lambda: edge.services.api_keys.create(
                caller.principal,
                form.get("name", "").strip(),
                [grant],
                int(days) if days else None,
                request_id=caller.request_id,
            )
        )
    except InvalidInput as error:
        return await _shown(request, edge, caller, wrong=str(error))
    return await _shown(request, edge, caller, made=made)


@pages.post("/console/keys/{id}/revoke", dependencies=[_MANAGE])
async def revoke_key(id: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """Revoke a key; sessions that it began end with it."""
    await edge.pool.run(lambda: edge.services.api_keys.revoke(caller.principal, id, request_id=caller.request_id))
    return go(url("keys"))


async def _shown(
    request: Request, edge: Edge, caller: Caller, *, made: CreatedKey | None = None, wrong: str | None = None
) -> Response:
    def work() -> list[ApiKeyInfo]:
        return edge.services.api_keys.list(caller.principal, request_id=caller.request_id)

    keys = await edge.pool.run(work)
    own = caller.principal.id.removeprefix("key:")
    status = 422 if wrong else 201 if made else 200
    sent = form_of(request) if wrong else {}
    return page(request, "keys.html", status, keys=keys, roles=list(ROLES), own=own, made=made, wrong=wrong, sent=sent)
