"""What a privacy officer does with a subject: its consent."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.edge import CallerDep, EdgeDep, Needs, answered, problems, takes_json, write
from api.idempotency import Answer
from api.schemas import ConsentFields, SubjectOut
from api.schemas_privacy import WithdrawalOut
from lookalike.domain import Consent, Permission

router = APIRouter(prefix="/v1/collections/{collection}", tags=["privacy"])

_GIVE = Depends(
    Needs(Permission.CONSENT, lambda s, who, p: s.consents.give(who, p["collection"], p["subject"], Consent("")))
)
_WITHDRAW = Depends(Needs(Permission.ERASE, lambda s, who, p: s.consents.withdraw(who, p["collection"], p["subject"])))


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
