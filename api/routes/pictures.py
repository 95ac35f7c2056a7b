"""Calls that answer about a picture and keep nothing of it: identify, search, verify, compare, detect."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import Expected, Parts, json_value, read_parts, validated
from api.edge import (
    CallerDep,
    Edge,
    EdgeDep,
    MetadataDep,
    Needs,
    answered,
    problems,
    read,
    respond,
    takes_pictures,
)
from api.idempotency import Answer
from api.schemas import BoxIn, DetectionOut, FaceOut
from api.schemas_answers import ComparisonOut, IdentificationOut, VerificationOut
from api.schemas_pending import Held
from lookalike import inputs
from lookalike.domain import Box, Permission
from lookalike.errors import InvalidInput
from lookalike.searching import MAX_FRAMES

router = APIRouter(prefix="/v1", tags=["pictures"])

_PICTURE_PROBLEMS = problems(408, 413, 415)
_PROBLEMS = problems(404, 408, 409, 413, 415)

_IDENTIFY = Depends(Needs(Permission.IDENTIFY, lambda s, who, p: s.gallery.identify(who, p["collection"], b"")))
_SEARCH = Depends(Needs(Permission.IDENTIFY, lambda s, who, p: s.gallery.search(who, p["collection"], b"")))
_VERIFY = Depends(
    Needs(Permission.IDENTIFY, lambda s, who, p: s.gallery.verify(who, p["collection"], p["subject"], b""))
)
_COMPARE = Depends(Needs(Permission.IDENTIFY, lambda s, who, _: s.gallery.compare(who, b"", b""), anywhere=True))
_DETECT = Depends(Needs(Permission.IDENTIFY, lambda s, who, _: s.gallery.detect(who, b""), anywhere=True))

ThresholdQuery = Annotated[float | None, Query(description="A similarity from 0 to 1; excludes the rate")]


@router.post(
    "/collections/{collection}/identify",
    response_model=IdentificationOut,
    responses={**_PROBLEMS, 202: {"model": Held, "description": "Two people have to confirm who it is"}},
    openapi_extra=takes_pictures("image"),
    dependencies=[_IDENTIFY],
)
async def identify(
    collection: str,
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    metadata: MetadataDep,
    limit: Annotated[int, Query(ge=1, le=100, description="Candidates a face")] = 5,
    faces: Literal["all", "largest"] = "all",
    threshold: ThresholdQuery = None,
    fpir: Annotated[float | None, Query(description="The false-alarm rate to aim at")] = None,
) -> Response:
    """Who is in the picture: candidates for each face, none for whoever is not enrolled; 202 where two must confirm."""
    _check(threshold, fpir, "fpir")
    (image,) = await _pictures(request, edge, "image")

    def work() -> Answer:
        gallery = edge.services.gallery
        found = gallery.identify(
            caller,
            collection,
            image,
            limit=limit,
            largest_only=faces == "largest",
            threshold=threshold,
            fpir=fpir,
            metadata=metadata,
            hold=True,
        )
        if found.held:
            return answered(202, Held.of(found.held, caller.request_id))
        return answered(200, IdentificationOut.of(found, caller.request_id))

    return respond(await edge.pool.run(work))


@router.post(
    "/collections/{collection}/sightings",
    response_model=IdentificationOut,
    responses=_PROBLEMS,
    openapi_extra=takes_pictures(
        "frames",
        many=MAX_FRAMES,
        texts={"camera": "its name, for the audit log and events", "tentative": "true: better frames may follow"},
    ),
    dependencies=[_IDENTIFY],
)
async def sight(
    collection: str,
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    fpir: Annotated[float | None, Query(description="The false-alarm rate to aim at")] = None,
) -> Response:
    """Who somebody is whom a camera saw in several frames: one decision by all of them; the one face is the best."""
    expected = Expected({"frames": MAX_FRAMES}, ("camera", "tentative"))
    parts = await read_parts(request, expected, edge.services.settings.max_image_bytes)
    frames = [bytes(part.data) for part in parts.named("frames")]
    camera, tentative = _text(parts, "camera"), _text(parts, "tentative")
    if tentative not in (None, "true", "false"):
        raise InvalidInput("tentative: true or false are allowed")
    return await read(
        edge,
        lambda: IdentificationOut.of(
            edge.services.gallery.sight(
                caller, collection, frames, camera=camera, tentative=tentative == "true", fpir=fpir
            ),
            caller.request_id,
        ),
    )


def _text(parts: Parts, name: str) -> str | None:
    """Raises: InvalidInput unless it is UTF-8."""
    found = parts.text(name)
    try:
        return None if found is None else found.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{name}: UTF-8 text is allowed") from None


@router.post(
    "/collections/{collection}/search",
    response_model=IdentificationOut,
    responses=_PROBLEMS,
    openapi_extra=takes_pictures("image", texts={"box": "JSON {x, y, width, height}: search this part only"}),
    dependencies=[_SEARCH],
)
async def search(
    collection: str,
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    metadata: MetadataDep,
    limit: Annotated[int, Query(ge=1, le=100, description="Candidates")] = 5,
    threshold: ThresholdQuery = None,
    fpir: Annotated[float | None, Query(description="The false-alarm rate to aim at")] = None,
    near_duplicates: Annotated[
        bool, Query(description="Only the same picture, encoded or cropped differently")
    ] = False,
    regions: Annotated[
        Literal["auto"] | None, Query(description="Look for places with something enrolled; each is a face")
    ] = None,
) -> Response:
    """What is in the picture, in a collection of `kind: image`: the one "face" is what was searched."""
    _check(threshold, fpir, "fpir")
    parts = await read_parts(request, Expected({"image": 1}, ("box",)), edge.services.settings.max_image_bytes)
    image, box = bytes(parts.named("image")[0].data), _box(parts.text("box"))
    return await read(
        edge,
        lambda: IdentificationOut.of(
            edge.services.gallery.search(
                caller,
                collection,
                image,
                box=box,
                limit=limit,
                threshold=threshold,
                fpir=fpir,
                metadata=metadata,
                near_duplicates=near_duplicates,
                regions=regions is not None,
            ),
            caller.request_id,
        ),
    )


def _box(text: bytes | None) -> Box | None:
    """Raises: InvalidInput unless it is JSON with just these four numbers."""
    if text is None:
        return None
    try:
        return validated(json_value(text), BoxIn).value()
    except InvalidInput as error:
        raise InvalidInput('box: JSON is allowed, such as {"x": 0, "y": 0, "width": 100, "height": 80}') from error


@router.post(
    "/collections/{collection}/subjects/{subject}/verify",
    response_model=VerificationOut,
    responses=_PROBLEMS,
    openapi_extra=takes_pictures("image"),
    dependencies=[_VERIFY],
)
async def verify(
    collection: str,
    subject: str,
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    threshold: ThresholdQuery = None,
    fmr: Annotated[float | None, Query(description="The false match rate to aim at")] = None,
) -> Response:
    """Whether the picture's largest face, or in a collection of pictures the picture, is this subject."""
    _check(threshold, fmr, "fmr")
    (image,) = await _pictures(request, edge, "image")
    return await read(
        edge,
        lambda: VerificationOut.of(
            edge.services.gallery.verify(caller, collection, subject, image, threshold=threshold, fmr=fmr),
            caller.request_id,
        ),
    )


