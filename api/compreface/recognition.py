"""CompreFace's recognition service: subjects, their examples, and who is in a picture."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, RootModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.bodies import read_json
from api.compreface.answers import example, face, name_of, result, similarity
from api.compreface.bound import Bound, WantedDep, pictures
from api.edge import CallerDep, Edge, EdgeDep
from api.rekognition.scale import fmr_of
from lookalike.answers import Caller, Picture
from lookalike.domain import Permission
from lookalike.errors import AllRejected, FaceNotFound, SampleNotFound
from lookalike.face_marks import FaceRecord, face_id
from lookalike.faces import sample_id

router = APIRouter(prefix="/api/v1/recognition", tags=["compatibility"], include_in_schema=False)

_ALL = 1_000_000_000
_PAGE = 500

Read = Annotated[str, Depends(Bound(Permission.READ, lambda s, who, c: s.faces.page(who, c, 1)))]
Enrol = Annotated[str, Depends(Bound(Permission.ENROL, lambda s, who, c: s.face_users.create(who, c, "")))]
Erase = Annotated[str, Depends(Bound(Permission.ERASE, lambda s, who, c: s.faces.delete(who, c, ())))]
Identify = Annotated[str, Depends(Bound(Permission.IDENTIFY, lambda s, who, c: s.gallery.identify(who, c, b"")))]
Crops = Annotated[str, Depends(Bound(Permission.READ_CROPS, lambda s, who, c: s.gallery.crop(who, c, "", "")))]


class Name(BaseModel):
    """A subject's name in a body."""

    subject: str


class _Ids(RootModel[list[str]]):
    """Examples by their ids."""


# ------------------------------------------------------------------------------------------------ subjects


@router.post("/subjects", status_code=201)
async def add_subject(request: Request, edge: EdgeDep, caller: CallerDep, collection: Enrol) -> Response:
    """A subject without an example."""
    sent = await read_json(request, Name)
    await edge.pool.run(edge.services.face_users.create, caller, collection, sent.subject)
    return JSONResponse({"subject": sent.subject}, 201)


@router.get("/subjects")
@router.get("/subjects/")
async def list_subjects(edge: EdgeDep, caller: CallerDep, collection: Read) -> Response:
    """The names of all subjects."""
    names = await edge.pool.run(_subjects, edge, caller, collection)
    return JSONResponse({"subjects": sorted(names)})


def _subjects(edge: Edge, caller: Caller, collection: str) -> list[str]:
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        users, after = edge.services.face_users.page(caller, collection, _PAGE, after)
        names += [user.id for user, _ in users]
    return names


@router.delete("/subjects/{subject}")
async def delete_subject(subject: str, edge: EdgeDep, caller: CallerDep, collection: Erase) -> Response:
    """Erase a subject with all its examples."""
    await edge.pool.run(edge.services.gallery.erase_subject, caller, collection, subject)
    return JSONResponse({"subject": subject})


@router.delete("/subjects")
async def delete_subjects(edge: EdgeDep, caller: CallerDep, collection: Erase) -> Response:
    """Erase every subject."""

    def work() -> int:
        names = _subjects(edge, caller, collection)
        for name in names:
            edge.services.gallery.erase_subject(caller, collection, name)
        return len(names)

    return JSONResponse({"deleted": await edge.pool.run(work)})


# ------------------------------------------------------------------------------------------------ examples


@router.post("/faces", status_code=201)
async def add_example(
    subject: str, request: Request, edge: EdgeDep, caller: CallerDep, collection: Enrol, wanted: WantedDep
) -> Response:
    """Enrol the largest face of a picture; a subject that is new is made."""
    (image,) = await pictures(request, edge, "file")

    def work() -> str:
        try:
            done = edge.services.gallery.enrol(caller, collection, subject, [Picture("", image)])
        except AllRejected as error:
            ((_, reasons),) = error.rejected
            if FaceNotFound.code in reasons:
                raise FaceNotFound("no face was found in the picture") from error
            raise AllRejected(f"the picture cannot be enrolled: {', '.join(reasons)}") from error
        return done.samples[0].sample.id

    return JSONResponse({"image_id": face_id(await edge.pool.run(work)), "subject": subject}, 201)


