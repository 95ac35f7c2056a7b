"""Who is in a picture, and what is: the answer as a piece of a page, beside the picture that stays in the browser."""

from __future__ import annotations

import math

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import Expected, json_value, validated
from api.console.pages import one_in, page, pictures_of, router, words_of
from api.console.texts import Words
from api.edge import CallerDep, EdgeDep, Needs
from api.schemas import BoxIn
from lookalike.domain import Box, Permission
from lookalike.errors import InvalidInput

pages = router()

CANDIDATES = 5

_IDENTIFY = Depends(Needs(Permission.IDENTIFY, lambda s, who, p: s.gallery.identify(who, p["collection"], b"")))
_SEARCH = Depends(Needs(Permission.IDENTIFY, lambda s, who, p: s.gallery.search(who, p["collection"], b"")))


@pages.get("/console/collections/{collection}/identify", dependencies=[_IDENTIFY])
async def ask_for_faces(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """The page to identify people on."""
    info = await edge.pool.run(edge.services.gallery.collection, caller, collection)
    return page(request, "identify.html", c=info.collection, info=info)


@pages.post("/console/collections/{collection}/identify", dependencies=[_IDENTIFY])
async def identify(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Who is in the picture; whoever is not enrolled is said to be unknown."""
    parts = await pictures_of(request, edge, Expected({"image": 1}))
    image, gallery = bytes(parts.named("image")[0].data), edge.services.gallery
    found = await edge.pool.run(lambda: gallery.identify(caller, collection, image, limit=CANDIDATES, hold=True))
    if found.held:
        return page(request, "pieces/held.html", 200, held=found.held)
    words = words_of(request)
    return page(
        request, "pieces/identified.html", 200, found=found, collection=collection, rate=lambda r: in_words(words, r)
    )


@pages.get("/console/collections/{collection}/search", dependencies=[_SEARCH])
async def ask_for_things(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """The page to search by a picture on."""
    info = await edge.pool.run(edge.services.gallery.collection, caller, collection)
    return page(request, "search.html", c=info.collection, info=info)


@pages.post("/console/collections/{collection}/search", dependencies=[_SEARCH])
async def search(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """What is most like the picture, or what is in the box that was drawn on it."""
    parts = await pictures_of(request, edge, Expected({"image": 1}, ("box",)))
    image, box = bytes(parts.named("image")[0].data), _box(parts.text("box"))
    gallery = edge.services.gallery
    found = await edge.pool.run(lambda: gallery.search(caller, collection, image, box=box, limit=12))
    words = words_of(request)
    return page(
        request, "pieces/searched.html", 200, found=found, collection=collection, rate=lambda r: in_words(words, r)
    )


def _box(text: bytes | None) -> Box | None:
    """Raises: InvalidInput."""
    if text is None:
        return None
    try:
        return validated(json_value(text), BoxIn).value()
    except InvalidInput as error:
        raise InvalidInput("the box that was drawn cannot be read: draw it again") from error


def in_words(words: Words, rate: float | None) -> str:
    """How often a stranger scores as high, said so that one can act on it."""
    if rate is None or math.isnan(rate):
        return words("rate.unknown")
    if rate >= 0.3:
        return words("rate.often", percent=f"{100 * rate:.0f}\u202f%")
    if rate < 1e-6:
        return words("rate.hardly_ever")
    return words("rate.one_in", many=one_in(rate))
