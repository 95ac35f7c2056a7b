"""The service's refusals under the names that AWS's SDKs know, from one table of error codes.

The statuses are AWS's as well: its JSON services answer 400 to whatever the caller can mend, and SDKs try
ThrottlingException and a 500 again by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from api.dialects import Dialect, Refusal
from api.errors import FAULTS
from api.rekognition.signed import is_call

JSON_1_1 = "application/x-amz-json-1.1"

_INVALID, _INTERNAL = "InvalidParameterException", "InternalServerError"

TYPES: Mapping[str, str] = {
    "unsupported_image": "InvalidImageFormatException",
    "undecodable_image": "InvalidImageFormatException",
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


def _refuse(code: str, detail: str) -> Refusal:
    name = type_of(code)
    body = {"__type": name, "message": detail}
    return Refusal(500 if name == _INTERNAL else 400, JSON_1_1, body, {"x-amzn-errortype": name})


DIALECT = Dialect(is_call, _refuse, "x-amzn-requestid")
