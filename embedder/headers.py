"""Reads a picture's format, size and orientation from its first bytes, before anything is decoded. Pure.

Only the bytes decide: names and content types are not asked. JPEG (ITU T.81), PNG (W3C PNG third edition) and WebP
(RFC 9649) are known; the orientation is Exif's tag 274. Reading never goes beyond the bytes given, and an unreadable
Exif block counts as none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from lookalike.errors import UnsupportedImage

MAX_JPEG_SCANS = 100
"""A progressive JPEG has about ten scans; thousands cost minutes of decoding in a small file."""

MAX_PARTS = 50_000
"""Segments or chunks that are walked through, fill bytes included: a picture of nothing else would keep us for seconds.

The most that is sound: 20 MB of a PNG in pieces of 400 bytes."""

_DAMAGED = "the picture is damaged or truncated"
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Header:
    """format: "jpeg", "png" or "webp"; width, height: pixels as stored; orientation: Exif's 1 to 8."""

    format: str
    width: int
    height: int
    orientation: int = 1


def read_header(data: bytes) -> Header:
    """Raises: UnsupportedImage if it is no JPEG, PNG or WebP, is animated, or its header is damaged."""
    if not data:
        raise UnsupportedImage("the picture is empty")
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise UnsupportedImage(_DAMAGED) from error
    raise UnsupportedImage("the picture is not a JPEG, PNG or WebP")


def _jpeg(data: bytes) -> Header:
    position, orientation = 2, 1
    for _ in range(MAX_PARTS):
        if data[position] != 0xFF:
            raise UnsupportedImage(_DAMAGED)
        position += 1
        if data[position] == 0xFF:  # a fill byte
            continue
        marker = data[position]
        position += 1
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:
            continue
        if marker in (0xD9, 0xDA):
            raise UnsupportedImage(_DAMAGED)
        (length,) = struct.unpack_from(">H", data, position)
        if marker == 0xE1 and data[position + 2 : position + 8] == b"Exif\x00\x00":
            orientation = exif_orientation(data[position + 8 : position + length])
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 3)
            if data.count(b"\xff\xda") > MAX_JPEG_SCANS:
                raise UnsupportedImage(f"the JPEG has more than {MAX_JPEG_SCANS} scans")
            return _checked("jpeg", width, height, orientation)
        position += length
    raise UnsupportedImage(_DAMAGED)


def _png(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise UnsupportedImage(_DAMAGED)
    width, height = struct.unpack_from(">II", data, 16)
    position, orientation = 8, 1
    for _ in range(MAX_PARTS):
        if position + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL":
            raise UnsupportedImage("animated pictures are not accepted")
        if kind == b"eXIf":
            orientation = exif_orientation(data[position + 8 : position + 8 + length])
        if kind == b"IEND":
            break
        position += length + 12
    else:
        raise UnsupportedImage(f"the PNG has more than {MAX_PARTS} chunks")
    return _checked("png", width, height, orientation)


def _webp(data: bytes) -> Header:
    kind, body = data[12:16], 20
    if kind == b"VP8X":
        flags = data[body]
        if flags & 0x02:
            raise UnsupportedImage("animated pictures are not accepted")
        width = int.from_bytes(data[body + 4 : body + 7], "little") + 1
        height = int.from_bytes(data[body + 7 : body + 10], "little") + 1
        return _checked("webp", width, height, _webp_orientation(data) if flags & 0x08 else 1)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, body + 1)
        return _checked("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, body + 6)
        return _checked("webp", width & 0x3FFF, height & 0x3FFF, 1)
    raise UnsupportedImage(_DAMAGED)


def _webp_orientation(data: bytes) -> int:
    position = 12
    for _ in range(MAX_PARTS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            block = data[position + 8 : position + 8 + length]
            return exif_orientation(block.removeprefix(b"Exif\x00\x00"))
        position += 8 + length + (length & 1)
    return 1


def exif_orientation(block: bytes) -> int:
    """Tag 274 of a TIFF block's first directory, 1 where it is absent or unreadable."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", block, start + 2 + 12 * entry)
            if tag == 274:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _checked(kind: str, width: int, height: int, orientation: int) -> Header:
    if width == 0 or height == 0:
        raise UnsupportedImage(_DAMAGED)
    return Header(kind, width, height, orientation)
