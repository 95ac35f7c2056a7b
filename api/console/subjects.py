"""The enrolled: find them, see their crops, change what is known of them, erase them with a receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from api.console.collections import require_typed
from api.console.pages import form_of, go, page, router, url
from api.edge import CallerDep, EdgeDep, Needs
from api.schemas_collections import ReceiptOut
from lookalike.answers import Caller
from lookalike.domain import Consent, Permission
from lookalike.errors import Conflict, InvalidInput, SubjectNotFound
from lookalike.gallery import Gallery

pages = router()

PAGE = 50
BASE = "/console/collections/{collection}/subjects"
_SUBJECT = BASE + "/{subject}"

_PUT = Depends(
    Needs(Permission.ENROL, lambda s, who, p: s.gallery.put_subject(who, p["collection"], p["subject"], metadata={}))
)
_ERASE = Depends(Needs(Permission.ERASE, lambda s, who, p: s.gallery.erase_subject(who, p["collection"], p["subject"])))
_ERASE_SAMPLE = Depends(
    Needs(
        Permission.ERASE,
        lambda s, who, p: s.gallery.delete_sample(who, p["collection"], p["subject"], p["sample"]),
    )
)


@pages.get(BASE)
async def list_subjects(
    collection: str,
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    key: Annotated[str, Query(max_length=64)] = "",
    value: Annotated[str, Query(max_length=1024)] = "",
) -> Response:
    """A page of subjects, of all or of those whose metadata has a value."""
    gallery, wanted = edge.services.gallery, {key: value} if key else {}
    found = await edge.pool.run(gallery.list_subjects, caller, collection, PAGE, cursor, wanted)
    info = await edge.pool.run(gallery.collection, caller, collection)
    values = {"found": found, "c": info.collection, "info": info, "key": key, "value": value, "cursor": cursor}
    return page(request, "subjects.html", 200, **values, looked_for=None)


@pages.post("/console/collections/{collection}/find")
async def find_subject(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Go to the subject of an id; it is sent in a form, since it may be a name."""
    gallery, id = edge.services.gallery, form_of(request).get("id", "").strip()
    try:
        subject, _ = await edge.pool.run(gallery.subject, caller, collection, id)
    except SubjectNotFound:
        found = await edge.pool.run(gallery.list_subjects, caller, collection, PAGE, None, {})
        info = await edge.pool.run(gallery.collection, caller, collection)
        values = {"found": found, "c": info.collection, "info": info, "key": "", "value": "", "cursor": None}
        return page(request, "subjects.html", 404, **values, looked_for=id)
    return go(url("collections", collection, "subjects", subject.id))


@pages.get(_SUBJECT)
async def show_subject(
    collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep, saved: bool = False
) -> Response:
    """A subject with its samples and what is known of it."""
    gallery = edge.services.gallery
    found, samples = await edge.pool.run(gallery.subject, caller, collection, subject)
    info = await edge.pool.run(gallery.collection, caller, collection)
    lines = "\n".join(f"{key} = {value}" for key, value in found.metadata.items())
    return page(request, "subject.html", s=found, samples=samples, c=info.collection, saved=saved, metadata=lines)


@pages.post(_SUBJECT, dependencies=[_PUT])
async def change_subject(collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Replace what is known of a subject, unless somebody else did since the form was shown."""
    form = form_of(request)
    await edge.pool.run(_change, edge.services.gallery, caller, collection, subject, form)
    return go(url("collections", collection, "subjects", subject, saved="true"))


def _change(gallery: Gallery, caller: Caller, collection: str, id: str, form: Mapping[str, str]) -> None:
    before, _ = gallery.subject(caller, collection, id)
    if form.get("updated_at") != str(before.updated_at):
        raise Conflict("somebody else changed this meanwhile: load the page anew and look at what is there now")
    basis = form.get("basis", "").strip()
    consent = Consent(basis, form.get("reference", "").strip(), form.get("expires_at") or None) if basis else None
    gallery.put_subject(
        caller,
        collection,
        id,
        metadata=_pairs(form.get("metadata", "")),
        consent=consent,
        valid_from=form.get("valid_from") or None,
        valid_until=form.get("valid_until") or None,
    )


def _pairs(text: str) -> dict[str, str]:
    """Lines of KEY = VALUE. Raises: InvalidInput."""
    found: dict[str, str] = {}
    for line in filter(str.strip, text.split("\n")):
        key, sign, value = line.partition("=")
        if not sign or key.strip() in found:
            raise InvalidInput("metadata: one KEY = VALUE a line is allowed, each key once")
        found[key.strip()] = value.strip()
    return found


@pages.post(_SUBJECT + "/erase", dependencies=[_ERASE])
async def erase_subject(collection: str, subject: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Erase a subject whose id was typed, and show the receipt."""
    require_typed(form_of(request), subject)
    receipt = await edge.pool.run(edge.services.gallery.erase_subject, caller, collection, subject)
    back = url("collections", collection, "subjects")
    return page(request, "receipt.html", receipt=ReceiptOut.of(receipt), name=subject, what="subject", back=back)


@pages.post(_SUBJECT + "/samples/{sample}/delete", dependencies=[_ERASE_SAMPLE])
async def delete_sample(collection: str, subject: str, sample: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """Delete one sample; the subject stays."""
    await edge.pool.run(edge.services.gallery.delete_sample, caller, collection, subject, sample)
    return go(url("collections", collection, "subjects", subject))


@pages.get(_SUBJECT + "/samples/{sample}/crop")
async def read_crop(collection: str, subject: str, sample: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """The aligned face that was kept, as JPEG."""
    crop = await edge.pool.run(edge.services.gallery.crop, caller, collection, subject, sample)
    return Response(crop, media_type="image/jpeg")
