"""Keys of collections: how they stand, and rotating them."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.edge import CallerDep, Edge, EdgeDep, Needs, answered, problems, read, write
from api.idempotency import Answer
from api.schemas_keys import KeyStatusOut
from api.schemas_service import JobOut
from lookalike.answers import Caller
from lookalike.domain import Permission

router = APIRouter(tags=["keys"])

_KEYS = Permission.MANAGE_KEYS


@router.get(
    "/v1/keys",
    response_model=KeyStatusOut,
    responses=problems(),
    dependencies=[Depends(Needs(_KEYS, lambda s, who, _: s.rotation.status(who), anywhere=True))],
)
async def key_status(edge: EdgeDep, caller: CallerDep) -> Response:
    """The versions of collections' keys, their ages, whose keys they wrap, and what is due or unfinished."""
    return await read(edge, lambda: KeyStatusOut.of(edge.services.rotation.status(caller)))


@router.post(
    "/v1/keys/rotate",
    status_code=202,
    response_model=JobOut,
    responses=problems(507),
    dependencies=[Depends(Needs(_KEYS, lambda s, who, _: s.rotation.require(who, None)))],
)
async def rotate_all(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Give every collection's key a new version and destroy the old one, as a job."""
    return await write(request, edge, caller, None, lambda: _begun(edge, caller, None))


@router.post(
    "/v1/collections/{collection}/keys/rotate",
    status_code=202,
    response_model=JobOut,
    responses=problems(404, 507),
    dependencies=[Depends(Needs(_KEYS, lambda s, who, p: s.rotation.require(who, p["collection"])))],
)
async def rotate_one(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Give the collection's key a new version and destroy the old one, as a job."""
    return await write(request, edge, caller, None, lambda: _begun(edge, caller, collection))


def _begun(edge: Edge, caller: Caller, collection: str | None) -> Answer:
    """The job; the one that is on already, where there is one."""
    jobs, which = edge.services.jobs, edge.services.rotation.require(caller, collection)
    waiting = jobs.unended("rotate", which[1] if which is not None else None)
    return answered(202, JobOut.of(waiting or jobs.submit("rotate", caller.principal, which)))
