"""Faces that matched nobody, where a collection keeps them: list, look at, enrol, dismiss, erase."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.edge import CallerDep, EdgeDep, Needs, answered, problems, read, takes_json, write
from api.idempotency import Answer
from api.schemas_unknowns import UnknownEnrol, UnknownEnrolled, UnknownList, UnknownOut
from lookalike.domain import Permission

router = APIRouter(prefix="/v1/collections/{collection}/unknowns", tags=["unknowns"])

_LIST = Depends(Needs(Permission.READ, lambda s, who, p: s.gallery.unknowns.page(who, p["collection"], 1, None)))
_READ = Depends(Needs(Permission.READ, lambda s, who, p: s.gallery.unknowns.one(who, p["collection"], "")))
_CROP = Depends(Needs(Permission.READ_CROPS, lambda s, who, p: s.gallery.unknowns.crop(who, p["collection"], "", "")))
_ENROL = Depends(Needs(Permission.ENROL, lambda s, who, p: s.gallery.unknowns.enrol(who, p["collection"], "", "")))
_DISMISS = Depends(Needs(Permission.ENROL, lambda s, who, p: s.gallery.unknowns.dismiss(who, p["collection"], "")))
_ERASE = Depends(Needs(Permission.ERASE, lambda s, who, p: s.gallery.unknowns.erase(who, p["collection"], "")))


@router.get("", response_model=UnknownList, responses=problems(404), dependencies=[_LIST])
async def list_unknowns(
    collection: str,
    edge: EdgeDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    dismissed: Annotated[bool, Query(description="Those that were dismissed instead")] = False,
) -> Response:
    """People who were seen and match nobody enrolled, those seen most often first."""

    def work() -> UnknownList:
        where, page = edge.services.gallery.unknowns.page(caller, collection, limit, cursor, hidden=dismissed)
        return UnknownList(items=[UnknownOut.of(where, row) for row in page.items], next_cursor=page.next_cursor)

    return await read(edge, work)


@router.get("/{unknown}", response_model=UnknownOut, responses=problems(404), dependencies=[_READ])
async def read_unknown(collection: str, unknown: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """One of them."""
    return await read(edge, lambda: UnknownOut.of(*edge.services.gallery.unknowns.one(caller, collection, unknown)))


@router.get(
    "/{unknown}/faces/{face}/crop",
    responses={**problems(404), 200: {"description": "The aligned face", "content": {"image/jpeg": {}}}},
    response_class=Response,
    dependencies=[_CROP],
)
async def read_unknown_crop(collection: str, unknown: str, face: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The aligned face that was kept, as JPEG."""
    crop = await edge.pool.run(edge.services.gallery.unknowns.crop, caller, collection, unknown, face)
    return Response(crop, media_type="image/jpeg")


@router.post(
    "/{unknown}/enrol",
    status_code=201,
    response_model=UnknownEnrolled,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(UnknownEnrol),
    dependencies=[_ENROL],
)
async def enrol_unknown(collection: str, unknown: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Make its kept faces samples of a subject, old or new; it is unknown no more."""
    body = await read_json(request, UnknownEnrol)

    def work() -> Answer:
        subject, samples = edge.services.gallery.unknowns.enrol(caller, collection, unknown, body.subject)
        return answered(201, UnknownEnrolled.of(subject, samples, caller.request_id))

    return await write(request, edge, caller, body, work)


@router.post("/{unknown}/dismiss", status_code=204, responses=problems(404, 507), dependencies=[_DISMISS])
async def dismiss_unknown(
    collection: str, unknown: str, request: Request, edge: EdgeDep, caller: CallerDep
) -> Response:
    """Drop its pictures and show it no more, also when seen again, until its time ends."""

    def work() -> Answer:
        edge.services.gallery.unknowns.dismiss(caller, collection, unknown)
        return answered(204, None)

    return await write(request, edge, caller, None, work)


@router.delete("/{unknown}", status_code=204, responses=problems(404, 507), dependencies=[_ERASE])
async def erase_unknown(collection: str, unknown: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Forget it altogether; the same person is a new row when seen again."""

    def work() -> Answer:
        edge.services.gallery.unknowns.erase(caller, collection, unknown)
        return answered(204, None)

    return await write(request, edge, caller, None, work)
