"""Re-indexing: begin or go on with it, promote, roll back, give up."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.edge import CallerDep, Edge, EdgeDep, Needs, answered, problems, read, takes_json, write
from api.idempotency import Answer
from api.schemas_collections import CollectionOut, NewReindex, NewTrial, TallyOut, TrialOut
from api.schemas_service import JobOut
from lookalike.answers import Caller
from lookalike.domain import Collection, Permission, TrialMode
from lookalike.errors import NoSuchGeneration

router = APIRouter(tags=["re-indexing"])

COLLECTION = "/v1/collections/{collection}/reindex"


@router.post(
    COLLECTION,
    status_code=202,
    response_model=JobOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(NewReindex),
    dependencies=[Depends(Needs(Permission.RUN_JOBS, lambda s, who, p: s.reindexer.begin(who, p["collection"])))],
)
async def begin(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Move a collection to another model or index, as a job; it answers as before until the new one is verified."""
    body = await read_json(request, NewReindex)

    def work() -> Answer:
        services = edge.services
        where = services.gallery.collection(caller, collection).collection
        if not body.resume:
            services.reindexer.begin(caller, collection, model=body.model, index=body.index)
        elif services.reindexer.unfinished(caller, collection) is None:
            raise NoSuchGeneration("there is no re-indexing to go on with")
        elif (waiting := services.jobs.unended("reindex", where.id)) is not None:
            return answered(202, JobOut.of(waiting))
        params = {"hold": body.hold, "insist": body.insist, "rate": body.rate}
        job = services.jobs.submit("reindex", caller.principal, (where.name, where.id), params)
        return answered(202, JobOut.of(job))

    return await write(request, edge, caller, body, work)


@router.post(
    f"{COLLECTION}/promote",
    response_model=CollectionOut,
    responses=problems(404, 409, 507),
    dependencies=[
        Depends(Needs(Permission.MANAGE_MODELS, lambda s, who, p: s.reindexer.promote(who, p["collection"])))
    ],
)
async def promote(
    collection: str, request: Request, edge: EdgeDep, caller: CallerDep, insist: bool = False
) -> Response:
    """Answer through the generation that is complete and waits; insist: even if its trial found it worse."""
    return await _changed(
        collection, request, edge, caller, lambda: edge.services.reindexer.promote(caller, collection, insist=insist)
    )


@router.post(
    f"{COLLECTION}/trial",
    response_model=CollectionOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(NewTrial),
    dependencies=[
        Depends(
            Needs(
                Permission.MANAGE_MODELS,
                lambda s, who, p: s.reindexer.try_out(who, p["collection"], TrialMode.SHADOW, 0.0),
            )
        )
    ],
)
async def try_out(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Try the generation that is complete and waits on a share of the live probes; a share of 0 ends that."""
    body = await read_json(request, NewTrial)

    def work() -> Answer:
        edge.services.reindexer.try_out(caller, collection, body.mode, body.share)
        return answered(200, CollectionOut.of(edge.services.gallery.collection(caller, collection)))

    return await write(request, edge, caller, body, work)


@router.get(
    f"{COLLECTION}/trial",
    response_model=TallyOut,
    responses=problems(404),
    dependencies=[Depends(Needs(Permission.READ, lambda s, who, p: s.gallery.collection(who, p["collection"])))],
)
async def read_trial(collection: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """What this process has counted of the trial since it began."""

    def work() -> TallyOut:
        where = edge.services.gallery.collection(caller, collection).collection
        trial = TrialOut.of(where.trial) if where.trial is not None else None
        return TallyOut(trial=trial, counted=edge.services.trials.tally(where).as_json())

    return await read(edge, work)


@router.post(
    f"{COLLECTION}/rollback",
    response_model=CollectionOut,
    responses=problems(404, 409, 507),
    dependencies=[
        Depends(Needs(Permission.MANAGE_MODELS, lambda s, who, p: s.reindexer.roll_back(who, p["collection"])))
    ],
)
async def roll_back(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Answer through the generation before again; nobody who was enrolled since is lost."""
    return await _changed(
        collection, request, edge, caller, lambda: edge.services.reindexer.roll_back(caller, collection)
    )


@router.post(
    f"{COLLECTION}/finish",
    status_code=202,
    response_model=JobOut,
    responses=problems(404, 507),
    dependencies=[Depends(Needs(Permission.RUN_JOBS, lambda s, who, p: s.reindexer.retire(who, p["collection"])))],
)
async def finish(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Let go of the generation before now, as a job: one can no longer roll back, and nothing of it is kept."""

    def work() -> Answer:
        services = edge.services
        where = services.gallery.collection(caller, collection).collection
        job = services.jobs.submit("retire", caller.principal, (where.name, where.id), {"now": True})
        return answered(202, JobOut.of(job))

    return await write(request, edge, caller, None, work)


@router.delete(
    COLLECTION,
    response_model=CollectionOut,
    responses=problems(404, 409, 507),
    dependencies=[Depends(Needs(Permission.RUN_JOBS, lambda s, who, p: s.reindexer.abandon(who, p["collection"])))],
)
async def give_up(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Forget the generation that is being filled or waits; its job is ended first."""

    def forget() -> Collection:
        services = edge.services
        services.reindexer.unfinished(caller, collection)
        services.jobs.end("reindex", services.gallery.collection(caller, collection).collection.id)
        return services.reindexer.abandon(caller, collection)

    return await _changed(collection, request, edge, caller, forget)


async def _changed(
    collection: str, request: Request, edge: Edge, caller: Caller, change: Callable[[], Collection]
) -> Response:
    def work() -> Answer:
        change()
        return answered(200, CollectionOut.of(edge.services.gallery.collection(caller, collection)))

    return await write(request, edge, caller, None, work)
