"""Perceptual hashes of pictures, and which pairs of pictures to look at more closely because of them.

dHash (Krawetz 2013, http://www.hackerfactor.com/blog/?/archives/529-Kind-of-Like-That.html) says of 8×8 places whether
the picture gets brighter to the right, pHash which low frequencies are above the median; the package ImageHash makes
both. Two pictures of one shelf or one aligned face are alike in them too, so a hash only proposes a pair; pixels
decide (embedder/curate/pixels.py). Measured: of groceries cropped by up to 8 % on each side and compressed again, 99 %
lie within 21 of dHash's 64 bits of their original, and so do 0.8 % of all pairs of groceries.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lookalike.domain import Floats, Pixels
from lookalike.errors import ModelNotAvailable

Bits = NDArray[np.bool_]
PIXELS_SIDE = 64
"""What is kept of every picture to compare pixels: its grey values, so many by so many."""

_ROWS = 512
_BITS = 64


@dataclass(frozen=True, slots=True, repr=False)
class Hashes:
    """Of one picture. gradient, mirrored: dHash as it is and of its mirror image; frequency: pHash; each (64,) bool."""

    gradient: Bits
    mirrored: Bits
    frequency: Bits


def require_imagehash() -> None:
    """Raises: ModelNotAvailable where the `train` extra is not installed."""
    if importlib.util.find_spec("imagehash") is None:
        raise ModelNotAvailable("curation needs the package ImageHash: install lookalike[train]")


def shrink(picture: Pixels) -> Pixels:
    """Grey, stretched to a small square. (H, W, 3) uint8 RGB -> (64, 64) uint8."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (PIXELS_SIDE, PIXELS_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def hash_picture(small: Pixels) -> Hashes:
    """Hashes of what `shrink` gives. Raises: ModelNotAvailable."""
    require_imagehash()
    import imagehash

    upright, mirrored = Image.fromarray(small), Image.fromarray(np.ascontiguousarray(small[:, ::-1]))
    return Hashes(
        np.asarray(imagehash.dhash(upright).hash, bool).ravel(),
        np.asarray(imagehash.dhash(mirrored).hash, bool).ravel(),
        np.asarray(imagehash.phash(upright).hash, bool).ravel(),
    )


def propose_by_hash(
    hashes: list[Hashes], *, gradient_bits: int, frequency_bits: int, most: int
) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, within so many bits, mirrored or not; at most the `most` nearest j of each i."""
    gradients, mirrored, frequencies = (
        np.stack([np.where(getattr(each, name), 1.0, -1.0) for each in hashes]).astype(np.float32)
        for name in ("gradient", "mirrored", "frequency")
    )
    for start in range(0, len(hashes), _ROWS):
        rows = slice(start, start + _ROWS)
        # The product of two rows of ±1 is the bits that agree less those that differ.
        shared = np.maximum(gradients[rows] @ gradients.T, gradients[rows] @ mirrored.T)
        near = (shared >= _BITS - 2 * gradient_bits) | (frequencies[rows] @ frequencies.T >= _BITS - 2 * frequency_bits)
        yield from nearest_pairs(shared, near, start, most)


def propose_by_vector(vectors: Floats, *, similarity: float, most: int) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of unit vectors (N, D) so alike; at most the `most` nearest j of each i."""
    for start in range(0, len(vectors), _ROWS):
        scores = vectors[start : start + _ROWS] @ vectors.T
        yield from nearest_pairs(scores, scores >= similarity, start, most)


def nearest_pairs(scores: Floats, near: Bits, start: int, most: int) -> Iterator[tuple[int, int]]:
    """Of rows `start`, …: the columns beyond each row's own number that are near, the highest scores first."""
    for row, (score, close) in enumerate(zip(scores, near, strict=True), start):
        found = row + 1 + np.flatnonzero(close[row + 1 :])
        if len(found) > most:
            found = found[np.argsort(-score[found], kind="stable")[:most]]
        for column in found:
            yield row, int(column)
