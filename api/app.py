"""Builds the HTTP application from services: layers, routes, error answers and its OpenAPI."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.telemetry import TelemetryConfig
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from api import (
    schemas,
    schemas_collections,
    schemas_drift,
    schemas_events,
    schemas_models,
    schemas_pending,
    schemas_principals,
    schemas_privacy,
    schemas_service,
    schemas_subjects,
    schemas_unknowns,
)
from api.compreface import recognition
from api.compreface import services as compreface
from api.compreface.faults import DIALECT as COMPREFACE
from api.credentials import Credentials
from api.dialects import Dialects
from api.edge import Edge
from api.errors import InvalidFields, answer_error, answer_http, answer_invalid, answer_invalid_fields
from api.event_streams import EventStreams
from api.idempotency import Turns
from api.limits import BodyLimits, Limits
from api.metrics import Metrics
from api.observe import Observe
from api.peer_certificates import PeerCertificates
from api.pool import Pool
from api.rekognition import route as rekognition
from api.rekognition.faults import DIALECT as REKOGNITION
from api.rekognition.schemas import MAX_BODY_BYTES
from api.rekognition.signed import SignedRequests
from api.routes import (
    audit,
    collections,
    drift,
    events,
    imports,
    jobs,
    keys,
    models,
    pending,
    pictures,
    principals,
    privacy,
    reindex,
    retention,
    rotation,
    service,
    subjects,
    unknowns,
)
from api.standing import Standing
from lookalike.domain import Principal
from lookalike.errors import LookalikeError
from lookalike.stages import Stage, stage

if TYPE_CHECKING:
    from api.wiring import Services
    from security.console_sessions import Session

HELD_REQUESTS = 4
"""Bodies of all requests in hand may fill the memory of this many largest ones."""

NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own would send paths and texts of errors, which hold names, to where the environment says."""

_ROUTERS = (
    collections,
    subjects,
    retention,
    privacy,
    pictures,
    pending,
    unknowns,
    imports,
    reindex,
    models,
    drift,
    jobs,
    keys,
    principals,
    rotation,
    audit,
    events,
    service,
    rekognition,
    recognition,
    compreface,
)


def create_app(services: Services, principal: Principal | None = None) -> FastAPI:
    """The application. principal: who every request is, without a credential, for use inside one process."""
    settings = services.settings
    pool = Pool(settings.workers, settings.max_queue)
    metrics = Metrics(
        lambda: pool.queue_depth, lambda: pool.running, lambda: services.drift_look.drifting, Standing(settings)
    )
    metrics.watch_audit(services.audit_keeper, lambda: services.refusals.total)
    metrics.add(services.figures)
    if services.traces is not None:
        metrics.add(services.traces)
    if services.decoders is not None:
        metrics.watch_decoders(services.decoders)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        pool.close()

    app = FastAPI(
        title="Lookalike",
        version=version("lookalike"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.state.edge = Edge(services, pool, metrics, Turns())
    app.state.streams = EventStreams()
    for module in _ROUTERS:
        # As they are: each router is complete, and so `app.routes` lists every route, which the access matrix reads.
        app.router.routes.extend(module.router.routes)
    if principal is None:
        _add_console(app)
    _answer_errors(app)
    _add_layers(app, services, pool, metrics, principal)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _add_console(app: FastAPI) -> None:
    """The pages for people. The templates are read only where there is somebody to see them."""
    from api.console import routes

    app.state.console = routes.read_look()
    for router in routes.ROUTERS:
        app.router.routes.extend(router.routes)


def _add_layers(app: FastAPI, services: Services, pool: Pool, metrics: Metrics, principal: Principal | None) -> None:
    """The last one added is the outermost."""
    settings = services.settings

    async def authenticate(secret: str) -> Principal:
        with stage(Stage.AUTHENTICATE):
            return await pool.look_up(services.identities.authenticate, secret)

    async def certified(der: bytes) -> Principal:
        with stage(Stage.AUTHENTICATE):
            return await pool.look_up(services.identities.of_certificate, der)

    async def resume(cookie: str) -> tuple[Session, Principal]:
        with stage(Stage.AUTHENTICATE):
            return await pool.look_up(services.sessions.resume, cookie)

    limits = BodyLimits(
        max_bytes=settings.max_request_bytes,
        max_held_bytes=max(settings.max_request_bytes, models.most_bytes(settings)) * HELD_REQUESTS,
        idle_timeout_s=settings.body_idle_timeout_s,
        min_bytes_per_s=settings.body_min_bytes_per_s,
        answer_timeout_s=settings.answer_timeout_s,
        most_bytes={models.PATH: models.most_bytes(settings), "/": min(MAX_BODY_BYTES, settings.max_request_bytes)},
        streamed=imports.STREAMED,
        max_streamed_bytes=imports.most_bytes(settings),
    )
    in_console = resume if principal is None else None
    asks = principal is None and settings.tls_client_ca is not None
    app.add_middleware(
        Credentials,
        authenticate=authenticate,
        principal=principal,
        refusals=services.refusals,
        resume=in_console,
        certified=certified if asks else None,
    )
    app.add_middleware(SignedRequests, signer=services.api_keys.signer, pool=pool, refusals=services.refusals)
    if asks:
        standing = services.identities.require_standing
        app.add_middleware(PeerCertificates, require_standing=standing, pool=pool, refusals=services.refusals)
    app.add_middleware(Limits, limits=limits, full=pool.sheds)
    app.add_middleware(Observe, metrics=metrics, traces=services.traces)
    app.add_middleware(Dialects, dialects=(REKOGNITION, COMPREFACE))


def _answer_errors(app: FastAPI) -> None:
    app.add_exception_handler(InvalidFields, answer_invalid_fields)  # type: ignore[arg-type]
    app.add_exception_handler(LookalikeError, answer_error)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, answer_http)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, answer_invalid)  # type: ignore[arg-type]


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's own, with the bodies that our routes read themselves and the way to authenticate."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, routes=app.routes)
        components = found.setdefault("components", {})
        components.setdefault("schemas", {}).update(_body_schemas())
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }
        found["security"] = [{"bearer": []}, {"key": []}]
        for open_path in ("/healthz", "/readyz"):
            found["paths"][open_path]["get"]["security"] = [{}]
        app.openapi_schema = found
    return app.openapi_schema


_SCHEMAS = (
    schemas,
    schemas_collections,
    schemas_drift,
    schemas_events,
    schemas_models,
    schemas_pending,
    schemas_principals,
    schemas_privacy,
    schemas_service,
    schemas_subjects,
    schemas_unknowns,
)
"""Where the bodies that clients send are described."""


def _body_schemas() -> dict[str, Any]:
    models = [
        model
        for module in _SCHEMAS
        for _, model in inspect.getmembers(module, inspect.isclass)
        if issubclass(model, schemas.Incoming) or model is schemas_service.Problem
    ]
    bodies: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in models]
    _, definitions = models_json_schema(bodies, ref_template="#/components/schemas/{model}")
    schemas_by_name: dict[str, Any] = definitions["$defs"]
    return schemas_by_name
