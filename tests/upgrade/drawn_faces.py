"""Draws faces of nobody, alike enough to real ones that they are found, cropped and told apart.

The same number gives the same face; another `take` is another picture of it.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SKINS = ((232, 190, 160), (150, 100, 70), (200, 150, 115), (245, 210, 190))
HAIRS = ((40, 25, 15), (15, 12, 10), (150, 110, 60), (90, 50, 30))
SIDE = 640
"""Pixels that a face is drawn at; the picture has half of them."""

Colour = tuple[int, ...]
Ellipse = Callable[[float, float, float, float, object], None]


def drawn_face(number: int, take: int = 0) -> bytes:
    """A PNG of 320 by 320 pixels."""
    own, shot = np.random.default_rng(number), np.random.default_rng([number, take])
    image = Image.new("RGB", (SIDE, SIDE), colour(own.integers(120, 220, 3)))
    draw = ImageDraw.Draw(image)
    skin, hair = np.array(SKINS[number % 4]), HAIRS[number // 2 % 4]
    x, y = SIDE / 2 + 4 * take * shot.normal(size=2)
    width, height = SIDE * (0.21 + 0.03 * own.random()), SIDE * (0.29 + 0.03 * own.random())

    def ellipse(at_x: float, at_y: float, half_width: float, half_height: float, fill: object) -> None:
        draw.ellipse((at_x - half_width, at_y - half_height, at_x + half_width, at_y + half_height), fill=colour(fill))

    ellipse(x, y + SIDE * 0.6, SIDE * 0.35, SIDE * 0.3, own.integers(30, 200, 3))
    neck = (x - width * 0.45, y + height * 0.5, x + width * 0.45, y + height * 1.4)
    draw.rectangle(neck, fill=colour(skin * 0.85))
    _head(draw, ellipse, (x, y), (width, height), skin, hair)
    _eyes(draw, ellipse, (x, y - height * 0.12), width, skin, hair, own)
    nose = width * (0.16 + 0.06 * own.random())
    ellipse(x, y + height * 0.22, nose, nose * 0.6, skin * 0.93)
    for side in (-1, 1):
        ellipse(x + side * nose * 0.55, y + height * 0.22 + nose * 0.3, nose * 0.22, nose * 0.14, skin * 0.4)
    mouth, lips = height * (0.48 + 0.04 * own.random()), np.array((170, 70, 75)) * (0.6 + 0.5 * own.random())
    ellipse(x, y + mouth, width * (0.33 + 0.1 * own.random()), height * (0.05 + 0.03 * own.random()), lips)
    ellipse(x, y + mouth + height * 0.15, width * 0.2, height * 0.02, skin * 0.8)

    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1.3)).resize((SIDE // 2, SIDE // 2)), float)
    noisy = np.clip(pixels + shot.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "PNG")
    return file.getvalue()


def colour(values: object) -> Colour:
    """Three whole numbers up to 255."""
    return tuple(int(min(value, 255)) for value in values)


def _head(draw, ellipse: Ellipse, at, size, skin, hair) -> None:
    (x, y), (width, height) = at, size
    ellipse(x, y - height * 0.15, width * 1.15, height * 1.05, hair)
    for side in (-1, 1):
        ellipse(x + side * width, y, width * 0.13, height * 0.18, skin * 0.9)
    for part in np.linspace(1, 0.3, 25):
        ellipse(x, y + height * 0.05, width * part, height * part * 0.97, skin * (1.09 - 0.31 * part))
    draw.pieslice((x - width * 1.02, y - height * 1.02, x + width * 1.02, y + height * 0.3), 200, 340, fill=hair)
    for part in np.linspace(1, 0.3, 8):
        ellipse(x, y + height * 0.1, width * 0.93 * part, height * 0.78 * part, skin * (1.06 - 0.21 * part))


def _eyes(draw, ellipse: Ellipse, at, width: float, skin, hair, own: np.random.Generator) -> None:
    apart, half = width * (0.38 + 0.06 * own.random()), width * (0.17 + 0.04 * own.random())
    iris, brow = own.integers(20, 120, 3), int(SIDE * (0.012 + 0.012 * own.random()))
    y = at[1]
    for x in (at[0] - apart, at[0] + apart):
        ellipse(x, y, half * 1.35, half * 0.85, skin * 0.72)
        ellipse(x, y, half, half * 0.5, (240, 238, 235))
        ellipse(x, y, half * 0.48, half * 0.48, iris)
        ellipse(x, y, half * 0.22, half * 0.22, (5, 5, 5))
        arc = (x - half * 1.15, y - half * 0.75, x + half * 1.15, y + half * 0.75)
        draw.arc(arc, 200, 340, fill=(40, 25, 20), width=int(SIDE * 0.007))
        draw.arc((x - half * 1.6, y - half * 1.7, x + half * 1.6, y + half * 1.2), 215, 325, fill=hair, width=brow)
