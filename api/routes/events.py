"""Events: listened to as they happen, and sent to receivers that an administrator names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api.bodies import read_json
from api.credentials import presented
from api.edge import CallerDep, Edge, EdgeDep, Needs, answered, problems, read, respond, takes_json, write
from api.event_streams import EventStreams
from api.idempotency import Answer
from api.peer_certificates import PEER
from api.schemas_events import (
    CreatedWebhook,
    EventOut,
    NewWebhook,
    WebhookChange,
    WebhookList,
    WebhookOut,
    WebhookReplay,
    WebhookTried,
)
from api.webhook_sender import id_of
from lookalike.answers import Caller
from lookalike.domain import Permission, Principal
from lookalike.errors import InvalidInput, PermissionDenied, Unauthenticated
from lookalike.events import Event, EventFilter, kinds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.wiring import Services

router = APIRouter(prefix="/v1", tags=["events"])

_MOST = 10**15


def _refuse_listening(services: Services, caller: Caller, _: Mapping[str, str]) -> object:
    return services.feed.open(caller, None, (), names=False)


def _refuse_managing(services: Services, caller: Caller, _: Mapping[str, str]) -> object:
    return services.webhooks.list(caller)


_LISTENS = Depends(Needs(Permission.READ_EVENTS, _refuse_listening, anywhere=True))
_MANAGES = Depends(Needs(Permission.MANAGE_WEBHOOKS, _refuse_managing, anywhere=True))
_STREAM: dict[int | str, dict[str, object]] = {
    200: {"description": "Events as they happen, each as EventOut", "content": {"text/event-stream": {}}}
}


@router.get("/events", responses={**problems(404), **_STREAM}, response_class=Response, dependencies=[_LISTENS])
async def listen(
    request: Request,
    edge: EdgeDep,
    caller: CallerDep,
    collection: Annotated[str | None, Query(max_length=256)] = None,
    event: Annotated[str | None, Query(max_length=64, description="match, unknown, enrolment, erasure; commas")] = None,
    names: Annotated[bool, Query(description="Tell subjects' ids too")] = False,
    after: Annotated[int | None, Query(ge=0, le=_MOST, description="Events after this number; from now on")] = None,
    once: Annotated[bool, Query(description="End with the first events, or after 25 s without any")] = False,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Events as they happen, as server-sent events. Last-Event-ID, or `after`, goes on where one was."""
    services, streams = edge.services, _streams(request)
    streams.admit()
    kinds = kinds_of(event.split(",")) if event else frozenset()
    wanted = await edge.pool.run(services.feed.open, caller, collection, kinds, names)
    begin = after if last_event_id is None else _number(last_event_id)
    if begin is None:
        begin = await edge.pool.run(services.feed.last_seq)
    deployment = services.deployment

    async def following(seq: int) -> tuple[list[tuple[str, Event]], int]:
        found, reached = await edge.pool.look_up(services.feed.after, seq, wanted, lambda _: names)
        return [(id_of(each.seq, deployment), each) for each in found], reached

    lines = streams.lines(begin, following, lambda: _still(request, edge, caller, wanted, names), once)
    return StreamingResponse(lines, media_type="text/event-stream", headers={"cache-control": "no-store"})


def _streams(request: Request) -> EventStreams:
    found: EventStreams = request.app.state.streams
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise InvalidInput("Last-Event-ID: only one that this stream gave is allowed")
    return int(text)


async def _still(request: Request, edge: Edge, caller: Caller, wanted: EventFilter, names: bool) -> bool:
    """Whether the credential that opened the stream still has the rights that it had then."""
    try:
        principal = await _again(request, edge, caller)
        for name in (None,) if wanted.collections is None else wanted.collections:
            principal.require(Permission.READ_EVENTS, name)
            if names:
                principal.require(Permission.READ, name)
    except (Unauthenticated, PermissionDenied):
        return False
    return True


