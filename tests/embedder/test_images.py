"""Untrusted bytes become upright RGB or a clear refusal, and never half a picture."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder.images import ImageLimits, decode_image, encode_jpeg, turn_upright
from lookalike.errors import ImageTooLarge, ImageTooSmall, InvalidInput, UnsupportedImage
from tests.embedder.pictures import encoded, gradient, png_chunk, png_claiming

LIMITS = ImageLimits()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_every_format_gives_the_pixels_that_were_stored(kind: str) -> None:
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    pixels = decode_image(encoded(gradient(), kind, **options), LIMITS)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - gradient()).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied_as_pillow_applies_it(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(gradient(), kind, exif=exif.tobytes(), **({"lossless": True} if kind == "WEBP" else {}))
    from PIL import ImageOps

    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    pixels = decode_image(data, LIMITS)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 2


def test_turning_a_picture_upright_loses_no_pixel() -> None:
    for orientation in range(1, 9):
        assert sorted(turn_upright(gradient(), orientation).ravel()) == sorted(gradient().ravel())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_a_senseless_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    assert decode_image(encoded(gradient(), "JPEG", exif=exif.tobytes()), LIMITS).shape == (40, 60, 3)


def test_a_cmyk_jpeg_is_shown_in_its_colours() -> None:
    data = encoded(Image.fromarray(gradient()).convert("CMYK"), "JPEG", quality=98)
    assert np.abs(decode_image(data, LIMITS).astype(int) - gradient()).mean() < 6


def test_grey_palette_and_one_bit_pictures_become_rgb() -> None:
    image = Image.fromarray(gradient())
    for mode, kind in (("L", "JPEG"), ("L", "PNG"), ("P", "PNG"), ("1", "PNG")):
        pixels = decode_image(encoded(image.convert(mode), kind), LIMITS)
        assert pixels.shape == (40, 60, 3)
        assert np.abs(pixels.astype(int) - np.asarray(image.convert(mode).convert("RGB"))).mean() < 3


def test_sixteen_bit_grey_keeps_its_gradation() -> None:
    levels = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    pixels = decode_image(encoded(Image.fromarray(levels), "PNG"), LIMITS)
    assert np.array_equal(pixels[..., 0], levels >> 8)
    assert len(np.unique(pixels)) == 256


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_transparent_is_seen_on_white(kind: str) -> None:
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[:, 10:] = (200, 10, 10, 255)
    pixels = decode_image(
        encoded(Image.fromarray(rgba), kind, **({"lossless": True} if kind == "WEBP" else {})), LIMITS
    )
    assert (pixels[:, :10] == 255).all()
    assert (pixels[:, 10:] == (200, 10, 10)).all()


def test_a_palette_with_a_transparent_colour_is_seen_on_white() -> None:
    image = Image.new("P", (20, 20), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert (decode_image(encoded(image, "PNG", transparency=0), LIMITS) == 255).all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, I am a text file named photo.jpg",
        b"GIF89a" + bytes(100),
        b"BM" + bytes(100),
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0",
        b"\xff\xd8\xff\xd9",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"RIFF\x00\x00\x00\x00WEBPVP8X",
        b"%PDF-1.7\n",
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedImage):
        decode_image(data, LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_refused_wherever_it_was_cut(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(noise, kind)
    for end in range(1, len(data) - 16, max(len(data) // 60, 1)):
        with pytest.raises(UnsupportedImage):
            decode_image(data[:end], LIMITS)


def test_a_jpeg_cut_short_and_closed_again_is_refused() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(noise, "JPEG")
    with pytest.raises(UnsupportedImage, match="damaged or truncated"):
        decode_image(data[: len(data) // 2] + b"\xff\xd9", LIMITS)


def test_stray_bytes_after_the_last_scan_of_a_whole_jpeg_are_forgiven() -> None:
    data = encoded(gradient(), "JPEG")
    assert decode_image(data[:-2] + bytes(3) + data[-2:] + b"trailer", LIMITS).shape == (40, 60, 3)


def test_animated_webp_and_png_are_refused() -> None:
    frames = [Image.fromarray(gradient()), Image.fromarray(255 - gradient())]
    for kind in ("WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
        with pytest.raises(UnsupportedImage, match="animated"):
            decode_image(data, LIMITS)


def test_an_image_bomb_is_refused_from_its_header_without_memory() -> None:
    data = png_claiming(50_000, 50_000)
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(ImageTooLarge, match="50000×50000"):
        decode_image(data, LIMITS)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    assert time.process_time() - started < 0.1  # the bar of design/security.md, in processor time
    tracemalloc.stop()


def test_a_jpeg_that_claims_a_huge_frame_is_refused_before_decoding() -> None:
    data = bytearray(encoded(gradient(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(ImageTooLarge):
        decode_image(bytes(data), LIMITS)


def test_a_header_that_disagrees_with_the_data_is_refused() -> None:
    with pytest.raises(UnsupportedImage):
        decode_image(png_claiming(4000, 4000), LIMITS)


def test_a_jpeg_of_a_thousand_scans_is_refused() -> None:
    data = encoded(gradient(), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    with pytest.raises(UnsupportedImage, match="scans"):
        decode_image(data[:scan] + data[scan:-2] * 1000 + data[-2:], LIMITS)


def test_limits_are_those_that_were_given() -> None:
    data = encoded(gradient(60, 40), "PNG")
    assert decode_image(data, ImageLimits(max_pixels=2400)).shape == (40, 60, 3)
    with pytest.raises(ImageTooLarge):
        decode_image(data, ImageLimits(max_pixels=2399))
    with pytest.raises(ImageTooLarge):
        decode_image(data, ImageLimits(max_bytes=len(data) - 1))
    with pytest.raises(ImageTooSmall):
        decode_image(data, ImageLimits(min_side=41))
    with pytest.raises(ImageTooSmall):
        decode_image(encoded(gradient(15, 15), "PNG"), LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_mutant_is_a_picture_or_a_refusal_and_never_anything_else(kind: str, data: st.DataObject) -> None:
    mutant = bytearray(encoded(gradient(), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(mutant) - 1))
        mutant[position] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_image(bytes(mutant), ImageLimits(max_pixels=1_000_000))
    except InvalidInput:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


@given(
    st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBPVP8X"])
)
def test_any_bytes_after_a_magic_number_are_refused(tail: bytes, magic: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_image(magic + tail, ImageLimits(max_pixels=1_000_000))


def test_a_png_with_a_text_bomb_does_not_swell() -> None:
    import zlib

    bomb = png_chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(200_000_000), 9))
    data = encoded(gradient(), "PNG")
    with pytest.raises(UnsupportedImage):
        decode_image(data[:33] + bomb + data[33:], LIMITS)


def test_threads_decode_side_by_side() -> None:
    pictures = [encoded(np.full((50, 50, 3), level, np.uint8), "PNG") for level in range(0, 250, 10)]
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda data: decode_image(data, LIMITS), pictures * 4))
    assert [int(pixels[0, 0, 0]) for pixels in decoded] == list(range(0, 250, 10)) * 4


def test_a_crop_survives_being_kept_as_jpeg() -> None:
    crop = gradient(112, 112)
    assert np.abs(decode_image(encode_jpeg(crop), LIMITS).astype(int) - crop).mean() < 2