@router.get("/faces")
async def list_examples(
    edge: EdgeDep,
    caller: CallerDep,
    collection: Read,
    page: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    size: Annotated[int, Query(ge=1, le=1000)] = 20,
    subject: str | None = None,
) -> Response:
    """Examples in the order in which they came, by the number of the page."""

    def work() -> tuple[list[FaceRecord], int]:
        most = _ALL if subject is not None else (page + 1) * size
        found = edge.services.faces.page(caller, collection, most, user=subject).faces
        total = len(found)
        if subject is None:
            total = edge.services.gallery.collection(caller, collection).samples
        return list(found[page * size : (page + 1) * size]), total

    found, total = await edge.pool.run(work)
    return JSONResponse(
        {
            "faces": [example(kept) for kept in found],
            "page_number": page,
            "page_size": size,
            "total_pages": -(-total // size),
            "total_elements": total,
        }
    )


@router.delete("/faces")
async def delete_examples(edge: EdgeDep, caller: CallerDep, collection: Erase, subject: str | None = None) -> Response:
    """Erase the examples of a subject, which stays, or of all."""

    def work() -> int:
        kept = edge.services.faces.page(caller, collection, _ALL, user=subject).faces
        return len(_deleted(edge, caller, collection, [face.id for face in kept]))

    return JSONResponse({"deleted": await edge.pool.run(work)})


@router.post("/faces/delete")
async def delete_several(request: Request, edge: EdgeDep, caller: CallerDep, collection: Erase) -> Response:
    """Erase the examples of these ids; those not there are left out of the answer."""
    ids = [sample_id(id) for id in (await read_json(request, _Ids)).root]
    gone = await edge.pool.run(_deleted, edge, caller, collection, ids)
    return JSONResponse([example(kept) for kept in gone])


@router.delete("/faces/{image_id}")
async def delete_example(image_id: str, edge: EdgeDep, caller: CallerDep, collection: Erase) -> Response:
    """Erase one example."""
    gone = await edge.pool.run(_deleted, edge, caller, collection, [sample_id(image_id)])
    if not gone:
        raise SampleNotFound("there is no such example")
    return JSONResponse(example(gone[0]))


def _deleted(edge: Edge, caller: Caller, collection: str, ids: list[str]) -> list[FaceRecord]:
    done = edge.services.faces.delete(caller, collection, ids, even_of_users=True)
    return [kept for _, kept, erased in done if kept is not None and erased]


@router.get("/faces/{image_id}/img")
async def read_example(image_id: str, edge: EdgeDep, caller: CallerDep, collection: Crops) -> Response:
    """What is kept of an example: the aligned face as JPEG, where the collection keeps it."""

    def work() -> bytes:
        found = edge.services.faces.page(caller, collection, 1, ids=[sample_id(image_id)]).faces
        if not found:
            raise SampleNotFound("there is no such example")
        return edge.services.gallery.crop(caller, collection, found[0].subject.id, found[0].id)

    return Response(await edge.pool.run(work), media_type="image/jpeg")


# --------------------------------------------------------------------------------------------- recognition


@router.post("/recognize")
async def recognize(
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    collection: Identify,
    wanted: WantedDep,
    prediction_count: Annotated[int, Query(ge=1, le=100)] = 1,
) -> Response:
    """The subjects most like each face, however unlike: CompreFace's clients decide by the similarity."""
    (image,) = await pictures(request, edge, "file")
    found = await edge.pool.run(
        lambda: edge.services.gallery.identify(caller, collection, image, limit=prediction_count, fmr=fmr_of(0))
    )
    chosen = wanted.chosen([seen.face for seen in found.faces])
    faces = [
        face(seen.face, wanted)
        | {
            "subjects": [
                {"subject": name_of(candidate.subject), "similarity": similarity(candidate.fmr or 0.0)}
                for candidate in seen.candidates
            ]
        }
        for seen in found.faces
        if seen.face in chosen
    ]
    return result(faces, wanted, found.model)


@router.post("/faces/{image_id}/verify")
async def verify_example(
    image_id: str, request: Request, edge: EdgeDep, caller: CallerDep, collection: Identify, wanted: WantedDep
) -> Response:
    """Each face of a picture beside one example."""
    (image,) = await pictures(request, edge, "file")
    kept, found = await edge.pool.run(edge.services.faces.verify, caller, collection, sample_id(image_id), image)
    chosen = wanted.chosen([f.face for f in found])
    faces = [
        face(f.face, wanted) | {"subject": name_of(kept.subject), "similarity": similarity(f.fmr)}
        for f in found
        if f.face in chosen
    ]
    return result(faces, wanted, edge.services.gallery.model)
