"""Principals of tokens and certificates: who came, and blocking one at once on every replica."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.edge import CallerDep, EdgeDep, Needs, answered, problems, read, takes_json, write
from api.idempotency import Answer
from api.schemas_principals import BlockIn, BlockOut, PrincipalList, PrincipalOut, WhomIn
from lookalike.domain import Permission

router = APIRouter(
    prefix="/v1/principals",
    tags=["principals"],
    dependencies=[Depends(Needs(Permission.MANAGE_KEYS, lambda s, who, _: s.identities.seen(who)))],
)


@router.get("", response_model=PrincipalList, responses=problems())
async def list_principals(edge: EdgeDep, caller: CallerDep) -> Response:
    """Who came with a token or a certificate that gives rights, and who is blocked."""

    def work() -> PrincipalList:
        seen, blocks = edge.services.identities.seen(caller)
        return PrincipalList(
            items=[PrincipalOut.of(each) for each in seen], blocks=[BlockOut.of(each) for each in blocks]
        )

    return await read(edge, work)


@router.post("/block", response_model=BlockOut, responses=problems(507), openapi_extra=takes_json(BlockIn))
async def block(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Refuse a principal, or one certificate, on every replica within seconds, whatever its token still says."""
    body = await read_json(request, BlockIn)

    def work() -> Answer:
        return answered(200, BlockOut.of(edge.services.identities.block(caller, body.value(), body.reason)))

    return await write(request, edge, caller, body, work)


@router.post("/unblock", status_code=204, responses=problems(404, 507), openapi_extra=takes_json(WhomIn))
async def unblock(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Let it in again."""
    body = await read_json(request, WhomIn)

    def work() -> Answer:
        edge.services.identities.unblock(caller, body.value())
        return answered(204, None)

    return await write(request, edge, caller, body, work)
