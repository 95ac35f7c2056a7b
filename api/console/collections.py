"""Collections: make one, see how it is, change its settings, delete it with its name typed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from api.console.pages import form_of, go, page, router, url
from api.edge import CallerDep, EdgeDep, Needs
from api.schemas_collections import ReceiptOut
from lookalike.domain import Keep, Kind, Permission
from lookalike.errors import CollectionExists, InvalidInput

E = TypeVar("E", Kind, Keep)

pages = router()

_CREATE = Depends(
    Needs(Permission.MANAGE_COLLECTIONS, lambda s, who, _: s.gallery.create_collection(who, ""), anywhere=True)
)
_CHANGE = Depends(
    Needs(Permission.MANAGE_COLLECTIONS, lambda s, who, p: s.gallery.update_collection(who, p["collection"]))
)
_DELETE = Depends(
    Needs(Permission.DELETE_COLLECTIONS, lambda s, who, p: s.gallery.delete_collection(who, p["collection"]))
)


@pages.get("/console/new-collection", dependencies=[_CREATE])
async def ask_for_new(request: Request) -> Response:
    """The form for a new collection."""
    return page(request, "new_collection.html", sent={}, wrong=None)


@pages.post("/console/new-collection", dependencies=[_CREATE])
async def create(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Make a collection; what was typed comes back with what is wrong with it."""
    form = form_of(request)
    try:
        name, kind = form.get("name", "").strip(), _one_of(Kind, form, "kind", Kind.FACE)
        keep, rate = _one_of(Keep, form, "keep", Keep.CROP), rate_of(form, "target_fpir")
        retention = _days(form, "retention_days")
        unknown = _days(form, "keep_unknown_days") if kind is Kind.FACE else None
        info = await edge.pool.run(
            lambda: edge.services.gallery.create_collection(
                caller,
                name,
                kind=kind,
                keep=keep,
                target_fpir=rate,
                retention_days=retention,
                keep_unknown_days=unknown,
            )
        )
    except (InvalidInput, CollectionExists) as error:
        return page(request, "new_collection.html", 422, sent=form, wrong=str(error))
    return go(url("collections", info.collection.name))


@pages.get("/console/collections/{collection}")
async def show(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """How a collection is: what is in it, how it decides, how it is searched."""
    info = await edge.pool.run(edge.services.gallery.collection, caller, collection)
    return page(request, "collection.html", info=info, c=info.collection)


@pages.get("/console/collections/{collection}/settings")
async def show_settings(
    collection: str, request: Request, edge: EdgeDep, caller: CallerDep, saved: bool = False
) -> Response:
    """What of a collection can be changed, and its deletion, as far as the reader may."""
    info = await edge.pool.run(edge.services.gallery.collection, caller, collection)
    return page(request, "settings.html", info=info, c=info.collection, saved=saved, wrong=None)


@pages.post("/console/collections/{collection}/settings", dependencies=[_CHANGE])
async def change(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Change what is kept and for how long."""
    form, gallery = form_of(request), edge.services.gallery
    changes: dict[str, object] = {
        "keep": _one_of(Keep, form, "keep", Keep.CROP),
        "retention_days": _days(form, "retention_days"),
    }
    if "keep_unknown_days" in form:
        changes["keep_unknown_days"] = _days(form, "keep_unknown_days")
    await edge.pool.run(lambda: gallery.update_collection(caller, collection, **changes))
    return go(url("collections", collection, "settings", saved="true"))


@pages.post("/console/collections/{collection}/delete", dependencies=[_DELETE])
async def delete(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Delete a collection whose name was typed, and show the receipt."""
    require_typed(form_of(request), collection)
    receipt = await edge.pool.run(edge.services.gallery.delete_collection, caller, collection)
    return page(request, "receipt.html", receipt=ReceiptOut.of(receipt), name=collection, what="collection", back="/")


def require_typed(form: Mapping[str, str], name: str) -> None:
    """Raises: InvalidInput unless the name was typed as it is."""
    if form.get("typed", "").strip() != name.strip():
        raise InvalidInput("the name was not typed as it is, so nothing was deleted")


def rate_of(form: Mapping[str, str], field: str) -> float:
    """A rate as a form has it. Raises: InvalidInput."""
    try:
        return float(form[field])
    except (KeyError, ValueError):
        raise InvalidInput(f"{field}: a rate between 0 and 1 is allowed, such as 0.01") from None


def _days(form: Mapping[str, str], field: str) -> int | None:
    text = form.get(field, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise InvalidInput(f"{field}: a whole number of days is allowed, or nothing")
    return int(text)


def _one_of(choices: type[E], form: Mapping[str, str], field: str, otherwise: E) -> E:
    try:
        return choices(form.get(field, otherwise))
    except ValueError:
        raise InvalidInput(f"{field}: one of {', '.join(choices)} is allowed") from None
