"""How pixels become a network's input: fitted into a square, scaled, channels first; one rule for training and serving.

A whole picture keeps its aspect ratio: it is shrunk or enlarged until its longer side fits, and padded evenly with the
mean colour. An aligned face crop is square already and is only resized.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lookalike.domain import Floats, Pixels

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A pixel's value v becomes (v - mean) * scale, channel by channel in the order that `channels` gives.

    side: of the input, in pixels; channels: "rgb" or "bgr"; fit: "letterbox" for whole pictures, "stretch" for crops.
    """

    side: int
    mean: Triple
    scale: Triple
    channels: str = "rgb"
    fit: str = "letterbox"

    def __call__(self, pictures: Sequence[Pixels]) -> Floats:
        """RGB (H, W, 3) uint8 each -> (N, 3, side, side) float32, contiguous."""
        fitted = np.stack([self.square(picture) for picture in pictures])
        ordered = fitted if self.channels == "rgb" else fitted[..., ::-1]
        scaled = (ordered.astype(np.float32) - np.array(self.mean, np.float32)) * np.array(self.scale, np.float32)
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def square(self, picture: Pixels) -> Pixels:
        """RGB (H, W, 3) uint8 -> RGB (side, side, 3) uint8."""
        if self.fit == "stretch":
            return np.asarray(cv2.resize(picture, (self.side, self.side), interpolation=cv2.INTER_LINEAR), np.uint8)
        return letterbox(picture, self.side, self.filling)

    @property
    def filling(self) -> Triple:
        """The RGB colour of padding, which the network sees as nothing."""
        first, second, third = (float(round(value)) for value in self.mean)
        return (first, second, third) if self.channels == "rgb" else (third, second, first)

    def describe(self) -> str:
        """All that changes a vector besides the weights, in one line, for a Space."""
        numbers = ",".join(f"{value:g}" for value in (*self.mean, *self.scale))
        how = "resize" if self.fit == "stretch" else self.fit
        return f"{how}={self.side};{self.channels};{numbers}"


def letterbox(picture: Pixels, side: int, filling: Triple) -> Pixels:
    """The whole picture inside a square, its aspect ratio kept. (H, W, 3) uint8 -> (side, side, 3) uint8."""
    height, width = picture.shape[:2]
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size != (width, height):
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        picture = np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)
    canvas = np.full((side, side, 3), filling, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = picture
    return canvas
