"""The table of jobs: the name of a kind to what does its work. Add a line to add a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from api.imports import Imports
from api.jobs import Kind, Progress
from api.schemas_service import calibration_result
from lookalike.answers import Caller
from lookalike.domain import Grant, Permission, Principal
from lookalike.errors import JobNotFound, Unauthenticated
from lookalike.gallery import Gallery
from lookalike.jobs import Job, Result
from lookalike.reindex import Reindexer
from lookalike.retention import Retention
from security.rbac import principal_for
from security.rotation import KeyRotation

_OF_SERVICE = frozenset(
    {
        Permission.MANAGE_COLLECTIONS,
        Permission.RUN_JOBS,
        Permission.MANAGE_KEYS,
        Permission.ERASE,
        Permission.RETENTION,
    }
)

SERVICE = Principal("service", (), {None: _OF_SERVICE})
"""Who is on record for what the service does by itself."""


def job_kinds(
    gallery: Gallery, reindexer: Reindexer, imports: Imports, retention: Retention, rotation: KeyRotation
) -> Mapping[str, Kind]:
    """What this service knows to do."""

    def calibrate(caller: Caller, job: Job, progress: Progress) -> Result:
        return calibration_result(gallery.calibrate(caller, _collection(job)))

    def reindex(caller: Caller, job: Job, progress: Progress) -> Result:
        hold, insist, rate = bool(job.params.get("hold")), bool(job.params.get("insist")), job.params.get("rate")
        pace = float(rate) if rate is not None else None
        return reindexer.run(caller, _collection(job), progress, hold=hold, insist=insist, rate=pace).as_json()

    def retire(caller: Caller, job: Job, progress: Progress) -> Result:
        return {"generations": reindexer.retire(caller, _collection(job), now=bool(job.params.get("now")))}

    def keep_to_retention(caller: Caller, job: Job, progress: Progress) -> Result:
        return retention.run(caller, _collection(job), progress, confirmed=bool(job.params.get("confirmed")))

    def rotate(caller: Caller, job: Job, progress: Progress) -> Result:
        which = (job.collection, job.collection_id) if job.collection is not None and job.collection_id else None
        return rotation.run(caller, which, progress, due=bool(job.params.get("due")))

    return {
        "calibrate": calibrate,
        "reindex": reindex,
        "retire": retire,
        "import": imports.run,
        "retention": keep_to_retention,
        "rotate": rotate,
    }


def principal_of_job(principal: Callable[[str], Principal]) -> Callable[[Job], Principal]:
    """Who a job works for now: whoever came with a credential, the machine's own user, or the service itself.

    principal: who somebody's id stands for at this moment.
    """

    def find(job: Job) -> Principal:
        if job.principal == SERVICE.id:
            return SERVICE
        if job.principal.startswith("local:"):
            return principal_for(job.principal, (Grant("admin"),))
        if job.principal.startswith(("key:", "oidc:", "cert:")):
            return principal(job.principal)
        raise Unauthenticated("whoever asked for this job is not known any more")

    return find


def _collection(job: Job) -> str:
    if job.collection is None:
        raise JobNotFound("the job names no collection")
    return job.collection
