"""RFC 9457 answers from one table: an error's stable code decides its status and title.

Only this file knows status codes. `detail` is the error's own text, which by the rule in lookalike/errors.py names
no person; values from a request stand in an answer only where the caller sent them, and never in a log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lookalike.errors import AllRejected, Conflict, InvalidInput, LookalikeError

PROBLEM = "application/problem+json"


class MissingField(InvalidInput):
    """A multipart field that the call needs is not there."""

    code = "missing_field"


class UnsupportedMediaType(InvalidInput):
    """The body is of a kind that the call does not take."""

    code = "unsupported_media_type"


class InvalidS3Object(InvalidInput):
    """A picture is said to lie in a bucket, and none is read."""

    code = "invalid_s3_object"


class InvalidPageToken(InvalidInput):
    """A page's token was not given by this list."""

    code = "invalid_page_token"


class NotDeserialised(InvalidInput):
    """A body is not the JSON, or a text in it not the base64, that it ought to be."""

    code = "not_deserialised"


class UnknownOperation(InvalidInput):
    """A call by a name that is not known here."""

    code = "unknown_operation"


class RequestTooLarge(InvalidInput):
    """The body has more bytes than a request may."""

    code = "request_too_large"


class RequestTimeout(LookalikeError):
    """The body stood still, or came more slowly than is allowed."""

    code = "request_timeout"


class JobNotCancellable(Conflict):
    """The job has begun or ended."""

    code = "job_not_cancellable"


class TooManyRequests(LookalikeError):
    """More than one peer or one principal may send; retry_after_s: when to ask again."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Fault:
    """How an error's code is told over HTTP."""

    status: int
    title: str
    retry_after_s: int | None = None


FAULTS: Mapping[str, Fault] = {
    "invalid_input": Fault(422, "The request holds a value that is not allowed"),
    "unsupported_image": Fault(415, "Not a JPEG, PNG or WebP picture that can be read"),
    "image_too_large": Fault(413, "A picture is beyond a limit"),
    "image_too_small": Fault(422, "A picture is too small"),
    "undecodable_image": Fault(422, "A picture could not be decoded within its bounds"),
    "face_not_found": Fault(422, "No face was found"),
    "all_samples_rejected": Fault(422, "No picture could be enrolled"),
    "limit_exceeded": Fault(422, "More than may be kept"),
    "bad_archive": Fault(422, "The file of pictures cannot be read"),
    "model_not_available": Fault(422, "The model is not installed"),
    "wrong_kind": Fault(422, "The collection is of another kind"),
    "consent_required": Fault(422, "The collection enrols nobody without a valid consent"),
    "missing_field": Fault(422, "A field is missing"),
    "unsupported_media_type": Fault(415, "The body is of a kind that this call does not take"),
    "invalid_s3_object": Fault(422, "No buckets are read"),
    "invalid_page_token": Fault(422, "The page's token is not one of this list"),
    "not_deserialised": Fault(400, "The body cannot be read"),
    "unknown_operation": Fault(400, "There is no such operation here"),
    "request_too_large": Fault(413, "The request is too large"),
    "request_timeout": Fault(408, "The request came too slowly"),
    "bad_request": Fault(400, "The request cannot be understood"),
    "unauthenticated": Fault(401, "A valid credential is needed"),
    "incomplete_signature": Fault(401, "A complete signature is needed"),
    "signature_expired": Fault(401, "The signature's date is too far from now"),
    "signature_mismatch": Fault(401, "The signature does not match"),
    "unknown_access_key": Fault(401, "The access key is unknown, expired or revoked"),
    "permission_denied": Fault(403, "The credential does not allow this"),
    "not_found": Fault(404, "There is nothing here"),
    "method_not_allowed": Fault(405, "The method is not allowed here"),
    "collection_not_found": Fault(404, "There is no such collection"),
    "subject_not_found": Fault(404, "There is no such subject"),
    "sample_not_found": Fault(404, "There is no such sample"),
    "api_key_not_found": Fault(404, "There is no such API key"),
    "principal_not_found": Fault(404, "There is no such principal"),
    "job_not_found": Fault(404, "There is no such job"),
    "hold_not_found": Fault(404, "There is no such legal hold"),
    "pending_not_found": Fault(404, "There is no such identification that waits"),
    "four_eyes_required": Fault(409, "Two people confirm who it is"),
    "unknown_not_found": Fault(404, "There is no such unknown person"),
    "webhook_not_found": Fault(404, "There is no such webhook"),
    "model_not_found": Fault(404, "There is no such model"),
    "conflict": Fault(409, "The request conflicts with what is there"),
    "collection_exists": Fault(409, "The collection exists already"),
    "space_mismatch": Fault(409, "The collection belongs to another model"),
    "idempotency_mismatch": Fault(409, "The idempotency key was used with another body"),
    "not_calibratable": Fault(409, "There is too little to learn from"),
    "not_calibrated": Fault(409, "No rate can be promised here yet"),
    "key_moved": Fault(409, "A key was rotated meanwhile"),
    "generation_changed": Fault(409, "The collection's generations changed meanwhile"),
    "no_such_generation": Fault(409, "No such generation"),
    "licence_not_accepted": Fault(409, "The model's licence has not been accepted"),
    "model_in_use": Fault(409, "The model is in use"),
    "no_earlier_model": Fault(409, "There is nothing to roll back to"),
    "subject_exists": Fault(409, "There is a subject of that id already"),
    "sample_elsewhere": Fault(409, "The picture was moved to another subject"),
    "legal_hold": Fault(409, "A legal hold is on"),
    "needs_confirmation": Fault(409, "This is not done without a confirmation"),
    "job_not_cancellable": Fault(409, "The job can no longer be cancelled"),
    "rate_limited": Fault(429, "Too many requests", retry_after_s=1),
    "overloaded": Fault(503, "The service is busy", retry_after_s=1),
    "index_unavailable": Fault(503, "The index cannot be searched", retry_after_s=5),
    "identity_unavailable": Fault(503, "The identity provider cannot be asked", retry_after_s=2),
    "storage_unavailable": Fault(503, "The store cannot be reached", retry_after_s=5),
    "storage_full": Fault(507, "The disk is full"),
    "key_unavailable": Fault(503, "A key cannot be used", retry_after_s=30),
    "tampered_data": Fault(500, "Stored data failed its integrity check"),
    "unsafe": Fault(500, "The service refuses to go on"),
    "bad_settings": Fault(500, "The service is set up wrongly"),
    "data_too_new": Fault(500, "The data folder is of a newer version"),
    "wrong_recipient": Fault(422, "The file is sealed to another key"),
    "untrusted_sender": Fault(422, "The file is sealed by nobody who is trusted here"),
    "bad_backup": Fault(422, "The backup is refused"),
    "ledger_mismatch": Fault(503, "The erasure ledger does not fit the data folder", retry_after_s=30),
    "restore_unfinished": Fault(503, "The data folder holds half a restore", retry_after_s=30),
    "bad_bundle": Fault(422, "The model bundle is refused"),
    "untrusted_bundle": Fault(422, "The model bundle is signed by nobody who is trusted here"),
    "bad_model": Fault(500, "A model file is not the one that was pinned"),
    "error": Fault(500, "The service failed"),
    "internal_error": Fault(500, "The service failed"),
}

