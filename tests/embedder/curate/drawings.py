"""Draws pictures with edges all over, each unlike the others, and curates sets of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from embedder.curate.curation import Curation, curate


def drawn(number: int, side: int = 128) -> Image.Image:
    """Forty rectangles and ellipses of random colours; the same for the same number."""
    rng = np.random.default_rng(number)
    picture = Image.new("RGB", (side, side), tuple(rng.integers(60, 200, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    for place in range(40):
        x, y, width, height = (rng.uniform((0, 0, 0.05, 0.05), (0.95, 0.95, 0.3, 0.3)) * side).tolist()
        draw = pen.rectangle if place % 2 else pen.ellipse
        draw((x, y, x + width, y + height), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return picture


def jpeg(picture: Image.Image, quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def curated(root: Path, **options: object) -> Curation:
    """A set of things."""
    return curate(root, encoder=None, calibration=None, **options)


def faults_of(found: Curation) -> set[tuple[str, str]]:
    return {(each.fault, each.path) for each in found.findings}
