"""Consent given and withdrawn, legal holds set and lifted, access requests answered, records corrected."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.access_zip import zipped
from api.bodies import read_json
from api.edge import CallerDep, EdgeDep, Needs, answered, problems, read, takes_json, write
from api.idempotency import Answer
from api.schemas_privacy import HoldLift, HoldList, HoldOut, Move, NewHold, Rename, WithdrawalOut
from api.schemas_subjects import ConsentFields, SampleOut, SubjectOut
from lookalike.domain import Consent, Permission

router = APIRouter(prefix="/v1/collections/{collection}", tags=["privacy"])

_GIVE = Depends(
    Needs(Permission.CONSENT, lambda s, who, p: s.consents.give(who, p["collection"], p["subject"], Consent("")))
)
_WITHDRAW = Depends(Needs(Permission.ERASE, lambda s, who, p: s.consents.withdraw(who, p["collection"], p["subject"])))
_HOLD = Depends(Needs(Permission.HOLD, lambda s, who, p: s.holds.set(who, p["collection"], None, "")))
_HOLDS = Depends(Needs(Permission.HOLD, lambda s, who, p: s.holds.list(who, p["collection"])))
_LIFT = Depends(Needs(Permission.HOLD, lambda s, who, p: s.holds.lift(who, p["collection"], p["hold"], "")))
_EXPORT = Depends(Needs(Permission.EXPORT_SUBJECT, lambda s, who, p: s.access.open(who, p["collection"], p["subject"])))
_RENAME = Depends(Needs(Permission.ENROL, lambda s, who, p: s.corrections.rename(who, p["collection"], "", "")))
_MOVE = Depends(Needs(Permission.ENROL, lambda s, who, p: s.corrections.move(who, p["collection"], "", "", "")))


@router.put(
    "/subjects/{subject}/consent",
    response_model=SubjectOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(ConsentFields),
    dependencies=[_GIVE],
)
async def give_consent(collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Write down a subject's consent in the place of the one before; all else stays as it is."""
    body = await read_json(request, ConsentFields)

    def work() -> Answer:
        return answered(200, SubjectOut.of(edge.services.consents.give(caller, collection, subject, body.value())))

    return await write(request, edge, caller, body, work)


@router.delete(
    "/subjects/{subject}/consent", response_model=WithdrawalOut, responses=problems(404, 507), dependencies=[_WITHDRAW]
)
async def withdraw_consent(
    collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep
) -> Response:
    """The subject takes consent back: no candidate from now on, and erased unless a legal hold keeps the record."""

    def work() -> Answer:
        return answered(200, WithdrawalOut.of(edge.services.consents.withdraw(caller, collection, subject)))

    return await write(request, edge, caller, None, work)


@router.post(
    "/holds",
    status_code=201,
    response_model=HoldOut,
    responses=problems(404, 507),
    openapi_extra=takes_json(NewHold),
    dependencies=[_HOLD],
)
async def set_hold(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Hold a subject, or the whole collection: nothing of it is erased or overwritten until the hold is lifted."""
    body = await read_json(request, NewHold)

    def work() -> Answer:
        return answered(201, HoldOut.of(edge.services.holds.set(caller, collection, body.subject, body.reason)))

    return await write(request, edge, caller, body, work)


@router.get("/holds", response_model=HoldList, responses=problems(404), dependencies=[_HOLDS])
async def list_holds(collection: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The holds that are on, oldest first."""
    return await read(
        edge, lambda: HoldList(items=[HoldOut.of(hold) for hold in edge.services.holds.list(caller, collection)])
    )


@router.post(
    "/holds/{hold}/lift",
    status_code=204,
    responses=problems(404, 507),
    openapi_extra=takes_json(HoldLift),
    dependencies=[_LIFT],
)
async def lift_hold(collection: str, hold: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Take one hold away; others that are on stay on."""
    body = await read_json(request, HoldLift)

    def work() -> Answer:
        edge.services.holds.lift(caller, collection, hold, body.reason)
        return answered(204, None)

    return await write(request, edge, caller, body, work)


@router.get(
    "/subjects/{subject}/export",
    responses={**problems(404), 200: {"description": "All that is kept", "content": {"application/zip": {}}}},
    response_class=Response,
    dependencies=[_EXPORT],
)
async def export_subject(collection: str, subject: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """All that is kept of a subject, for an access request: a zip with a page, the same as JSON, and the pictures."""
    access = edge.services.access
    dossier = await edge.pool.run(access.open, caller, collection, subject)
    pieces = zipped(access, dossier)

    async def sent() -> AsyncIterator[bytes]:
        while (piece := await edge.pool.run(next, pieces, None)) is not None:
            if piece:
                yield piece

    headers = {"content-disposition": 'attachment; filename="subject.zip"', "cache-control": "no-store"}
    return StreamingResponse(sent(), media_type="application/zip", headers=headers)


@router.post(
    "/subjects/{subject}/rename",
    response_model=SubjectOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(Rename),
    dependencies=[_RENAME],
)
async def rename(collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Give a subject another id; its samples, facts and times stay."""
    body = await read_json(request, Rename)

    def work() -> Answer:
        return answered(200, SubjectOut.of(edge.services.corrections.rename(caller, collection, subject, body.id)))

    return await write(request, edge, caller, body, work)


@router.post(
    "/subjects/{subject}/samples/{sample}/move",
    response_model=SampleOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(Move),
    dependencies=[_MOVE],
)
async def move_sample(
    collection: str, subject: str, sample: str, request: Request, edge: EdgeDep, caller: CallerDep
) -> Response:
    """Make a sample that was enrolled under the wrong subject the right one's, old or new."""
    body = await read_json(request, Move)

    def work() -> Answer:
        moved = edge.services.corrections.move(caller, collection, subject, sample, body.subject)
        return answered(200, SampleOut.of(moved))

    return await write(request, edge, caller, body, work)
