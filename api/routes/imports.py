"""Imports: many pictures in one file, enrolled by a job that needs its sender no more."""

from __future__ import annotations

import csv
import io
import re
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api.edge import CallerDep, EdgeDep, Needs, answered, problems, respond, strict_query
from api.idempotency import Answer, key_of, once
from api.limits import content_length
from api.routes.jobs import find_job, require_jobs
from api.schemas_imports import RemarkList, RemarkOut
from api.schemas_service import JobOut
from api.uploads import stream_file
from lookalike.domain import Permission
from lookalike.settings import Settings

router = APIRouter(tags=["imports"])

PATH = "/v1/collections/{collection}/imports"
STREAMED = re.compile(r"/v1/collections/[^/]+/imports")
FIELD = "file"
MULTIPART_BYTES = 10_000
"""What a multipart body may have besides the file in it."""

_IMPORT = Depends(Needs(Permission.ENROL, lambda s, who, p: s.imports.require(who, p["collection"])))
_TAKES_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                    "additionalProperties": False,
                }
            }
        },
    }
}


class Form(StrEnum):
    """How a list is given."""

    JSON = "json"
    CSV = "csv"


def most_bytes(settings: Settings) -> int:
    """The largest body of an import."""
    return settings.max_import_bytes + MULTIPART_BYTES


@router.post(
    PATH,
    status_code=202,
    response_model=JobOut,
    responses=problems(404, 408, 409, 413, 415, 507),
    openapi_extra=_TAKES_FILE,
    dependencies=[_IMPORT],
)
async def import_pictures(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Enrol a zip archive or an NDJSON file of pictures, as a job; it is sealed as it comes in."""
    imports, jobs = edge.services.imports, edge.services.jobs
    key = key_of(request, caller)
    where = await edge.pool.run(imports.require, caller, collection)
    with imports.spool(where, content_length(request.scope)) as spool:
        digest = await stream_file(request, FIELD, spool.write)
        await edge.pool.run(spool.keep)

    def work() -> Answer:
        imports.check(where, spool.id)
        return answered(202, JobOut.of(imports.submit(caller, where, spool.id, jobs)))

    try:
        answer = await once(edge.pool, edge.services.answers, edge.turns, key, digest, work)
    except BaseException:
        imports.drop(spool.id)
        raise
    if answer.replayed:
        imports.drop(spool.id)
    return respond(answer)


@router.get(
    "/v1/jobs/{id}/rejected",
    response_model=RemarkList,
    responses={**problems(404), 200: {"description": "What was refused", "content": {"text/csv": {}}}},
    dependencies=[Depends(strict_query)],
)
async def rejected(
    id: str,
    edge: EdgeDep,
    caller: CallerDep,
    format: Form = Form.JSON,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    cursor: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """What an import refused and why, and what it enrolled but is worth a second look; for those who may enrol there.

    As CSV it is all of them; as JSON a page. cursor: the number of the picture to begin with.
    """
    require_jobs(caller)

    def work() -> Response:
        job = find_job(edge, caller, id)
        caller.principal.require(Permission.ENROL, job.collection)
        found = edge.services.imports.remarks(job)
        if format is Form.CSV:
            return Response(_csv([RemarkOut.of(item) for item in found]), media_type="text/csv; charset=utf-8")
        items: list[RemarkOut] = []
        for item in found:
            remark = RemarkOut.of(item)
            if remark.number >= cursor:
                if len(items) == limit:
                    return respond(answered(200, RemarkList(items=items, next_cursor=str(remark.number))))
                items.append(remark)
        return respond(answered(200, RemarkList(items=items)))

    return await edge.pool.run(work)


def _csv(items: list[RemarkOut]) -> str:
    """As `lookalike enrol` writes its rejected.csv, of those alone that were refused."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("path", "subject", "reasons"))
    writer.writerows((item.path, item.subject, " ".join(item.reasons)) for item in items if item.reasons)
    return text.getvalue()
