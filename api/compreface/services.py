"""CompreFace's detection and verification: pictures alone, and no collection."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.compreface.answers import Json, face, plugins, result, similarity
from api.compreface.bound import WantedDep, pictures
from api.edge import CallerDep, EdgeDep
from api.rekognition.scale import fmr_of
from lookalike.errors import FaceNotFound

router = APIRouter(prefix="/api/v1", tags=["compatibility"], include_in_schema=False)


@router.post("/detection/detect")
async def detect(request: Request, edge: EdgeDep, caller: CallerDep, wanted: WantedDep) -> Response:
    """The faces of a picture, largest first."""
    (image,) = await pictures(request, edge, "file")
    found = await edge.pool.run(edge.services.gallery.detect, caller, image)
    return result([face(f, wanted) for f in wanted.chosen(found)], wanted, edge.services.gallery.model)


@router.post("/verification/verify")
async def verify(request: Request, edge: EdgeDep, caller: CallerDep, wanted: WantedDep) -> Response:
    """The largest face of the source beside each of the target, most similar first."""
    source, target = await pictures(request, edge, "source_image", "target_image")
    first, found = await edge.pool.run(edge.services.faces.compare, caller, source, target, fmr_of(0))
    chosen = wanted.chosen([f.face for f in sorted(found, key=lambda f: -f.face.box.area)])
    if not chosen:
        raise FaceNotFound("no face was found in the target image")
    matches = [face(f.face, wanted) | {"similarity": similarity(f.fmr)} for f in found if f.face in chosen]
    answer: Json = {"source_image_face": face(first, wanted), "face_matches": matches}
    if wanted.status:
        answer["plugins_versions"] = plugins(edge.services.gallery.model)
    return JSONResponse({"result": [answer]})
