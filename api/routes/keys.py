"""API keys: create, list, read, revoke. A secret is shown once, when its key is made."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.edge import CallerDep, Edge, EdgeDep, Needs, answered, problems, read, respond, takes_json
from api.idempotency import Answer
from api.schemas_service import ApiKeyList, ApiKeyOut, CreatedApiKey, NewApiKey
from lookalike.answers import Caller
from lookalike.domain import Grant, Permission
from lookalike.errors import KeyNotFound
from security.tokens import ApiKeyInfo

router = APIRouter(
    prefix="/v1/api-keys",
    tags=["api keys"],
    dependencies=[
        Depends(
            Needs(
                Permission.MANAGE_KEYS,
                lambda s, who, _: s.api_keys.list(who.principal, request_id=who.request_id),
                anywhere=True,
            )
        )
    ],
)


@router.post(
    "",
    status_code=201,
    response_model=CreatedApiKey,
    responses=problems(507),
    openapi_extra=takes_json(NewApiKey),
)
async def create_key(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Make a key with grants that its maker holds. Idempotency-Key has no effect here."""
    body = await read_json(request, NewApiKey)
    grants = [Grant(grant.role, grant.collection) for grant in body.grants]

    def work() -> Answer:
        made = edge.services.api_keys.create(
            caller.principal, body.name, grants, body.expires_days, body.aws, request_id=caller.request_id
        )
        return answered(201, CreatedApiKey.of(made))

    return respond(await edge.pool.run(work))


@router.get("", response_model=ApiKeyList, responses=problems())
async def list_keys(edge: EdgeDep, caller: CallerDep) -> Response:
    """The keys that the caller manages, without their secrets."""
    return await read(edge, lambda: ApiKeyList(items=[ApiKeyOut.of(key) for key in _keys(edge, caller)]))


@router.get("/{id}", response_model=ApiKeyOut, responses=problems(404))
async def read_key(id: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """One key, without its secret."""

    def work() -> ApiKeyOut:
        for key in _keys(edge, caller):
            if key.id == id:
                return ApiKeyOut.of(key)
        raise KeyNotFound("there is no such API key")

    return await read(edge, work)


@router.delete("/{id}", status_code=204, responses=problems(404, 507))
async def revoke_key(id: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """Revoke a key; it is refused from then on."""

    def work() -> Answer:
        edge.services.api_keys.revoke(caller.principal, id, request_id=caller.request_id)
        return answered(204, None)

    return respond(await edge.pool.run(work))


def _keys(edge: Edge, caller: Caller) -> list[ApiKeyInfo]:
    return edge.services.api_keys.list(caller.principal, request_id=caller.request_id)
