"""What a person sees first, and what concerns no collection: the dashboard, jobs, models and the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import go, page, router, url
from api.edge import CallerDep, Edge, EdgeDep, Needs
from api.routes import jobs as job_calls
from api.routes import models as model_calls
from api.schemas_service import JobOut
from lookalike.answers import Caller, CollectionInfo
from lookalike.domain import AuditEntry, Permission
from lookalike.jobs import ENDED, JobState

pages = router()

AUDIT_PAGE = 50
SHOWN_JOBS = 100
RECENT, LOOKED_THROUGH = 8, 100
_LOOKS = (".list", ".read", ".crop", ".scores", ".sign_in", ".sign_out")
"""Entries that the dashboard passes over: whoever looks around here would see little but that."""

_AUDIT = Depends(Needs(Permission.READ_AUDIT, lambda s, who, _: s.gallery.audit_recent(who, None, 1)))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a dashboard shows; None for what its reader may not see."""

    trouble: str | None
    collections: list[CollectionInfo] | None
    running: list[JobOut] | None
    recent: list[AuditEntry] | None


@pages.get("/")
async def dashboard(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Collections, health, what runs, and who asked lately: as far as the reader may know."""
    seen = await edge.pool.run(_look, edge, caller)
    return page(request, "dashboard.html", seen=seen, model=edge.services.gallery.model, runtime=edge.services.runtime)


def _look(edge: Edge, caller: Caller) -> _Seen:
    may, services = caller.principal.may_anywhere, edge.services
    recent = None
    if caller.principal.may(Permission.READ_AUDIT, None):
        found = services.gallery.audit_recent(caller, None, LOOKED_THROUGH)
        recent = [e for e in found if not e.action.endswith(_LOOKS) and e.action != "detect"][:RECENT]
    return _Seen(
        services.gallery.readiness(),
        services.gallery.collections(caller) if may(Permission.READ) else None,
        [job for job in _jobs(edge, caller) if job.state not in ENDED] if job_calls.may_see_jobs(caller) else None,
        recent,
    )


def _jobs(edge: Edge, caller: Caller) -> list[JobOut]:
    job_calls.require_jobs(caller)
    seen = [job for job in edge.services.jobs.jobs() if job_calls.sees(caller, job)]
    return [JobOut.of(job) for job in seen[:SHOWN_JOBS]]


@pages.get("/console/jobs")
async def list_jobs(request: Request, edge: EdgeDep, caller: CallerDep, piece: bool = False) -> Response:
    """The jobs that the reader may see; a piece of the page for the script that keeps it fresh."""
    jobs = await edge.pool.run(_jobs, edge, caller)
    ended = {state.value for state in ENDED}
    return page(request, "pieces/jobs.html" if piece else "jobs.html", jobs=jobs, ended=ended, JobState=JobState)


@pages.post("/console/jobs/{id}/cancel")
async def cancel_job(id: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """Cancel a job that waits or runs."""
    job_calls.require_jobs(caller)
    await edge.pool.run(lambda: edge.services.jobs.cancel(job_calls.find_job(edge, caller, id).id))
    return go(url("jobs"))


@pages.get("/console/models")
async def list_models(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """The models that a collection can be given."""
    model_calls.require_read(caller)
    return page(request, "models.html", models=await edge.pool.run(model_calls.listed, edge))


@pages.get("/console/audit", dependencies=[_AUDIT])
async def read_audit(
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    before: Annotated[int | None, Query(ge=1, le=10**17)] = None,
) -> Response:
    """Who did what, newest first."""
    entries = await edge.pool.run(edge.services.gallery.audit_recent, caller, before, AUDIT_PAGE)
    older = entries[-1].seq if entries and entries[-1].seq > 1 else None
    return page(request, "audit.html", entries=entries, older=older, newest=before is None)
