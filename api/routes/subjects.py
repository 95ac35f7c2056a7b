"""Subjects and their samples: create or update, read, list, enrol, erase, and the kept crop."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import Expected, json_value, read_json, read_parts, validated
from api.edge import (
    CallerDep,
    EdgeDep,
    MetadataDep,
    Needs,
    answered,
    problems,
    read,
    respond,
    takes_json,
    takes_pictures,
    write,
)
from api.idempotency import Answer, key_of, once
from api.schemas_collections import ReceiptOut
from api.schemas_subjects import ConsentFields, EnrolmentOut, SubjectList, SubjectOut, SubjectPut, SubjectWithSamples
from lookalike.answers import Picture
from lookalike.domain import Permission

router = APIRouter(prefix="/v1/collections/{collection}/subjects", tags=["subjects"])

_READ = Depends(Needs(Permission.READ, lambda s, who, p: s.gallery.subject(who, p["collection"], p["subject"])))
_LIST = Depends(Needs(Permission.READ, lambda s, who, p: s.gallery.list_subjects(who, p["collection"], 1, None, {})))
_PUT = Depends(
    Needs(Permission.ENROL, lambda s, who, p: s.gallery.put_subject(who, p["collection"], p["subject"], metadata={}))
)
_ENROL = Depends(Needs(Permission.ENROL, lambda s, who, p: s.gallery.enrol(who, p["collection"], p["subject"], [])))
_ERASE = Depends(Needs(Permission.ERASE, lambda s, who, p: s.gallery.erase_subject(who, p["collection"], p["subject"])))
_ERASE_SAMPLE = Depends(
    Needs(
        Permission.ERASE,
        lambda s, who, p: s.gallery.delete_sample(who, p["collection"], p["subject"], p["sample"]),
    )
)
_CROP = Depends(
    Needs(Permission.READ_CROPS, lambda s, who, p: s.gallery.crop(who, p["collection"], p["subject"], p["sample"]))
)


@router.get("", response_model=SubjectList, responses=problems(404), dependencies=[_LIST])
async def list_subjects(
    collection: str,
    edge: EdgeDep,
    caller: CallerDep,
    metadata: MetadataDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
) -> Response:
    """A page of subjects; `metadata.KEY=VALUE` keeps those that carry it."""

    def work() -> SubjectList:
        page = edge.services.gallery.list_subjects(caller, collection, limit, cursor, metadata)
        return SubjectList(items=[SubjectOut.of(subject) for subject in page.items], next_cursor=page.next_cursor)

    return await read(edge, work)


@router.put(
    "/{subject}",
    response_model=SubjectOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(SubjectPut),
    dependencies=[_PUT],
)
async def put_subject(collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Create a subject, or replace its metadata, consent and validity."""
    body = await read_json(request, SubjectPut)
    consent = None if body.consent is None else body.consent.value()

    def work() -> Answer:
        stored = edge.services.gallery.put_subject(
            caller,
            collection,
            subject,
            metadata=body.metadata,
            consent=consent,
            valid_from=body.valid_from,
            valid_until=body.valid_until,
        )
        return answered(200, SubjectOut.of(stored))

    return await write(request, edge, caller, body, work)


@router.get("/{subject}", response_model=SubjectWithSamples, responses=problems(404), dependencies=[_READ])
async def read_subject(collection: str, subject: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """A subject with its samples."""
    return await read(
        edge, lambda: SubjectWithSamples.joined(*edge.services.gallery.subject(caller, collection, subject))
    )


@router.delete("/{subject}", response_model=ReceiptOut, responses=problems(404, 507), dependencies=[_ERASE])
async def erase_subject(collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Erase: destroy the subject's key and all that it opens; answers with a signed receipt."""
    return await write(
        request,
        edge,
        caller,
        None,
        lambda: answered(200, ReceiptOut.of(edge.services.gallery.erase_subject(caller, collection, subject))),
    )


@router.post(
    "/{subject}/samples",
    status_code=201,
    response_model=EnrolmentOut,
    responses=problems(404, 408, 409, 413, 415, 507),
    openapi_extra=takes_pictures("images", many=32, texts={"consent": "JSON {basis, reference?, expires_at?}"}),
    dependencies=[_ENROL],
)
async def enrol(collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Enrol the largest face of each picture, or in a collection of pictures the picture, for a subject old or new."""
    settings = edge.services.settings
    parts = await read_parts(request, Expected({"images": settings.max_images}, ("consent",)), settings.max_image_bytes)
    pictures = [Picture(part.filename, bytes(part.data)) for part in parts.named("images")]
    said = parts.text("consent")
    consent = None if said is None else validated(json_value(said), ConsentFields).value()
    key = key_of(request, caller)

    def work() -> Answer:
        enrolment = edge.services.gallery.enrol(
            caller, collection, subject, pictures, idempotency_key=key, consent=consent
        )
        return answered(201, EnrolmentOut.of(enrolment, caller.request_id))

    return respond(await once(edge.pool, edge.services.answers, edge.turns, key, parts.digest(), work))


@router.delete(
    "/{subject}/samples/{sample}", status_code=204, responses=problems(404, 507), dependencies=[_ERASE_SAMPLE]
)
async def delete_sample(
    collection: str, subject: str, sample: str, request: Request, edge: EdgeDep, caller: CallerDep
) -> Response:
    """Delete one sample; the subject stays."""

    def work() -> Answer:
        edge.services.gallery.delete_sample(caller, collection, subject, sample)
        return answered(204, None)

    return await write(request, edge, caller, None, work)


@router.get(
    "/{subject}/samples/{sample}/crop",
    responses={**problems(404), 200: {"description": "The aligned face", "content": {"image/jpeg": {}}}},
    response_class=Response,
    dependencies=[_CROP],
)
async def read_crop(collection: str, subject: str, sample: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The aligned face that was kept, as JPEG."""
    crop = await edge.pool.run(edge.services.gallery.crop, caller, collection, subject, sample)
    return Response(crop, media_type="image/jpeg")