@router.post(
    "/compare",
    response_model=ComparisonOut,
    responses=_PICTURE_PROBLEMS,
    openapi_extra=takes_pictures("image_a", "image_b"),
    dependencies=[_COMPARE],
)
async def compare(
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    threshold: ThresholdQuery = None,
    fmr: Annotated[float | None, Query(description="The false match rate to aim at")] = None,
) -> Response:
    """Whether the largest faces of two pictures are one person."""
    _check(threshold, fmr, "fmr")
    image_a, image_b = await _pictures(request, edge, "image_a", "image_b")
    return await read(
        edge,
        lambda: ComparisonOut.of(
            edge.services.gallery.compare(caller, image_a, image_b, threshold=threshold, fmr=fmr), caller.request_id
        ),
    )


@router.post(
    "/detect",
    response_model=DetectionOut,
    responses=_PICTURE_PROBLEMS,
    openapi_extra=takes_pictures("image"),
    dependencies=[_DETECT],
)
async def detect(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """The faces in a picture, largest first; none is an answer."""
    (image,) = await _pictures(request, edge, "image")
    return await read(
        edge,
        lambda: DetectionOut(
            faces=[FaceOut.of(face) for face in edge.services.gallery.detect(caller, image)],
            request_id=caller.request_id,
        ),
    )


async def _pictures(request: Request, edge: Edge, *names: str) -> list[bytes]:
    parts = await read_parts(request, Expected(dict.fromkeys(names, 1)), edge.services.settings.max_image_bytes)
    return [bytes(parts.named(name)[0].data) for name in names]


def _check(threshold: float | None, rate: float | None, name: str) -> None:
    """Refuse a wrong bar before the body is read."""
    if threshold is not None and rate is not None:
        raise InvalidInput(f"threshold and {name}: one of them is allowed, not both")
    if threshold is not None:
        inputs.similarity(threshold)
    if rate is not None:
        inputs.rate(rate, name)
