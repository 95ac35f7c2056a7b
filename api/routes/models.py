"""Models: those at hand, and bundles that are imported, activated, rolled back and removed."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import Expected, read_json, read_parts
from api.edge import (
    CallerDep,
    Edge,
    EdgeDep,
    Needs,
    answered,
    problems,
    read,
    respond,
    strict_query,
    takes_json,
    write,
)
from api.errors import RequestTooLarge
from api.idempotency import Answer, key_of, once
from api.schemas_models import ActivationOut, BundleOut, ModelList, ModelOut, NewActivation
from lookalike.answers import Caller
from lookalike.domain import Kind, Permission
from lookalike.errors import ImageTooLarge, ModelNotFound, PermissionDenied
from lookalike.settings import Settings

router = APIRouter(tags=["models"])

PATH = "/v1/models"
FIELD = "bundle"
MULTIPART_BYTES = 10_000
"""What a multipart body may have besides the bundle in it."""

_IMPORT = Depends(Needs(Permission.MANAGE_MODELS, lambda s, who, p: s.bundles.add(who, b"")))
_ACTIVATE = Depends(Needs(Permission.MANAGE_MODELS, lambda s, who, p: s.bundles.activate(who, "", s.models)))
_ROLL_BACK = Depends(Needs(Permission.MANAGE_MODELS, lambda s, who, p: s.bundles.roll_back(who, "", s.models)))
_REMOVE = Depends(Needs(Permission.MANAGE_MODELS, lambda s, who, p: s.bundles.remove(who, "")))
_TAKES_BUNDLE = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                    "additionalProperties": False,
                }
            }
        },
    }
}


def most_bytes(settings: Settings) -> int:
    """The largest body of an import."""
    return settings.max_bundle_bytes + MULTIPART_BYTES


@router.get(PATH, response_model=ModelList, responses=problems(), dependencies=[Depends(strict_query)])
async def models(edge: EdgeDep, caller: CallerDep) -> Response:
    """The models that a collection can be given."""
    require_read(caller)
    return await read(edge, lambda: ModelList(items=listed(edge)))


@router.post(
    PATH,
    status_code=201,
    response_model=ModelOut,
    responses=problems(408, 409, 413, 415, 507),
    openapi_extra=_TAKES_BUNDLE,
    dependencies=[_IMPORT],
)
async def import_model(request: Request, edge: EdgeDep, caller: CallerDep, accept_licence: bool = False) -> Response:
    """Import a signed bundle: it is verified and tried out, and collections can be given it from then on."""
    most = edge.services.settings.max_bundle_bytes
    try:
        parts = await read_parts(request, Expected({FIELD: 1}), most)
    except ImageTooLarge:
        raise RequestTooLarge(f"a bundle of at most {most} bytes is allowed") from None
    data = bytes(parts.named(FIELD)[0].data)

    def work() -> Answer:
        held = edge.services.bundles.add(caller, data, accept_licence=accept_licence)
        return answered(201, _shown(edge, held.model))

    key = key_of(request, caller)
    return respond(await once(edge.pool, edge.services.answers, edge.turns, key, parts.digest(), work))


@router.get(f"{PATH}/{{model}}", response_model=ModelOut, responses=problems(404), dependencies=[Depends(strict_query)])
async def read_model(model: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """One model; a bundle by its full name, or by its manifest's where only one has that."""
    require_read(caller)
    return await read(edge, lambda: _shown(edge, model))


@router.delete(f"{PATH}/{{model}}", status_code=204, responses=problems(404, 409, 507), dependencies=[_REMOVE])
async def remove(model: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Forget a bundle that no collection uses, and delete its file."""

    def work() -> Answer:
        edge.services.bundles.remove(caller, model)
        return answered(204, None)

    return await write(request, edge, caller, None, work)


@router.post(
    f"{PATH}/{{model}}/activate",
    response_model=ActivationOut,
    responses=problems(404, 409, 507),
    openapi_extra=takes_json(NewActivation),
    dependencies=[_ACTIVATE],
)
async def activate(model: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Give new collections of its kind this model; the answer names the collections that use another one."""
    body = await read_json(request, NewActivation)

    def work() -> Answer:
        services = edge.services
        found = services.bundles.activate(caller, model, services.models, accept_licence=body.accept_licence)
        return answered(200, ActivationOut.of(found))

    return await write(request, edge, caller, body, work)


@router.post(
    f"{PATH}/{{model}}/rollback",
    response_model=ActivationOut,
    responses=problems(404, 409, 507),
    dependencies=[_ROLL_BACK],
)
async def roll_back(model: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Give new collections what they got before this model was activated."""

    def work() -> Answer:
        services = edge.services
        return answered(200, ActivationOut.of(services.bundles.roll_back(caller, model, services.models)))

    return await write(request, edge, caller, None, work)


def require_read(caller: Caller) -> None:
    """Raises: PermissionDenied unless the caller may read somewhere."""
    if not caller.principal.may_anywhere(Permission.READ):
        raise PermissionDenied("this needs the permission 'read', which the credential lacks")


def listed(edge: Edge) -> list[ModelOut]:
    """Every model at hand, those of faces first."""
    models, shelf = edge.services.models, edge.services.bundles.shelf()
    found = []
    for kind in Kind:
        default = models.default_name(kind)
        for name in models.names(kind):
            held = shelf.get(name)
            bundle = BundleOut.of(held) if held is not None else None
            found.append(ModelOut(name=name, kind=kind, default=name == default, bundle=bundle))
    return found


def _shown(edge: Edge, name: str) -> ModelOut:
    """Raises: ModelNotFound."""
    there = listed(edge)
    full = name if any(found.name == name for found in there) else edge.services.bundles.shelf().find(name).model
    for found in there:
        if found.name == full:
            return found
    raise ModelNotFound(f"there is no model {name!r}")
