"""Draws small classes of pictures: stripes in colours, a width and an angle that are the class's own, under noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lookalike.domain import Pixels


def stripes(kind: int, number: int, side: int = 48) -> Pixels:
    """Picture `number` of class `kind`. -> (side, side, 3) uint8"""
    own, rng = np.random.default_rng([kind, 7]), np.random.default_rng([kind, number])
    angle, width = own.uniform(0, np.pi), own.uniform(4, 12)
    first, second = own.integers(90, 166, 3), own.integers(90, 166, 3)
    y, x = np.mgrid[:side, :side]
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / width + rng.uniform(0, 6))
    share = (0.5 + 0.5 * wave)[..., None]
    drawn = share * first + (1 - share) * second + rng.normal(0, 40, (side, side, 3))
    return np.clip(drawn, 0, 255).astype(np.uint8)


def draw_classes(folder: Path, classes: int, pictures: int, side: int = 48) -> Path:
    """A subfolder per class. Gives the folder."""
    for kind in range(classes):
        place = folder / f"c{kind:02}"
        place.mkdir(parents=True)
        for number in range(pictures):
            Image.fromarray(stripes(kind, number, side)).save(place / f"{number}.png")
    return folder
