"""A header is read in bounded time, whatever a file is made of."""

from __future__ import annotations

import pytest

from embedder.headers import MAX_PARTS, read_header
from lookalike.errors import UnsupportedImage
from tests.embedder.pictures import encoded, gradient, png_chunk


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 20_000_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 5_000_000,
        b"\xff\xd8" + b"\xff\xd0" * 10_000_000,
        encoded(gradient(), "PNG")[:33] + png_chunk(b"teXt", b"") * 1_600_000,
    ],
    ids=["fill bytes", "empty segments", "restart markers", "empty chunks"],
)
def test_a_file_of_nothing_but_parts_is_refused_after_the_most_that_a_picture_has(data: bytes) -> None:
    with pytest.raises(UnsupportedImage):
        read_header(data)


def test_a_webp_of_nothing_but_chunks_is_read_without_an_orientation() -> None:
    flagged = b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\x00\x00\x00\x08\x00\x00\x00\x3b\x00\x00\x27\x00\x00"
    assert read_header(flagged + bytes(8) * 2_000_000).orientation == 1


def test_fill_bytes_and_as_many_segments_as_a_picture_may_have_are_read() -> None:
    data = encoded(gradient(), "JPEG")
    padded = data[:2] + b"\xff" * 100 + b"\xff\xe0\x00\x02" * (MAX_PARTS // 10) + data[2:]
    assert (read_header(padded).width, read_header(padded).height) == (60, 40)
