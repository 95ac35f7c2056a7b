"""Identifications that wait for two people: the face that was seen beside the candidates, to confirm one or reject."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from api.console.identification import in_words
from api.console.pages import form_of, go, page, router, url, words_of
from api.edge import CallerDep, EdgeDep, Needs
from lookalike.answers import Caller
from lookalike.domain import Collection, Permission
from lookalike.errors import NotFound
from lookalike.four_eyes import Pending, PendingState
from lookalike.gallery import Gallery
from lookalike.pending import Reviewed

pages = router()

SHOWN = 12
"""Cards on a page: each opens the records of its candidates."""

BASE = "/console/collections/{collection}/pending"

_LIST = Depends(Needs(Permission.CONFIRM, lambda s, who, p: s.gallery.pending.page(who, p["collection"])))
_FACE = Depends(Needs(Permission.CONFIRM, lambda s, who, p: s.gallery.pending.face(who, p["collection"], "")))
_CONFIRM = Depends(Needs(Permission.CONFIRM, lambda s, who, p: s.gallery.pending.confirm(who, p["collection"], "", "")))
_REJECT = Depends(Needs(Permission.CONFIRM, lambda s, who, p: s.gallery.pending.reject(who, p["collection"], "")))


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is before the reader. left: how many wait besides; own: that they searched or decided by themselves."""

    collection: Collection
    cards: list[tuple[Pending, list[Reviewed]]]
    left: int
    own: int


@pages.get(BASE, dependencies=[_LIST])
async def list_pending(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """What waits for the reader, the oldest first."""
    found = await edge.pool.run(_waiting, edge.services.gallery, caller, collection)
    words = words_of(request)
    return page(request, "pending.html", 200, c=found.collection, found=found, rate=lambda rate: in_words(words, rate))


def _waiting(gallery: Gallery, caller: Caller, name: str) -> Waiting:
    rows = [row for row in reversed(gallery.pending.page(caller, name)) if row.state is PendingState.PENDING]
    mine = [row for row in rows if not row.done_by(caller.principal.id)]
    cards = []
    for row in mine[:SHOWN]:
        try:
            cards.append(gallery.pending.review(caller, name, row.id))
        except NotFound:  # decided, erased or past its time a moment ago
            continue
    where = gallery.collection(caller, name).collection
    return Waiting(where, cards, len(mine) - len(cards), len(rows) - len(mine))


@pages.get(BASE + "/{pending}/face", dependencies=[_FACE])
async def read_face(collection: str, pending: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The face that was seen, as JPEG."""
    found = await edge.pool.run(edge.services.gallery.pending.face, caller, collection, pending)
    return Response(found, media_type="image/jpeg")


@pages.get(BASE + "/{pending}/candidates/{subject}/face", dependencies=[_FACE])
async def read_candidate(collection: str, pending: str, subject: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The enrolled face of a candidate, as JPEG."""
    found = await edge.pool.run(edge.services.gallery.pending.candidate_face, caller, collection, pending, subject)
    return Response(found, media_type="image/jpeg")


@pages.post(BASE + "/{pending}/confirm", dependencies=[_CONFIRM])
async def confirm(collection: str, pending: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Say which candidate it is."""
    subject = form_of(request).get("subject", "")
    await edge.pool.run(edge.services.gallery.pending.confirm, caller, collection, pending, subject)
    return go(url("collections", collection, "pending"))


@pages.post(BASE + "/{pending}/reject", dependencies=[_REJECT])
async def reject(collection: str, pending: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """Say that it is none of them."""
    await edge.pool.run(edge.services.gallery.pending.reject, caller, collection, pending)
    return go(url("collections", collection, "pending"))
