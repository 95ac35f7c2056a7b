"""The service's refusals as CompreFace tells them: a message and a number that its clients know."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from api.dialects import Dialect, Refusal
from api.errors import FAULTS

PREFIX = "/api/v1/"

NUMBERS: Mapping[str, tuple[int, int]] = {
    "permission_denied": (1, 403),
    "unauthenticated": (10, 401),
    "collection_not_found": (10, 404),
    "sample_not_found": (11, 404),
    "unsupported_image": (21, 400),
    "undecodable_image": (21, 400),
    "face_not_found": (28, 400),
    "method_not_allowed": (32, 405),
    "missing_field": (33, 400),
    "subject_not_found": (42, 404),
    "conflict": (43, 400),
    "not_found": (0, 404),
}
"""(CompreFace's number, status). What is not named is 26, a value out of bounds, or 41, the service's own fault."""


def _speaks(scope: Scope) -> bool:
    return str(scope["path"]).startswith(PREFIX)


def _refuse(code: str, detail: str) -> Refusal:
    status = FAULTS[code].status if code in FAULTS else 500
    number, told = NUMBERS.get(code, (26, 400) if status in (400, 413, 415, 422) else (41, status))
    return Refusal(told, "application/json", {"message": _WORDS.get(code, detail), "code": number}, {})


_WORDS = {"face_not_found": "No face is found in the given image"}
"""Messages by which clients know what happened."""

DIALECT = Dialect(_speaks, _refuse)
