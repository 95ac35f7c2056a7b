"""A file in a multipart body that is too large for memory: handed on piece by piece, as it comes, to where it is kept.

Nothing of it is held but a piece, and the parser makes no temporary file.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from starlette.requests import Request

from api.errors import MissingField
from api.multipart import MultipartReader
from lookalike.errors import InvalidInput

PIECE_BYTES = 1 << 20


async def stream_file(request: Request, field: str, write: Callable[[bytes], None]) -> bytes:
    """Hand the one file of this field on. write: is called in a thread. Returns the SHA-256 of the file.

    Raises: UnsupportedMediaType, MissingField, InvalidInput, and as `write`.
    """
    reader, digest = _Reader(field), hashlib.sha256()

    def hand_on(piece: bytes) -> None:
        digest.update(piece)
        write(piece)

    async for _ in reader.read(request, f"the file in the field {field!r}"):
        if len(reader.pending) >= PIECE_BYTES:
            await asyncio.to_thread(hand_on, reader.taken())
    if not reader.found:
        raise MissingField(f"the multipart field {field!r} is missing: send the file in it")
    await asyncio.to_thread(hand_on, reader.taken())
    return digest.digest()


class _Reader(MultipartReader):
    """Gathers what comes of the one field, and refuses any other."""

    def __init__(self, field: str) -> None:
        super().__init__()
        self.pending = bytearray()
        self.found = False
        self._field = field

    def taken(self) -> bytes:
        piece = bytes(self.pending)
        self.pending.clear()
        return piece

    def part(self, name: str, filename: str) -> None:
        if name != self._field:
            raise MissingField(f"a field of another name was sent; this call takes {self._field!r}")
        if self.found:
            raise InvalidInput(f"the field {self._field!r} is allowed once")
        self.found = True

    def data(self, piece: bytes) -> None:
        self.pending += piece
