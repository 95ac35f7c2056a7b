"""A multipart body, read as it comes: whoever subclasses the reader decides what becomes of each part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from api.errors import UnsupportedMediaType
from lookalike.errors import InvalidInput

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


class MultipartReader(ABC):
    """Tells `part` of each part that begins, and gives its bytes to `data`. It makes no temporary file."""

    def __init__(self) -> None:
        self._ended = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""

    @abstractmethod
    def part(self, name: str, filename: str) -> None:
        """A part begins."""

    @abstractmethod
    def data(self, piece: bytes) -> None:
        """More of the part that began last."""

    async def read(self, request: Request, wanted: str) -> AsyncIterator[None]:
        """Parse the body; yields after each piece that came. wanted: what to send, for the error.

        Raises: UnsupportedMediaType, InvalidInput.
        """
        kind, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise UnsupportedMediaType(f"send multipart/form-data with {wanted}")
        try:
            parser = MultipartParser(boundary, self._callbacks())
            async for chunk in request.stream():
                parser.write(chunk)
                yield
        except FormParserError:
            raise InvalidInput("the multipart body is malformed") from None
        if not self._ended:
            raise InvalidInput("the multipart body ends too early")

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._on_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_end": self._on_end,
        }

    def _on_begin(self) -> None:
        self._disposition = b""

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
        name, filename = (options.get(key, b"").decode("utf-8", "replace") for key in (b"name", b"filename"))
        self.part(name, filename)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self.data(data[start:end])

    def _on_end(self) -> None:
        self._ended = True
