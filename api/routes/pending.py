"""Identifications that wait for two people, where a collection asks for them: list, review, confirm, reject, answer."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.edge import CallerDep, EdgeDep, Needs, answered, problems, read, takes_json, write
from api.idempotency import Answer
from api.schemas_pending import Confirmation, PendingList, PendingOut, ReviewOut
from lookalike.domain import Permission

router = APIRouter(prefix="/v1/collections/{collection}/pending", tags=["pending"])

_LIST = Depends(Needs(Permission.CONFIRM, lambda s, who, p: s.gallery.pending.page(who, p["collection"])))
_READ = Depends(Needs(Permission.IDENTIFY, lambda s, who, p: s.gallery.pending.one(who, p["collection"], "")))
_REVIEW = Depends(Needs(Permission.CONFIRM, lambda s, who, p: s.gallery.pending.review(who, p["collection"], "")))
_FACE = Depends(Needs(Permission.CONFIRM, lambda s, who, p: s.gallery.pending.face(who, p["collection"], "")))
_CONFIRM = Depends(Needs(Permission.CONFIRM, lambda s, who, p: s.gallery.pending.confirm(who, p["collection"], "", "")))
_REJECT = Depends(Needs(Permission.CONFIRM, lambda s, who, p: s.gallery.pending.reject(who, p["collection"], "")))
_JPEG: dict[int | str, dict[str, object]] = {
    **problems(404),
    200: {"description": "The aligned face", "content": {"image/jpeg": {}}},
}


@router.get("", response_model=PendingList, responses=problems(404), dependencies=[_LIST])
async def list_pending(collection: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """What waits, and what was decided and is still kept; whose it is stands in none of them."""

    def work() -> PendingList:
        rows = edge.services.gallery.pending.page(caller, collection)
        return PendingList(items=[PendingOut.of(row) for row in rows])

    return await read(edge, work)


@router.get("/{pending}", response_model=PendingOut, responses=problems(404), dependencies=[_READ])
async def read_pending(collection: str, pending: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """How it stands, and who it is once two people confirmed it."""
    return await read(edge, lambda: PendingOut.of(*edge.services.gallery.pending.one(caller, collection, pending)))


@router.get("/{pending}/review", response_model=ReviewOut, responses=problems(404), dependencies=[_REVIEW])
async def review_pending(collection: str, pending: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The candidates, for whoever is to confirm one of them; whoever searched is refused."""
    return await read(edge, lambda: ReviewOut.seen(*edge.services.gallery.pending.review(caller, collection, pending)))


@router.get("/{pending}/face", responses=_JPEG, response_class=Response, dependencies=[_FACE])
async def read_pending_face(collection: str, pending: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The face that was seen, as JPEG, until it is decided whose it is."""
    found = await edge.pool.run(edge.services.gallery.pending.face, caller, collection, pending)
    return Response(found, media_type="image/jpeg")


@router.get("/{pending}/candidates/{subject}/face", responses=_JPEG, response_class=Response, dependencies=[_FACE])
async def read_candidate_face(
    collection: str, pending: str, subject: str, edge: EdgeDep, caller: CallerDep
) -> Response:
    """The enrolled face of a candidate, as JPEG, to be put beside the one that was seen."""
    found = await edge.pool.run(edge.services.gallery.pending.candidate_face, caller, collection, pending, subject)
    return Response(found, media_type="image/jpeg")


@router.post(
    "/{pending}/confirm",
    response_model=PendingOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(Confirmation),
    dependencies=[_CONFIRM],
)
async def confirm_pending(
    collection: str, pending: str, request: Request, edge: EdgeDep, caller: CallerDep
) -> Response:
    """Say which candidate it is. The second person who names the same confirms it; one who names another ends it."""
    body = await read_json(request, Confirmation)

    def work() -> Answer:
        done = edge.services.gallery.pending.confirm(caller, collection, pending, body.subject)
        return answered(200, PendingOut.of(done))

    return await write(request, edge, caller, body, work)


@router.post("/{pending}/reject", response_model=PendingOut, responses=problems(404, 409, 507), dependencies=[_REJECT])
async def reject_pending(collection: str, pending: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Say that it is none of the candidates, which ends it."""

    def work() -> Answer:
        return answered(200, PendingOut.of(edge.services.gallery.pending.reject(caller, collection, pending)))

    return await write(request, edge, caller, None, work)
