"""What the routes share: the services behind them, who asks, the right that a call needs, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import unquote_to_bytes

from fastapi import Depends
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import digest_of
from api.idempotency import Answer, Turns, key_of, once
from api.metrics import Metrics
from api.pool import Pool
from lookalike.answers import Caller
from lookalike.domain import Permission
from lookalike.errors import InvalidInput, PermissionDenied

if TYPE_CHECKING:
    from api.wiring import Services

M = TypeVar("M", bound=BaseModel)

METADATA = "metadata."


@dataclass(frozen=True, slots=True)
class Edge:
    """One app's services and the machinery around them. notes: each says what wants care though all works, or None."""

    services: Services
    pool: Pool
    metrics: Metrics
    turns: Turns
    notes: list[Callable[[], str | None]] = field(default_factory=list)


# Dependencies are coroutines, however little they do: FastAPI sends plain functions through a thread of their own.


async def _edge(request: Request) -> Edge:
    edge: Edge = request.app.state.edge
    return edge


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


EdgeDep = Annotated[Edge, Depends(_edge)]
CallerDep = Annotated[Caller, Depends(_caller)]

Refuse = Callable[["Services", Caller, Mapping[str, str]], object]


class Needs:
    """The right that a call needs, decided before its query is checked and its body is read.

    A caller who lacks it is refused by the use case itself, so that the refusal is audited like any other; it checks
    the right before anything else, so it is handed empty values. anywhere: holding it on some collection is enough
    here, and the use case decides which.
    """

    def __init__(self, permission: Permission, refuse: Refuse, *, anywhere: bool = False) -> None:
        self.permission = permission
        self.anywhere = anywhere
        self._refuse = refuse

    async def __call__(self, request: Request) -> None:
        caller = await _caller(request)
        if self._held(caller, request.path_params.get("collection")):
            _require_text(request.scope.get("raw_path", b""))
            await strict_query(request)
            return
        edge = await _edge(request)
        await edge.pool.run(self._refuse, edge.services, caller, request.path_params)
        raise PermissionDenied(f"this needs the permission {self.permission.value!r}, which the credential lacks")

    def _held(self, caller: Caller, collection: str | None) -> bool:
        if self.anywhere:
            return caller.principal.may_anywhere(self.permission)
        return caller.principal.may(self.permission, collection)


def _require_text(raw_path: bytes) -> None:
    """Raises: InvalidInput for a path that is not UTF-8, or two ids could be read as one."""
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        raise InvalidInput("a path is UTF-8 text, percent-encoded") from None


async def metadata_filter(request: Request) -> dict[str, str]:
    """The query's `metadata.KEY=VALUE`, each value compared as text."""
    found = {}
    for name, value in request.query_params.multi_items():
        if name.startswith(METADATA):
            if name == METADATA:
                raise InvalidInput("metadata.KEY=VALUE needs a key")
            found[name.removeprefix(METADATA)] = value
    return found


MetadataDep = Annotated[dict[str, str], Depends(metadata_filter)]


async def strict_query(request: Request) -> None:
    """Raises: InvalidInput for a parameter that the call does not know, or that is given twice."""
    names = [name for name, _ in request.query_params.multi_items()]
    if not names:
        return
    route = request.scope["route"]
    if not isinstance(route, APIRoute):
        return
    known = sorted(field.alias for field in route.dependant.query_params)
    filtered = any(d.call is metadata_filter for d in route.dependant.dependencies)
    if any(name not in known and not (filtered and name.startswith(METADATA)) for name in names):
        allowed = ", ".join([*known, *(["metadata.KEY"] if filtered else [])]) or "none"
        raise InvalidInput(f"a query parameter is unknown here; allowed: {allowed}")
    if len(set(names)) != len(names):
        raise InvalidInput("a query parameter is given twice")


def answered(status: int, model: BaseModel | None) -> Answer:
    """A model on its way out."""
    return Answer(status, None if model is None else model.model_dump_json())


def respond(answer: Answer) -> Response:
    """The HTTP answer."""
    headers = {"idempotency-replayed": "true"} if answer.replayed else None
    if answer.body is None:
        return Response(status_code=answer.status, headers=headers)
    return Response(answer.body, answer.status, headers, media_type="application/json")


async def write(
    request: Request, edge: Edge, caller: Caller, body: BaseModel | None, work: Callable[[], Answer]
) -> Response:
    """Do a write once for its idempotency key. body: what was sent, as far as it decides what is done."""
    key = key_of(request, caller)
    return respond(await once(edge.pool, edge.services.answers, edge.turns, key, digest_of(body), work))


async def read(edge: Edge, work: Callable[[], BaseModel]) -> Response:
    """Do a read and answer 200."""
    return respond(await edge.pool.run(lambda: answered(200, work())))


# ------------------------------------------------------------------------------------ what OpenAPI is told


def problems(*statuses: int) -> dict[int | str, dict[str, object]]:
    """The refusals that a call documents, besides those that every call has."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": _MEANINGS[status], "content": content}
        for status in sorted({*statuses, 401, 403, 422, 429, 503})
    }


_MEANINGS = {
    401: "No valid credential",
    403: "The credential does not allow this",
    404: "Not found",
    408: "The body came too slowly",
    409: "Conflict",
    413: "A limit on size or number is exceeded",
    415: "Not a picture or body that can be read",
    422: "A value that is not allowed",
    429: "Too many requests; ask again after Retry-After",
    503: "Busy; ask again after Retry-After",
    507: "The disk is full",
}


def takes_json(model: type[BaseModel]) -> dict[str, object]:
    """OpenAPI of a JSON body."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def takes_pictures(*names: str, many: int | None = None, texts: Mapping[str, str] | None = None) -> dict[str, object]:
    """OpenAPI of a multipart body. many: the greatest number of files in the field; texts: name and meaning."""
    file: dict[str, object] = {"type": "string", "format": "binary", "contentMediaType": "image/*"}
    shape = file if many is None else {"type": "array", "items": file, "minItems": 1, "maxItems": many}
    properties: dict[str, object] = dict.fromkeys(names, shape)
    properties.update({name: {"type": "string", "description": text} for name, text in (texts or {}).items()})
    schema = {"type": "object", "required": list(names), "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