async def _again(request: Request, edge: Edge, caller: Caller) -> Principal:
    """Whoever the key, the token or the certificate stands for at this moment. Raises: Unauthenticated."""
    identities, pool = edge.services.identities, edge.pool
    certificate = request.scope["state"].get(PEER)
    if certificate is not None:  # one that was revoked opens nothing, whatever key is sent with it
        await pool.look_up(identities.require_standing, certificate)
    secret = presented(request.scope["headers"])
    if secret is not None:
        return await pool.look_up(identities.authenticate, secret)
    if certificate is not None:
        return await pool.look_up(identities.of_certificate, certificate)
    return caller.principal


@router.post(
    "/webhooks",
    status_code=201,
    response_model=CreatedWebhook,
    responses=problems(404, 507),
    openapi_extra=takes_json(NewWebhook),
    dependencies=[_MANAGES],
)
async def create_webhook(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Have events sent to a receiver from now on. Idempotency-Key has no effect here: the secret is shown once."""
    body = await read_json(request, NewWebhook)

    def work() -> Answer:
        made = edge.services.webhooks.create(caller, body.url, body.collections, body.events, body.names)
        _, delivery = edge.services.webhooks.one(caller, made.id)
        return answered(201, CreatedWebhook.made(made, delivery.seq))

    return respond(await edge.pool.run(work))


@router.get("/webhooks", response_model=WebhookList, responses=problems(), dependencies=[_MANAGES])
async def list_webhooks(edge: EdgeDep, caller: CallerDep) -> Response:
    """The receivers that the caller manages, with how far each is."""

    def work() -> WebhookList:
        return WebhookList(items=[WebhookOut.of(*found) for found in edge.services.webhooks.list(caller)])

    return await read(edge, work)


@router.get("/webhooks/{webhook}", response_model=WebhookOut, responses=problems(404), dependencies=[_MANAGES])
async def read_webhook(webhook: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """One receiver."""
    return await read(edge, lambda: WebhookOut.of(*edge.services.webhooks.one(caller, webhook)))


@router.patch(
    "/webhooks/{webhook}",
    response_model=WebhookOut,
    responses=problems(404, 507),
    openapi_extra=takes_json(WebhookChange),
    dependencies=[_MANAGES],
)
async def change_webhook(webhook: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Pause it, or go on. What happens in a pause is sent after it."""
    body = await read_json(request, WebhookChange)

    def work() -> Answer:
        edge.services.webhooks.pause(caller, webhook, body.paused)
        return answered(200, WebhookOut.of(*edge.services.webhooks.one(caller, webhook)))

    return await write(request, edge, caller, body, work)


@router.delete("/webhooks/{webhook}", status_code=204, responses=problems(404, 507), dependencies=[_MANAGES])
async def delete_webhook(webhook: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Send it nothing any more."""

    def work() -> Answer:
        edge.services.webhooks.delete(caller, webhook)
        return answered(204, None)

    return await write(request, edge, caller, None, work)


@router.post(
    "/webhooks/{webhook}/replay",
    response_model=WebhookOut,
    responses=problems(404, 507),
    openapi_extra=takes_json(WebhookReplay),
    dependencies=[_MANAGES],
)
async def replay_webhook(webhook: str, request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """Send events again: all after a number, or from the first one that was given up."""
    body = await read_json(request, WebhookReplay)

    def work() -> Answer:
        edge.services.webhooks.replay(caller, webhook, body.after)
        return answered(200, WebhookOut.of(*edge.services.webhooks.one(caller, webhook)))

    return await write(request, edge, caller, body, work)


@router.post("/webhooks/{webhook}/test", response_model=WebhookTried, responses=problems(404), dependencies=[_MANAGES])
async def try_webhook(webhook: str, edge: EdgeDep, caller: CallerDep) -> Response:
    """Send it an event of type test at once, and say what it answered."""
    services = edge.services

    def work() -> WebhookTried:
        found = services.webhooks.to_test(caller, webhook)
        began = time.monotonic()
        event = Event(0, time.time(), "test", "", caller.principal.id, caller.request_id)
        id = f"{services.deployment[:16]}-test-{caller.request_id}"
        body = EventOut.of(event, id).model_copy(update={"collection": None}).model_dump_json().encode()
        taken = services.courier.send(found, id, body)
        took_ms = round(1000 * (time.monotonic() - began), 1)
        return WebhookTried(status=taken.status, error=taken.error, took_ms=took_ms)

    return await read(edge, work)
