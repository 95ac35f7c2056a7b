"""Draws an identification or a search on its picture: boxes, landmarks, and a name with its similarity, or "unknown".

Sizes follow the faces and the picture, and every line has a dark edge, so that it can be read on any background.
"""

from __future__ import annotations

import contextlib
import io
import unicodedata
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from api.client_shapes import BoxJson, IdentificationJson, IdentifiedFaceJson
from lookalike.errors import UnsupportedImage

KNOWN: Final = (74, 222, 128)
UNKNOWN: Final = (251, 146, 60)
INK: Final = (10, 14, 20)
SMALLEST_SIDE: Final = 480

NO_GLYPH: Final = "\U0010ffff"
SYSTEM_FONTS: Final = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf")

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def annotate(image: bytes, answer: IdentificationJson) -> Image.Image:
    """The upright picture with the answer drawn on it, as RGB; a small one is enlarged so that text can be read.

    Raises: UnsupportedImage.
    """
    picture = upright(image)
    scale = max(1.0, SMALLEST_SIDE / max(picture.size))
    if scale > 1:
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
    draw = ImageDraw.Draw(picture)
    for face in reversed(answer["faces"]):  # the largest last, so that its label is on top
        _draw_face(draw, picture.size, face, scale)
    return picture


def upright(image: bytes) -> Image.Image:
    """A picture's pixels as RGB, turned as its EXIF orientation says. Raises: UnsupportedImage."""
    try:
        with Image.open(io.BytesIO(image), formats=("JPEG", "PNG", "WEBP")) as opened:
            turned = ImageOps.exif_transpose(opened)
            return Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned.convert("RGBA")).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnsupportedImage("the picture cannot be drawn on: it is damaged or not JPEG, PNG or WebP") from error


def label(face: IdentifiedFaceJson) -> tuple[str, str]:
    """The two lines under a face: who it is, and how sure that is."""
    if not face["candidates"]:
        return ("unknown", "nobody enrolled") if face["landmarks"] else ("nothing like it", "nothing enrolled")
    best = face["candidates"][0]
    if (likeness := best.get("likeness")) is not None:
        return best["subject"], f"the same picture, {likeness:.3f}"
    rate = "  no rate known" if best["fpir"] is None else f"  fpir {best['fpir']:.1g}"
    return best["subject"], f"{best['similarity']:.2f}{rate}"


def _draw_face(draw: ImageDraw.ImageDraw, size: tuple[int, int], face: IdentifiedFaceJson, scale: float) -> None:
    colour = KNOWN if face["candidates"] else UNKNOWN
    left, top, right, bottom = _corners(face["box"], scale)
    line = max(2, round(max(size) / 400))
    draw.rectangle((left - line, top - line, right + line, bottom + line), outline=INK, width=3 * line)
    draw.rectangle((left, top, right, bottom), outline=colour, width=line)
    dot = max(1.5, (right - left) / 70)
    for x, y in face["landmarks"]:
        centre = (x * scale, y * scale)
        draw.circle(centre, dot + line / 2, fill=INK)
        draw.circle(centre, dot, fill=colour)
    _draw_label(draw, size, face, (left, bottom + 2 * line), colour)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    face: IdentifiedFaceJson,
    corner: tuple[float, float],
    colour: Colour,
) -> None:
    """A filled tag below the box, moved inwards where it would leave the picture."""
    name, detail = label(face)
    height = min(max(13.0, max(size) / 42), 34.0)
    small = ImageFont.load_default(height * 0.78)
    large, name = fitted_font(draw, name, height, size[0] - height)
    pad = height * 0.35
    width = max(draw.textlength(name, large), draw.textlength(detail, small)) + 2 * pad
    tall = height * 2.15 + 2 * pad
    x = min(max(corner[0], 0), max(size[0] - width, 0))
    y = min(max(corner[1], 0), max(size[1] - tall, 0))
    draw.rounded_rectangle((x, y, x + width, y + tall), radius=pad, fill=colour, outline=INK)
    draw.text((x + pad, y + pad * 0.7), name, font=large, fill=INK)
    draw.text((x + pad, y + pad * 0.7 + height * 1.25), detail, font=small, fill=INK)


def _corners(box: BoxJson, scale: float) -> tuple[float, float, float, float]:
    left, top = box["x"] * scale, box["y"] * scale
    return left, top, left + max(box["width"] * scale, 1), top + max(box["height"] * scale, 1)


def fitted_font(draw: ImageDraw.ImageDraw, text: str, height: float, width: float) -> tuple[Font, str]:
    """A font that has the text's letters, and the text as it can be drawn with it, cut to `width` pixels."""
    font = _font(text, height)
    fitted = _readable(text, font)
    while len(fitted) > 1 and draw.textlength(fitted, font) > width:
        fitted = fitted[:-2] + "…"
    return font, fitted


def _font(text: str, height: float) -> Font:
    """The built-in font, or a font of the system that has more of the text's letters."""
    built_in = ImageFont.load_default(height)
    if not _missing(text, built_in):
        return built_in
    for name in SYSTEM_FONTS:
        with contextlib.suppress(OSError):
            font = ImageFont.truetype(name, height)
            if not _missing(text, font):
                return font
    return built_in


def _readable(text: str, font: Font) -> str:
    """The text with plain letters for those that the font cannot draw, and "?" where there is none."""
    missing = _missing(text, font)
    plain = {c: unicodedata.normalize("NFKD", c)[0] for c in missing}
    lost = missing & _missing("".join(plain.values()), font) | {c for c in missing if plain[c] == c}
    return "".join("?" if c in lost else plain.get(c, c) for c in text)


def _missing(text: str, font: Font) -> set[str]:
    blank = bytes(font.getmask(NO_GLYPH))
    return {c for c in set(text) if not c.isspace() and bytes(font.getmask(c)) in (blank, b"")}
