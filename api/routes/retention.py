"""Retention: a collection's rules, who is past them, erasing those now, and renewing a subject's time."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.edge import CallerDep, EdgeDep, Needs, answered, problems, read, takes_json, write
from api.idempotency import Answer
from api.schemas_collections import ReceiptOut
from api.schemas_privacy import RetentionOut, RetentionRun, RulesChange
from api.schemas_service import JobOut
from api.schemas_subjects import SubjectOut
from lookalike.domain import Permission
from lookalike.retention import UNSET

router = APIRouter(prefix="/v1/collections/{collection}", tags=["retention"])

_SIGNED = {"body", "signature", "public_key"}

_READ = Depends(Needs(Permission.RETENTION, lambda s, who, p: s.retention.report(who, p["collection"])))
_SET = Depends(Needs(Permission.RETENTION, lambda s, who, p: s.retention.set_rules(who, p["collection"])))
_RUN = Depends(
    Needs(Permission.RETENTION, lambda s, who, p: s.retention.require(who, p["collection"], confirmed=False))
)
_RECEIPTS = Depends(Needs(Permission.RETENTION, lambda s, who, p: s.retention.receipts(who, p["collection"])))
_RENEW = Depends(Needs(Permission.ENROL, lambda s, who, p: s.retention.renew(who, p["collection"], p["subject"])))


@router.get("/retention", response_model=RetentionOut, responses=problems(404), dependencies=[_READ])
async def read_retention(collection: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The rules, and who would be erased by them now. It looks at everybody, and erases nobody."""
    return await read(edge, lambda: RetentionOut.of(edge.services.retention.report(caller, collection)))


@router.patch(
    "/retention",
    response_model=RetentionOut,
    responses=problems(404, 507),
    openapi_extra=takes_json(RulesChange),
    dependencies=[_SET],
)
async def set_rules(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Change what is sent, leave the rest."""
    body = await read_json(request, RulesChange)

    def work() -> Answer:
        edge.services.retention.set_rules(
            caller,
            collection,
            retention_days=body.retention_days if "retention_days" in body.model_fields_set else UNSET,
            require_consent=body.require_consent,
            erase_expired_consent=body.erase_expired_consent,
            four_eyes_days=body.four_eyes_days if "four_eyes_days" in body.model_fields_set else UNSET,
        )
        return answered(200, RetentionOut.of(edge.services.retention.report(caller, collection)))

    return await write(request, edge, caller, body, work)


@router.post(
    "/retention/run",
    status_code=202,
    response_model=JobOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(RetentionRun),
    dependencies=[_RUN],
)
async def run_retention(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Erase whoever is past the rules now, as a job, without waiting for the daily one."""
    body = await read_json(request, RetentionRun)

    def work() -> Answer:
        where = edge.services.retention.require(caller, collection, confirmed=body.confirm)
        params = {"confirmed": body.confirm}
        return answered(
            202, JobOut.of(edge.services.jobs.submit("retention", caller.principal, (where.name, where.id), params))
        )

    return await write(request, edge, caller, body, work)


@router.get(
    "/retention/receipts",
    responses={**problems(404), 200: {"description": "One a line", "content": {"application/x-ndjson": {}}}},
    response_class=Response,
    dependencies=[_RECEIPTS],
)
async def read_receipts(collection: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The signed receipts of whom the rules erased, as JSON, one a line, oldest first."""

    def work() -> bytes:
        found = edge.services.retention.receipts(caller, collection)
        return b"".join(ReceiptOut.of(receipt).model_dump_json(include=_SIGNED).encode() + b"\n" for receipt in found)

    return Response(await edge.pool.run(work), media_type="application/x-ndjson")


@router.post(
    "/subjects/{subject}/renew", response_model=SubjectOut, responses=problems(404, 507), dependencies=[_RENEW]
)
async def renew(collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Say that a subject is still to be kept: its retention time begins anew."""
    return await write(
        request,
        edge,
        caller,
        None,
        lambda: answered(200, SubjectOut.of(edge.services.retention.renew(caller, collection, subject))),
    )
