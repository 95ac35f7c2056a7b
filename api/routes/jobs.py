"""Jobs: what runs, how far it is, and cancelling."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.edge import CallerDep, Edge, EdgeDep, answered, problems, read, strict_query, write
from api.idempotency import Answer
from api.schemas_service import JobList, JobOut
from lookalike.answers import Caller
from lookalike.domain import Permission
from lookalike.errors import JobNotFound, PermissionDenied
from lookalike.jobs import Job

_OWN = (Permission.ENROL, Permission.RETENTION)
"""Rights with which one asks for jobs, and then sees one's own."""

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(strict_query)])


@router.get("", response_model=JobList, responses=problems())
async def list_jobs(edge: EdgeDep, caller: CallerDep) -> Response:
    """The jobs of the collections that the caller may run jobs on, and the caller's own, newest first."""
    require_jobs(caller)
    return await read(
        edge, lambda: JobList(items=[JobOut.of(job) for job in edge.services.jobs.jobs() if sees(caller, job)])
    )


@router.get("/{id}", response_model=JobOut, responses=problems(404))
async def read_job(id: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """One job."""
    require_jobs(caller)
    return await read(edge, lambda: JobOut.of(find_job(edge, caller, id)))


@router.post("/{id}/cancel", response_model=JobOut, responses=problems(404, 409))
async def cancel_job(id: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Cancel a job that waits; one that runs ends within seconds."""
    require_jobs(caller)

    def work() -> Answer:
        return answered(200, JobOut.of(edge.services.jobs.cancel(find_job(edge, caller, id).id)))

    return await write(request, edge, caller, None, work)


def require_jobs(caller: Caller) -> None:
    """Raises: PermissionDenied unless the caller may run jobs somewhere, or import or erase the expired by one."""
    if not may_see_jobs(caller):
        raise PermissionDenied(
            "this needs the permission 'run_jobs', 'enrol' or 'retention', which the credential lacks"
        )


def may_see_jobs(caller: Caller) -> bool:
    """Whether there can be jobs that are shown to a caller."""
    return any(caller.principal.may_anywhere(right) for right in (Permission.RUN_JOBS, *_OWN))


def sees(caller: Caller, job: Job) -> bool:
    """Whether a job is shown to a caller. Those who may run jobs see them; whoever asked for one sees that."""
    own = job.principal == caller.principal.id
    may = any(caller.principal.may(right, job.collection) for right in _OWN)
    return (own and may) or caller.principal.may(Permission.RUN_JOBS, job.collection)


def find_job(edge: Edge, caller: Caller, id: str) -> Job:
    """Raises: JobNotFound, also for a job that the caller may not see."""
    job = edge.services.jobs.job(id)
    if not sees(caller, job):
        raise JobNotFound("there is no such job")
    return job
