"""Request bodies as values: multipart pictures kept in memory, and strict JSON.

Pictures never touch the disk: a parser that spools to temporary files would leave faces there in the clear. The
content type and the name of a part are not trusted; its bytes decide.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.errors import InvalidFields, MissingField, RequestTooLarge, UnsupportedMediaType, field_errors
from api.multipart import MultipartReader
from lookalike.errors import ImageTooLarge, InvalidInput

MAX_JSON_BYTES = 1_000_000
MAX_FILENAME = 255
MAX_TEXT_BYTES = 1000

M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True, repr=False)
class Part:
    """One part of a multipart body. filename: as the sender says, empty where none was said."""

    name: str
    filename: str
    data: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Expected:
    """The parts that a call takes. pictures: how many of each name; texts: names of short texts, each once or not."""

    pictures: Mapping[str, int]
    texts: tuple[str, ...] = ()


class Parts(list[Part]):
    """The parts of a body in their order."""

    def named(self, name: str) -> list[Part]:
        """Those of a name. Raises: MissingField where there is none."""
        found = [part for part in self if part.name == name]
        if not found:
            raise MissingField(f"the multipart field {name!r} is missing: send the picture as a file in it")
        return found

    def text(self, name: str) -> bytes | None:
        """The text of a name, None where it was not sent."""
        return next((bytes(part.data) for part in self if part.name == name), None)

    def digest(self) -> bytes:
        """The same for the same parts, whatever boundary stood between them."""
        found = hashlib.sha256()
        for part in self:
            for item in (part.name.encode(), part.filename.encode("utf-8", "surrogatepass"), part.data):
                found.update(len(item).to_bytes(8, "big"))
                found.update(item)
        return found.digest()


async def read_parts(request: Request, expected: Expected, max_picture_bytes: int) -> Parts:
    """The multipart body. Raises: UnsupportedMediaType, MissingField, ImageTooLarge, InvalidInput."""
    names = ", ".join(repr(name) for name in expected.pictures)
    reader = _Reader(expected, max_picture_bytes)
    async for _ in reader.read(request, f"the picture in the field {names}"):
        pass
    return reader.parts


class _Reader(MultipartReader):
    """Gathers the parts and refuses what is not expected."""

    def __init__(self, expected: Expected, max_picture_bytes: int) -> None:
        super().__init__()
        self.parts = Parts()
        self._expected = expected
        self._max_picture_bytes = max_picture_bytes
        self._counts: dict[str, int] = {}

    def part(self, name: str, filename: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1
        if name not in self._expected.pictures and name not in self._expected.texts:
            self._unexpected()
        if self._counts[name] > self._expected.pictures.get(name, 1):
            self._too_many(name)
        self.parts.append(Part(name, filename[:MAX_FILENAME]))

    def data(self, piece: bytes) -> None:
        part = self.parts[-1]
        if part.name in self._expected.texts and len(part.data) + len(piece) > MAX_TEXT_BYTES:
            raise InvalidInput(f"{part.name}: a text of at most {MAX_TEXT_BYTES} bytes is allowed")
        if len(part.data) + len(piece) > self._max_picture_bytes:
            raise ImageTooLarge(f"a picture of at most {self._max_picture_bytes} bytes is allowed")
        part.data += piece

    def _too_many(self, name: str) -> NoReturn:
        most = self._expected.pictures.get(name, 1)
        if most == 1:
            raise InvalidInput(f"the field {name!r} is allowed once")
        raise ImageTooLarge(f"at most {most} pictures a request are allowed in the field {name!r}")

    def _unexpected(self) -> NoReturn:
        names = ", ".join(repr(name) for name in (*self._expected.pictures, *self._expected.texts))
        code = MissingField if not self.parts else InvalidInput
        raise code(f"a field of another name was sent; this call takes {names}")


async def read_json(request: Request, model: type[M]) -> M:
    """The JSON body as `model`. Raises: UnsupportedMediaType, RequestTooLarge, InvalidInput naming the fields."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType("send application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise RequestTooLarge(f"a JSON body of at most {MAX_JSON_BYTES} bytes is allowed")
    return validated(json_value(bytes(body)), model)


def validated(value: object, model: type[M]) -> M:
    """A JSON value as `model`. Raises: InvalidInput naming the fields."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidFields(field_errors(error.errors(include_input=False, include_url=False))) from None


def json_value(text: bytes | str) -> object:
    """Raises: InvalidInput unless it is JSON (RFC 8259) without a key that is given twice."""
    try:
        found: object = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
        json.dumps(found, ensure_ascii=False).encode()  # fails for half a surrogate pair, which is no text
        return found
    except (ValueError, RecursionError):
        raise InvalidInput("the body is not valid JSON; NaN, Infinity and repeated keys are refused") from None


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def digest_of(model: BaseModel | None) -> bytes:
    """The same for the same JSON values, whatever their order and spacing."""
    sent = {} if model is None else model.model_dump(mode="json", exclude_unset=True)
    return hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).digest()
