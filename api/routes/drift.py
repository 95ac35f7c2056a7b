"""Drift: whether a collection's probes are like those of its baseline, and which days that is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.edge import CallerDep, EdgeDep, Needs, answered, problems, read, takes_json, write
from api.idempotency import Answer
from api.schemas_drift import BaselineChoice, DriftOut
from lookalike.domain import Permission

router = APIRouter(prefix="/v1/collections/{collection}/drift", tags=["drift"])


@router.get(
    "",
    response_model=DriftOut,
    responses=problems(404),
    dependencies=[
        Depends(Needs(Permission.MANAGE_COLLECTIONS, lambda s, who, p: s.drift.report(who, p["collection"])))
    ],
)
async def read_drift(
    collection: str,
    edge: EdgeDep,
    caller: CallerDep,
    days: Annotated[int, Query(ge=1, description="Days up to today (UTC) that are compared with the baseline")] = 1,
) -> Response:
    """What moved since the baseline, and what to do about it."""
    return await read(edge, lambda: DriftOut.of(edge.services.drift.report(caller, collection, days)))


@router.put(
    "/baseline",
    response_model=DriftOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(BaselineChoice),
    dependencies=[
        Depends(
            Needs(
                Permission.MANAGE_COLLECTIONS,
                lambda s, who, p: s.drift.choose_baseline(who, p["collection"], "", ""),
            )
        )
    ],
)
async def choose_baseline(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Compare with these days from now on."""
    body = await read_json(request, BaselineChoice)

    def work() -> Answer:
        found = edge.services.drift.choose_baseline(caller, collection, body.first, body.last)
        return answered(200, DriftOut.of(found))

    return await write(request, edge, caller, body, work)
