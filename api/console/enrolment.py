"""Enrolling from the browser: files that are dropped and pictures of a webcam, one request each, with reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.bodies import Expected
from api.console.pages import page, pictures_of, router, words_of
from api.console.texts import Words
from api.edge import CallerDep, EdgeDep, Needs, answered
from api.idempotency import Answer, key_of, once
from api.schemas_subjects import EnrolmentOut
from lookalike.answers import Picture
from lookalike.domain import Face, Permission

pages = router()

_ENROL = Depends(Needs(Permission.ENROL, lambda s, who, p: s.gallery.enrol(who, p["collection"], p["subject"], [])))
_ENROL_SOMEBODY = Depends(
    Needs(Permission.ENROL, lambda s, who, p: s.gallery.put_subject(who, p["collection"], "", metadata={}))
)
_DETECT = Depends(Needs(Permission.IDENTIFY, lambda s, who, _: s.gallery.detect(who, b""), anywhere=True))


@pages.get("/console/collections/{collection}/enrol", dependencies=[_ENROL_SOMEBODY])
async def ask_for_pictures(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """The page to drop pictures on, or to take them."""
    info = await edge.pool.run(edge.services.gallery.collection, caller, collection)
    return page(request, "enrol.html", c=info.collection, info=info, most=edge.services.settings.max_image_bytes)


@pages.post("/console/collections/{collection}/subjects/{subject}/samples", dependencies=[_ENROL])
async def enrol(collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Enrol one picture, or say why not."""
    parts = await pictures_of(request, edge, Expected({"images": 1}))
    pictures = [Picture(part.filename, bytes(part.data)) for part in parts.named("images")]
    key = key_of(request, caller)

    def work() -> Answer:
        enrolment = edge.services.gallery.enrol(caller, collection, subject, pictures, idempotency_key=key)
        return answered(201, EnrolmentOut.of(enrolment, caller.request_id))

    answer = await once(edge.pool, edge.services.answers, edge.turns, key, parts.digest(), work)
    done = json.loads(answer.body or "{}")
    return page(request, "pieces/enrolled.html", 201, done=done, collection=collection, subject=subject)


@pages.post("/console/detect", dependencies=[_DETECT])
async def look(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """What a webcam's picture is like before it is taken: where the face is, and what would be better."""
    parts = await pictures_of(request, edge, Expected({"image": 1}))
    faces = await edge.pool.run(edge.services.gallery.detect, caller, bytes(parts.named("image")[0].data))
    return JSONResponse(hints(words_of(request), faces))


def hints(words: Words, faces: Sequence[Face]) -> Mapping[str, object]:
    """What to tell whoever stands before the camera. faces: largest first."""
    if not faces:
        return {"good": False, "hints": [words("hints.no_face")], "box": None}
    largest = faces[0]
    reasons = [words.known(f"hints.{reason}", reason) for reason in largest.quality.reasons]
    said = reasons or [words("hints.good" if len(faces) == 1 else "hints.several")]
    box = largest.box
    return {"good": not reasons, "hints": said, "box": [box.x, box.y, box.width, box.height]}
