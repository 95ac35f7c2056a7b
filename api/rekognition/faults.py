"""The service's refusals under the names that AWS's SDKs know, from one table of error codes.

A layer outside all others rewrites the answers to Rekognition's calls, whichever layer refuses them: `__type` and
`message` for a problem of RFC 9457, the same request id under AWS's header. The statuses are AWS's as well: its JSON
services answer 400 to whatever the caller can mend, and SDKs try ThrottlingException and a 500 again by themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import FAULTS, PROBLEM
from api.rekognition.signed import is_call

JSON_1_1 = "application/x-amz-json-1.1"

_INVALID, _INTERNAL = "InvalidParameterException", "InternalServerError"

TYPES: Mapping[str, str] = {
    "unsupported_image": "InvalidImageFormatException",
    "image_too_large": "ImageTooLargeException",
    "request_too_large": "ImageTooLargeException",
    "invalid_s3_object": "InvalidS3ObjectException",
    "invalid_page_token": "InvalidPaginationTokenException",
    "not_deserialised": "SerializationException",
    "unknown_operation": "UnknownOperationException",
    "limit_exceeded": "ServiceQuotaExceededException",
    "permission_denied": "AccessDeniedException",
    "unauthenticated": "MissingAuthenticationTokenException",
    "incomplete_signature": "IncompleteSignatureException",
    "signature_expired": "InvalidSignatureException",
    "signature_mismatch": "InvalidSignatureException",
    "unknown_access_key": "UnrecognizedClientException",
    "collection_not_found": "ResourceNotFoundException",
    "subject_not_found": "ResourceNotFoundException",
    "collection_exists": "ResourceAlreadyExistsException",
    "conflict": "ConflictException",
    "legal_hold": "ConflictException",
    "generation_changed": "ConflictException",
    "idempotency_mismatch": "IdempotentParameterMismatchException",
    "overloaded": "ThrottlingException",
    "too_many_requests": "ThrottlingException",
    "request_timeout": "RequestTimeoutException",
}
"""What is not named here is invalid where the caller can mend it, else the service's own fault."""


def type_of(code: str) -> str:
    """AWS's name for an error's code."""
    own = code in FAULTS and FAULTS[code].status < 500
    return TYPES.get(code, _INVALID if own else _INTERNAL)


class RekognitionAnswers:
    """ASGI middleware, outside all others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, _Rewritten(send).send if is_call(scope) else send)


class _Rewritten:
    """An answer's way out. A problem's start is held until its body tells what it is."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            told = (b"x-amzn-requestid", headers.get(b"x-request-id", b""))
            message = {**message, "headers": [*message["headers"], told]}
            if headers.get(b"content-type", b"").startswith(PROBLEM.encode()):
                self._held = message
                return
        elif self._held is not None:
            start, message = _fault(self._held, message)
            self._held = None
            await self._send(start)
        await self._send(message)


_REPLACED = (b"content-type", b"content-length", b"www-authenticate")


def _fault(start: Message, body: Message) -> tuple[Message, Message]:
    """A problem's start and body as AWS's."""
    problem = json.loads(body["body"])
    name = type_of(problem["code"])
    text = json.dumps({"__type": name, "message": problem["detail"]}).encode()
    headers = [
        *((held, value) for held, value in start["headers"] if held not in _REPLACED),
        (b"content-type", JSON_1_1.encode()),
        (b"content-length", str(len(text)).encode()),
        (b"x-amzn-errortype", name.encode()),
    ]
    return {**start, "status": 500 if name == _INTERNAL else 400, "headers": headers}, {**body, "body": text}
