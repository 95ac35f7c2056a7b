"""The audit log, read page by page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from api.edge import CallerDep, EdgeDep, Needs, problems, read
from api.schemas_service import AuditEntryOut, AuditPage
from lookalike.domain import Permission

router = APIRouter(prefix="/v1/audit", tags=["audit"])


@router.get(
    "",
    response_model=AuditPage,
    responses=problems(),
    dependencies=[Depends(Needs(Permission.READ_AUDIT, lambda s, who, _: s.gallery.audit_page(who, 0, 1)))],
)
async def read_audit(
    edge: EdgeDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str, Query(pattern="^[0-9]{1,18}$")] = "0",
) -> Response:
    """Who did what, oldest first. Reading is an entry of its own."""

    def work() -> AuditPage:
        entries = edge.services.gallery.audit_page(caller, int(cursor), limit)
        following = str(entries[-1].seq) if len(entries) == limit else None
        return AuditPage(items=[AuditEntryOut.of(entry) for entry in entries], next_cursor=following)

    return await read(edge, work)
