"""Turns an untrusted picture's bytes into upright RGB pixels, (H, W, 3) uint8, within limits.

Sizes are refused from the header, before a pixel is decoded. A picture that decodes with an error is refused whole:
half a picture would give a face that is not there. libjpeg-turbo (simplejpeg) decodes JPEG, Pillow the rest; neither
is asked to guess a format. Thread-safe. A service has it done in processes of their own (embedder/decoders.py).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from embedder.headers import Header, read_header
from lookalike.domain import Pixels
from lookalike.errors import ImageTooLarge, ImageTooSmall, UndecodableImage, UnsupportedImage
from lookalike.stages import Stage, staged


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may be at most and at least; pixels are width × height as stored."""

    max_bytes: int = 20_000_000
    max_pixels: int = 25_000_000
    min_side: int = 16


Decode = Callable[[bytes, ImageLimits], Pixels]
"""What turns a picture into pixels: `decode_image`, or the same done elsewhere."""


@staged(Stage.DECODE)
def decode_image(data: bytes, limits: ImageLimits, room: Pixels | None = None) -> Pixels:
    """Upright RGB pixels, contiguous. room: uint8 that the pixels may be written into, where they fit.

    Raises: UnsupportedImage, ImageTooLarge, ImageTooSmall, UndecodableImage.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"the picture has {len(data)} bytes; at most {limits.max_bytes} are accepted")
    header = read_header(data)
    check_size(header, limits)
    try:
        pixels = _decode_jpeg(data, room) if header.format == "jpeg" else _decode_with_pillow(data, header.format)
    except UnsupportedImage:
        raise
    except MemoryError as error:
        raise UndecodableImage("decoding the picture takes more memory than is allowed") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds for damaged data
        raise UnsupportedImage("the picture is damaged or truncated") from error
    if pixels.shape[:2] != (header.height, header.width):
        raise UnsupportedImage("the picture is damaged: its header states another size")
    return turn_upright(pixels, header.orientation)


def check_size(header: Header, limits: ImageLimits) -> None:
    """Raises: ImageTooLarge, ImageTooSmall."""
    if header.width * header.height > limits.max_pixels:
        raise ImageTooLarge(
            f"the picture has {header.width}×{header.height} pixels; at most {limits.max_pixels} are accepted"
        )
    if min(header.width, header.height) < limits.min_side:
        raise ImageTooSmall(f"the picture has {header.width}×{header.height} pixels; each side needs {limits.min_side}")


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of a picture when upright, read from its header. Raises: UnsupportedImage."""
    header = read_header(data)
    lying = header.orientation >= 5
    return (header.height, header.width) if lying else (header.width, header.height)


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """The picture as its Exif orientation (1 to 8) says that it is to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def encode_jpeg(pixels: Pixels, quality: int = 95) -> bytes:
    """RGB (H, W, 3) uint8 as JPEG without chroma subsampling."""
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", "444")
    return encoded


def _decode_jpeg(data: bytes, room: Pixels | None) -> Pixels:
    """Strict: libjpeg-turbo's warnings count as errors, since most of them mean that pixels were made up."""
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    if colours in ("CMYK", "YCCK"):
        # Adobe's convention, which every CMYK JPEG follows in practice: 255 means no ink.
        inks = simplejpeg.decode_jpeg(data, "CMYK")
        key = inks[:, :, 3].astype(np.uint16)
        return np.dstack([((inks[:, :, i] * key + 127) // 255).astype(np.uint8) for i in range(3)])
    fits = room is not None and room.nbytes >= height * width * 3
    pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=room if fits else None)
    return pixels


def _decode_with_pillow(data: bytes, kind: str) -> Pixels:
    with Image.open(io.BytesIO(data), formats=[kind.upper()]) as image:
        image.load()
        if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion would clip them at 255
            grey = (np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if image.has_transparency_data:
            opaque = Image.new("RGBA", image.size, "white")
            opaque.alpha_composite(image.convert("RGBA"))
            return np.asarray(opaque.convert("RGB"))
        return np.asarray(image.convert("RGB"))
