"""What the service tells of itself: liveness, readiness, figures, limits."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.edge import EdgeDep, answered, problems, respond
from api.metrics import CONTENT_TYPE
from api.schemas_service import Health, LimitsOut, Readiness

router = APIRouter(tags=["service"])


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """The process answers. Open to all."""
    return respond(answered(200, Health(status="ok")))


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness, "description": "Not ready"}})
async def readyz(request: Request, edge: EdgeDep) -> Response:
    """Whether it can do its work. Open to all; the reason, the runtime and the model only with a credential."""
    reason = await edge.pool.look_up(edge.services.gallery.readiness)
    status = "ready" if reason is None else "not_ready"
    known = getattr(request.state, "caller", None) is not None
    told = Readiness(
        status=status,
        reason=reason if known else None,
        runtime=edge.services.runtime if known else None,
        model=edge.services.gallery.model if known else None,
        notes=([note for tell in edge.notes if (note := tell()) is not None] or None) if known else None,
    )
    return respond(answered(200 if reason is None else 503, told))


@router.get(
    "/metrics",
    response_class=Response,
    responses={**problems(), 200: {"description": "Prometheus text", "content": {"text/plain": {}}}},
)
async def metrics(edge: EdgeDep) -> Response:
    """Figures for Prometheus, by route template. Any valid credential."""
    reason = await edge.pool.look_up(edge.services.gallery.readiness)
    text = await edge.pool.look_up(partial(edge.metrics.exposition, ready=reason is None))
    return Response(text, headers={"content-type": CONTENT_TYPE})


@router.get("/v1/limits", response_model=LimitsOut, responses=problems())
async def limits(edge: EdgeDep) -> Response:
    """The limits in force. Any valid credential."""
    settings = edge.services.settings
    named = {name: getattr(settings, name) for name in LimitsOut.model_fields if name != "formats"}
    return respond(answered(200, LimitsOut(**named, formats=["jpeg", "png", "webp"])))
