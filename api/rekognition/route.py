"""POST /: Rekognition's one address, where a header names the operation and the body is JSON 1.1."""

from __future__ import annotations

import json

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import digest_of, json_value, validated
from api.edge import CallerDep, EdgeDep
from api.errors import NotDeserialised, UnknownOperation
from api.idempotency import Answer, once
from api.rekognition.asked import Asked
from api.rekognition.faults import JSON_1_1
from api.rekognition.operations import OPERATIONS, TARGET, Operation
from api.rekognition.schemas import Call, OnceOnly
from lookalike.errors import InvalidInput

router = APIRouter(tags=["compatibility"])


@router.post("/", include_in_schema=False)
async def call(request: Request, edge: EdgeDep, caller: CallerDep) -> Response:
    """One of Amazon Rekognition's operations, as AWS's SDKs ask for it."""
    target = request.headers.get("x-amz-target", "")
    operation = OPERATIONS.get(target.removeprefix(TARGET)) if target.startswith(TARGET) else None
    if operation is None:
        raise UnknownOperation(f"X-Amz-Target: one of {TARGET}{{{','.join(OPERATIONS)}}} is allowed")
    body = await request.body()
    sent = await edge.pool.run(_read, operation, body)
    asked = Asked(edge.services, caller, getattr(request.state, "region", "local"))
    token = sent.client_request_token if isinstance(sent, OnceOnly) else None
    key = None if token is None else json.dumps([caller.principal.id, target, token])
    answer = await once(
        edge.pool,
        edge.services.answers,
        edge.turns,
        key,
        b"" if key is None else digest_of(sent),
        lambda: Answer(200, json.dumps(operation.run(asked, sent))),
    )
    return Response(answer.body, 200, media_type=JSON_1_1)


def _read(operation: Operation, body: bytes) -> Call:
    """The input. Raises: NotDeserialised, InvalidInput naming the members."""
    try:
        value = json_value(body)
    except InvalidInput as error:
        raise NotDeserialised(str(error)) from None
    if not isinstance(value, dict):
        raise NotDeserialised("the body is a JSON object")
    return validated(value, operation.takes)
