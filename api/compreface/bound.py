"""Which collection a key is bound to, the picture that a call brings, and its usual parameters."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Query
from pydantic import BaseModel
from starlette.requests import Request

from api.bodies import Expected, json_value, read_parts, validated
from api.edge import CallerDep, Edge, EdgeDep
from api.errors import MissingField, NotDeserialised
from lookalike.answers import Caller
from lookalike.domain import Face, Permission
from lookalike.errors import ImageTooLarge, InvalidInput, PermissionDenied

if TYPE_CHECKING:
    from api.wiring import Services

Refuse = Callable[["Services", Caller, str], object]


class Bound:
    """The collection of a key, and the right that a call needs there, decided before its body is read.

    In CompreFace a key belongs to one service with one collection of faces; here it does by its grants.
    """

    def __init__(self, permission: Permission, refuse: Refuse) -> None:
        self._permission = permission
        self._refuse = refuse

    async def __call__(self, edge: EdgeDep, caller: CallerDep) -> str:
        collection = _collection_of(caller)
        if not caller.principal.may(self._permission, collection):
            # The use case itself refuses, so that it is audited.
            await edge.pool.run(self._refuse, edge.services, caller, collection)
            raise PermissionDenied(f"this needs the permission {self._permission.value!r}, which the credential lacks")
        return collection


def _collection_of(caller: Caller) -> str:
    """Raises: InvalidInput unless the key's grants name exactly one collection."""
    named = {grant.collection for grant in caller.principal.grants}
    only = named.pop() if len(named) == 1 else None
    if only is None:
        raise InvalidInput("x-api-key: a key whose grants are on exactly one collection is allowed; it decides which")
    return only


class Base64(BaseModel):
    """Pictures in JSON."""

    file: str | None = None
    source_image: str | None = None
    target_image: str | None = None


async def pictures(request: Request, edge: Edge, *names: str) -> list[bytes]:
    """The pictures of these names, as parts of a multipart body or in JSON as base64.

    Raises: MissingField, NotDeserialised, ImageTooLarge, UnsupportedMediaType.
    """
    largest = edge.services.settings.max_image_bytes
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        body = await request.body()
        return await edge.pool.run(_from_json, body, names, largest)
    parts = await read_parts(request, Expected(dict.fromkeys(names, 1)), largest)
    return [bytes(parts.named(name)[0].data) for name in names]


def _from_json(body: bytes, names: tuple[str, ...], largest: int) -> list[bytes]:
    sent = validated(json_value(body), Base64)
    found = []
    for name in names:
        text = getattr(sent, name)
        if text is None:
            raise MissingField(f"{name}: a picture in base64 is needed")
        try:
            picture = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
        except (binascii.Error, ValueError):
            raise NotDeserialised(f"{name}: base64 is allowed") from None
        if len(picture) > largest:
            raise ImageTooLarge(f"a picture of at most {largest} bytes is allowed")
        found.append(picture)
    return found


class Wanted(BaseModel):
    """What most calls take beside a picture. limit: faces, largest first, 0 for all."""

    limit: int
    det_prob_threshold: float
    face_plugins: frozenset[str]
    status: bool

    def chosen(self, faces: list[Face]) -> list[Face]:
        """The faces that the caller wants to know of."""
        sure = [face for face in faces if face.confidence >= self.det_prob_threshold]
        return sure[: self.limit or None]


async def _wanted(
    limit: Annotated[int, Query(ge=0)] = 0,
    det_prob_threshold: Annotated[float, Query(ge=0, le=1)] = 0.0,
    face_plugins: str = "",
    status: bool = False,
) -> Wanted:
    plugins = frozenset(word.strip() for word in face_plugins.split(","))
    return Wanted(limit=limit, det_prob_threshold=det_prob_threshold, face_plugins=plugins, status=status)


WantedDep = Annotated[Wanted, Depends(_wanted)]
