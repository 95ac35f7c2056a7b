"""The threshold page: what scores strangers and known people reach here, and what each false-alarm rate means."""

from __future__ import annotations

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from api.console.collections import rate_of
from api.console.pages import form_of, go, number, one_in, page, percent, router, url, words_of
from api.console.plot import draw
from api.console.texts import Words
from api.edge import CallerDep, EdgeDep, Needs
from lookalike.domain import Permission
from lookalike.errors import NotCalibrated
from lookalike.gallery_scores import ENOUGH_SUBJECTS, Choice, GalleryScores

pages = router()

_PAGE = "/console/collections/{collection}/threshold"

_SEE = Depends(Needs(Permission.MANAGE_COLLECTIONS, lambda s, who, p: s.gallery.scores.of(who, p["collection"])))
_CHANGE = Depends(
    Needs(Permission.MANAGE_COLLECTIONS, lambda s, who, p: s.gallery.update_collection(who, p["collection"]))
)
_CALIBRATE = Depends(Needs(Permission.MANAGE_COLLECTIONS, lambda s, who, p: s.gallery.calibrate(who, p["collection"])))


@pages.get(_PAGE, dependencies=[_SEE])
async def show(collection: str, request: Request, edge: EdgeDep, caller: CallerDep, saved: bool = False) -> Response:
    """The scores as a plot, and the rates to choose from."""
    gallery = edge.services.gallery
    info = await edge.pool.run(gallery.collection, caller, collection)
    values = {"info": info, "c": info.collection, "saved": saved}
    try:
        scores = await edge.pool.run(gallery.scores.of, caller, collection)
    except NotCalibrated:
        return page(request, "threshold.html", 200, **values, scores=None, plot=None, choices=())
    choices = [told(words_of(request), scores, choice) for choice in scores.choices]
    return page(request, "threshold.html", 200, **values, scores=scores, plot=draw(scores), choices=choices)


@pages.post(_PAGE, dependencies=[_CHANGE])
async def save(collection: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Make a false-alarm rate the collection's own."""
    rate, gallery = rate_of(form_of(request), "rate"), edge.services.gallery
    await edge.pool.run(lambda: gallery.update_collection(caller, collection, target_fpir=rate))
    return go(url("collections", collection, "threshold", saved="true"))


@pages.post("/console/collections/{collection}/calibrate", dependencies=[_CALIBRATE])
async def calibrate(collection: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """Learn from the collection's own pairs, as a job."""

    def work() -> None:
        where = edge.services.gallery.collection(caller, collection).collection
        edge.services.jobs.submit("calibrate", caller.principal, (where.name, where.id))

    await edge.pool.run(work)
    return go(url("jobs"))


def told(words: Words, scores: GalleryScores, choice: Choice) -> dict[str, object]:
    """A choice in words, for the page and for the script that moves the line."""
    bar = choice.threshold
    if choice.misses is None:
        misses = words("threshold.misses_unknown", needed=ENOUGH_SUBJECTS, there=scores.subjects)
        short = words("threshold.unknown")
    else:
        pictures, short = int(scores.own.sum()), percent(choice.misses)
        misses = words("threshold.misses", share=short, pictures=number(pictures), subjects=number(scores.subjects))
    return {
        "rate": choice.rate,
        "many": one_in(choice.rate),
        "similarity": bar.similarity,
        "alarms": words("threshold.alarms", many=one_in(choice.rate)),
        "bar": words("threshold.bar", similarity=f"{bar.similarity:.3f}", n=scores.size, size=number(scores.size)),
        "misses": misses,
        "missed": short,
        "source": words(f"threshold.source.{bar.source}"),
        "interval": ""
        if bar.interval is None
        else words("threshold.interval", rare=one_in(bar.interval[0]), often=one_in(bar.interval[1])),
    }