_STATUS_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large", 415: "unsupported_media_type"}


def problem(
    code: str,
    detail: str,
    request_id: str,
    *,
    extra: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer for a code: problem+json with type, title, status, detail, code and request_id."""
    fault = FAULTS[code]
    body: dict[str, object] = {
        "type": f"urn:lookalike:error:{code}",
        "title": fault.title,
        "status": fault.status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **(extra or {}),
    }
    sent = dict(headers or {})
    if fault.retry_after_s is not None:
        sent.setdefault("retry-after", str(fault.retry_after_s))
    if fault.status == 401:
        sent["www-authenticate"] = 'Bearer realm="lookalike"'
    return Response(json.dumps(body), status_code=fault.status, media_type=PROBLEM, headers=sent)


def problem_of(error: LookalikeError, request_id: str) -> Response:
    """The answer for one of our own errors; a server's fault says no more than its title."""
    code = error.code if error.code in FAULTS else "error"
    fault = FAULTS[code]
    detail = fault.title if fault.status == 500 else str(error) or fault.title
    extra: dict[str, object] = {}
    if isinstance(error, AllRejected):
        extra["rejected"] = [{"filename": name, "reasons": list(reasons)} for name, reasons in error.rejected]
    headers = {"retry-after": str(error.retry_after_s)} if isinstance(error, TooManyRequests) else None
    return problem(code, detail, request_id, extra=extra, headers=headers)


def request_id_of(request: Request) -> str:
    """The id under which this request is logged and audited."""
    return str(request.state.request_id)


async def answer_error(request: Request, error: LookalikeError) -> Response:
    """An error of ours, raised anywhere below the routes."""
    return problem_of(error, request_id_of(request))


async def answer_http(request: Request, error: HTTPException) -> Response:
    """What the framework refuses by itself: unknown paths, methods."""
    if error.status_code == 404 and b"%2f" in request.scope.get("raw_path", b"").lower():
        return problem("invalid_input", "an id in a path has no '/'", request_id_of(request))
    code = _STATUS_CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "internal_error")
    return problem(code, FAULTS[code].title, request_id_of(request), headers=error.headers)


async def answer_invalid(request: Request, error: RequestValidationError) -> Response:
    """A query or path parameter of the wrong shape."""
    return invalid_fields(error.errors(), request_id_of(request))


def field_errors(errors: Iterable[ErrorDetails]) -> list[dict[str, str]]:
    """Each wrong field and what is allowed, without the value that was sent."""
    found = []
    for item in errors:
        place = [str(part) for part in item["loc"] if part not in ("body", "query", "path")]
        found.append({"field": ".".join(place) or "body", "message": item["msg"]})
    return found


class InvalidFields(InvalidInput):
    """Fields of a body that are wrong, by name."""

    def __init__(self, fields: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{item['field']}: {item['message']}" for item in fields[:5]))
        self.fields = fields


async def answer_invalid_fields(request: Request, error: InvalidFields) -> Response:
    """A JSON body of the wrong shape."""
    return problem(error.code, str(error), request_id_of(request), extra={"errors": error.fields})


def invalid_fields(errors: Iterable[ErrorDetails], request_id: str) -> Response:
    """422 that names each wrong field."""
    found = InvalidFields(field_errors(errors))
    return problem(found.code, str(found), request_id, extra={"errors": found.fields})
