"""The audit log: read page by page with filters, signed anew, and proven. Each is an entry of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from api.edge import CallerDep, EdgeDep, Needs, problems, read
from api.schemas_service import AuditEntryOut, AuditPage, AuditProofOut, CheckpointOut
from lookalike.answers import Caller
from lookalike.audit_book import AuditFilter
from lookalike.domain import Permission
from lookalike.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.wiring import Services

router = APIRouter(prefix="/v1/audit", tags=["audit"])

_MOST = 10**15


def _refuse(services: Services, caller: Caller, _: Mapping[str, str]) -> object:
    return services.audit_book.page(caller, 0, 1, AuditFilter())


_READS = [Depends(Needs(Permission.READ_AUDIT, _refuse))]
_Size = Annotated[int | None, Query(ge=1, le=_MOST, description="of this many entries; all by default")]
_Text = Annotated[str | None, Query(max_length=256)]


@router.get("", response_model=AuditPage, responses=problems(), dependencies=_READS)
async def read_audit(
    edge: EdgeDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str, Query(pattern="^[0-9]{1,15}$")] = "0",
    since: Annotated[datetime | None, Query(description="entries from then on")] = None,
    until: Annotated[datetime | None, Query(description="entries before then")] = None,
    action: _Text = None,
    principal: _Text = None,
    outcome: _Text = None,
    collection: _Text = None,
) -> Response:
    """Who did what, oldest first. Reading is an entry of its own."""
    wanted = AuditFilter(_seconds(since), _seconds(until), action, principal, outcome, collection)

    def work() -> AuditPage:
        entries, following = edge.services.audit_book.page(caller, int(cursor), limit, wanted)
        return AuditPage(
            items=[AuditEntryOut.of(entry) for entry in entries],
            next_cursor=str(following) if following is not None else None,
        )

    return await read(edge, work)


@router.get("/checkpoint", response_model=CheckpointOut, responses=problems(), dependencies=_READS)
async def sign_audit(edge: EdgeDep, caller: CallerDep) -> Response:
    """Where the log ends now, signed. Keep it where the service cannot reach it."""

    def work() -> CheckpointOut:
        line = edge.services.audit_book.checkpoint(caller)
        if line is None:
            raise NotFound("the log is empty")
        return CheckpointOut.model_validate_json(line)

    return await read(edge, work)


@router.get("/consistency", response_model=AuditProofOut, responses=problems(404), dependencies=_READS)
async def prove_growth(
    edge: EdgeDep, caller: CallerDep, earlier: Annotated[int, Query(ge=1, le=_MOST)], size: _Size = None
) -> Response:
    """That the log's first `earlier` entries are the beginning of its first `size`."""
    return await read(edge, lambda: AuditProofOut.of(edge.services.audit_book.proof_of_growth(caller, earlier, size)))


@router.get("/entries/{entry}/proof", response_model=AuditProofOut, responses=problems(404), dependencies=_READS)
async def prove_entry(edge: EdgeDep, caller: CallerDep, entry: int, size: _Size = None) -> Response:
    """That an entry is among the log's first `size`, with the sealed entry itself."""
    return await read(edge, lambda: AuditProofOut.of(edge.services.audit_book.proof_of_entry(caller, entry, size)))


def _seconds(at: datetime | None) -> float | None:
    if at is None:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
