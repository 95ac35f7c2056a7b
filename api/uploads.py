"""A file in a multipart body that is too large for memory: handed on piece by piece, as it comes, to where it is kept.

Nothing of it is held but a piece, and the parser makes no temporary file.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from api.errors import MissingField, UnsupportedMediaType
from lookalike.errors import InvalidInput

PIECE_BYTES = 1 << 20


async def stream_file(request: Request, field: str, write: Callable[[bytes], None]) -> bytes:
    """Hand the one file of this field on. write: is called in a thread. Returns the SHA-256 of the file.

    Raises: UnsupportedMediaType, MissingField, InvalidInput, and as `write`.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise UnsupportedMediaType(f"send multipart/form-data with the file in the field {field!r}")
    reader, digest = _Reader(field), hashlib.sha256()

    def hand_on(piece: bytes) -> None:
        digest.update(piece)
        write(piece)

    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
        async for chunk in request.stream():
            parser.write(chunk)
            if len(reader.pending) >= PIECE_BYTES:
                await asyncio.to_thread(hand_on, reader.taken())
    except FormParserError:
        raise InvalidInput("the multipart body is malformed") from None
    if not reader.ended:
        raise InvalidInput("the multipart body ends too early")
    if not reader.found:
        raise MissingField(f"the multipart field {field!r} is missing: send the file in it")
    await asyncio.to_thread(hand_on, reader.taken())
    return digest.digest()


class _Reader:
    """Callbacks that gather what comes of the one field, and refuse any other."""

    def __init__(self, field: str) -> None:
        self.pending = bytearray()
        self.found = False
        self.ended = False
        self._field = field
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""

    def taken(self) -> bytes:
        piece = bytes(self.pending)
        self.pending.clear()
        return piece

    def callbacks(self) -> dict[str, object]:
        return {
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_end": self._on_end,
        }

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != self._field:
            raise MissingField(f"a field of another name was sent; this call takes {self._field!r}")
        if self.found:
            raise InvalidInput(f"the field {self._field!r} is allowed once")
        self.found, self._disposition = True, b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self.pending += data[start:end]

    def _on_end(self) -> None:
        self.ended = True
