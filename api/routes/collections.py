"""Collections: create, list, read, change, delete, calibrate."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.edge import CallerDep, EdgeDep, Needs, answered, problems, read, takes_json, write
from api.idempotency import Answer
from api.schemas_collections import CollectionChange, CollectionList, CollectionOut, NewCollection, ReceiptOut
from api.schemas_service import JobOut
from lookalike.domain import Permission
from lookalike.register import UNSET

router = APIRouter(prefix="/v1/collections", tags=["collections"])


@router.post(
    "",
    status_code=201,
    response_model=CollectionOut,
    responses=problems(409, 507),
    openapi_extra=takes_json(NewCollection),
    dependencies=[
        Depends(
            Needs(Permission.MANAGE_COLLECTIONS, lambda s, who, _: s.gallery.create_collection(who, ""), anywhere=True)
        )
    ],
)
async def create_collection(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Create a gallery. Its model and policy travel with it."""
    body = await read_json(request, NewCollection)

    def work() -> Answer:
        info = edge.services.gallery.create_collection(
            caller,
            body.name,
            kind=body.kind,
            keep=body.keep,
            target_fpir=body.target_fpir,
            retention_days=body.retention_days,
            model=body.model,
            keep_unknown_days=body.keep_unknown_days,
        )
        return answered(201, CollectionOut.of(info))

    return await write(request, edge, caller, body, work)


@router.get(
    "",
    response_model=CollectionList,
    responses=problems(),
    dependencies=[Depends(Needs(Permission.READ, lambda s, who, _: s.gallery.collections(who), anywhere=True))],
)
async def list_collections(edge: EdgeDep, caller: CallerDep) -> Response:
    """The collections that the caller may read."""
    return await read(
        edge,
        lambda: CollectionList(items=[CollectionOut.of(info) for info in edge.services.gallery.collections(caller)]),
    )


@router.get(
    "/{collection}",
    response_model=CollectionOut,
    responses=problems(404),
    dependencies=[Depends(Needs(Permission.READ, lambda s, who, p: s.gallery.collection(who, p["collection"])))],
)
async def read_collection(collection: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """A collection's policy and how much is in it."""
    return await read(edge, lambda: CollectionOut.of(edge.services.gallery.collection(caller, collection)))


@router.patch(
    "/{collection}",
    response_model=CollectionOut,
    responses=problems(404, 507),
    openapi_extra=takes_json(CollectionChange),
    dependencies=[
        Depends(
            Needs(Permission.MANAGE_COLLECTIONS, lambda s, who, p: s.gallery.update_collection(who, p["collection"]))
        )
    ],
)
async def change_collection(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Change what is sent, leave the rest."""
    body = await read_json(request, CollectionChange)

    def work() -> Answer:
        info = edge.services.gallery.update_collection(
            caller,
            collection,
            keep=body.keep,
            target_fpir=body.target_fpir,
            retention_days=body.retention_days if "retention_days" in body.model_fields_set else UNSET,
            keep_unknown_days=body.keep_unknown_days if "keep_unknown_days" in body.model_fields_set else UNSET,
        )
        return answered(200, CollectionOut.of(info))

    return await write(request, edge, caller, body, work)


@router.delete(
    "/{collection}",
    response_model=ReceiptOut,
    responses=problems(404, 507),
    dependencies=[
        Depends(
            Needs(Permission.DELETE_COLLECTIONS, lambda s, who, p: s.gallery.delete_collection(who, p["collection"]))
        )
    ],
)
async def delete_collection(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Destroy a collection's key and all that it opens; answers with a signed receipt."""
    return await write(
        request,
        edge,
        caller,
        None,
        lambda: answered(200, ReceiptOut.of(edge.services.gallery.delete_collection(caller, collection))),
    )


@router.post(
    "/{collection}/calibrate",
    status_code=202,
    response_model=JobOut,
    responses=problems(404),
    dependencies=[
        Depends(Needs(Permission.MANAGE_COLLECTIONS, lambda s, who, p: s.gallery.calibrate(who, p["collection"])))
    ],
)
async def calibrate(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Learn the collection's thresholds from its own non-matching pairs, as a job."""

    def work() -> Answer:
        where = edge.services.gallery.collection(caller, collection).collection
        job = edge.services.jobs.submit("calibrate", caller.principal, (where.name, where.id))
        return answered(202, JobOut.of(job))

    return await write(request, edge, caller, None, work)
