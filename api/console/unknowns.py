"""Unknown faces: who came again and again and matches nobody, to be named, dismissed or erased."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import form_of, go, page, router, url
from api.edge import CallerDep, EdgeDep, Needs
from lookalike.domain import Permission
from lookalike.unknowns import expires_at

pages = router()

PAGE = 24
BASE = "/console/collections/{collection}/unknowns"

_ENROL = Depends(Needs(Permission.ENROL, lambda s, who, p: s.gallery.unknowns.enrol(who, p["collection"], "", "")))
_DISMISS = Depends(Needs(Permission.ENROL, lambda s, who, p: s.gallery.unknowns.dismiss(who, p["collection"], "")))
_ERASE = Depends(Needs(Permission.ERASE, lambda s, who, p: s.gallery.unknowns.erase(who, p["collection"], "")))


@pages.get(BASE)
async def list_unknowns(
    collection: str,
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    dismissed: bool = False,
) -> Response:
    """Those seen most often first, or those that were dismissed."""
    gallery = edge.services.gallery
    where, found = await edge.pool.run(
        lambda: gallery.unknowns.page(caller, collection, PAGE, cursor, hidden=dismissed)
    )
    rows = [(row, expires_at(where, row)) for row in found.items]
    return page(request, "unknowns.html", 200, c=where, rows=rows, next_cursor=found.next_cursor, dismissed=dismissed)


@pages.get(BASE + "/{unknown}/faces/{face}/crop")
async def read_crop(collection: str, unknown: str, face: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """A kept face, as JPEG."""
    crop = await edge.pool.run(edge.services.gallery.unknowns.crop, caller, collection, unknown, face)
    return Response(crop, media_type="image/jpeg")


@pages.post(BASE + "/{unknown}/enrol", dependencies=[_ENROL])
async def enrol(collection: str, unknown: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Give somebody unknown a name: the kept faces become samples of a subject, old or new."""
    name = form_of(request).get("subject", "").strip()
    subject, _ = await edge.pool.run(edge.services.gallery.unknowns.enrol, caller, collection, unknown, name)
    return go(url("collections", collection, "subjects", subject.id))


@pages.post(BASE + "/{unknown}/dismiss", dependencies=[_DISMISS])
async def dismiss(collection: str, unknown: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """Show somebody no more."""
    await edge.pool.run(edge.services.gallery.unknowns.dismiss, caller, collection, unknown)
    return go(url("collections", collection, "unknowns"))


@pages.post(BASE + "/{unknown}/erase", dependencies=[_ERASE])
async def erase(collection: str, unknown: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """Forget somebody altogether."""
    await edge.pool.run(edge.services.gallery.unknowns.erase, caller, collection, unknown)
    return go(url("collections", collection, "unknowns"))
