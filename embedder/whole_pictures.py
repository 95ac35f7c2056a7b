"""Whole pictures as unit vectors, for visual search: decode, cut out the part that is asked for, embed.

Implements `lookalike.ports.ImageEncoder`. The picture, or the part of it, stands in the place of a face: it has a box
and a quality, and no landmarks. What is kept of an enrolled picture, its "crop", is that part shrunk to `CROP_SIDE`,
so that any later model can be given it. What changes a vector (model, preprocessing, mirroring, centring) is named in
the `Space`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from embedder.duplicates import likeness
from embedder.images import Decode, ImageLimits, decode_image, encode_jpeg
from embedder.pipeline import unit_rows
from embedder.quality import assess_picture
from lookalike.domain import Box, Embeddings, EncodedFace, Face, Floats, Pixels, Space
from lookalike.errors import ImageTooSmall, InvalidInput
from lookalike.stages import Stage, staged

CROP_SIDE = 512
"""The longest side of what is kept of a picture: twice what most networks take in."""

CROP_QUALITY = 90

LOOKED_AT_SIDE = 1600
"""The longer side of the copy that parts are looked for in."""

TOGETHER = 32
"""Parts that are cut out and embedded at once."""

FLIPS = ("never", "enrolment", "always")


@dataclass(frozen=True, slots=True)
class ImageModel:
    """What turns pictures into raw vectors. embed: N RGB pictures (H, W, 3) uint8 → (N, D) float32, thread-safe.

    runtime: what runs it, such as "openvino bf16"; preprocessing: all that changes a vector besides the weights.
    """

    name: str
    dimension: int
    preprocessing: str
    embed: Callable[[Sequence[Pixels]], Floats]
    runtime: str


class ImageEmbedder:
    """The whole path from a picture's bytes to its vector. Thread-safe.

    centre: (D,), subtracted from every unit vector; flip: when a vector is averaged with the mirrored picture's;
    decode: what turns bytes into pixels.
    """

    def __init__(
        self,
        model: ImageModel,
        *,
        limits: ImageLimits | None = None,
        centre: Floats | None = None,
        flip: str = "enrolment",
        decode: Decode = decode_image,
    ) -> None:
        self._decode = decode
        self._model = model
        self._limits = limits or ImageLimits()
        self._centre = centre
        self._flip = flip
        preprocessing = model.preprocessing
        if flip != "enrolment":
            preprocessing += f";flip={flip}"
        if centre is not None:
            preprocessing += ";centre=" + hashlib.sha256(centre.astype(np.float32).tobytes()).hexdigest()[:12]
        self._space = Space(model.name, model.dimension, preprocessing)

    @property
    def space(self) -> Space:
        return self._space

    @property
    def runtime(self) -> str:
        return self._model.runtime

    def detect(self, image: bytes) -> list[Face]:
        pixels = self._decode(image, self._limits)
        return [_describe(pixels, _whole(pixels))]

    def encode(
        self, image: bytes, *, largest_only: bool = False, enrolment: bool = False, crops: bool = False
    ) -> list[EncodedFace]:
        pixels = self._decode(image, self._limits)
        return [self._encoded(pixels, _whole(pixels), enrolment, crops)]

    def encode_part(self, image: bytes, box: Box) -> EncodedFace:
        pixels = self._decode(image, self._limits)
        inside = clipped(box, pixels.shape[1], pixels.shape[0], self._limits.min_side)
        return self._encoded(cut(pixels, inside), inside, enrolment=False, crops=False)

    def opened(self, image: bytes) -> OpenedPicture:
        return OpenedPicture(self, self._decode(image, self._limits))

    def enrollable(self, image: bytes) -> tuple[list[Face], EncodedFace | None]:
        pixels = self._decode(image, self._limits)
        found = _describe(pixels, _whole(pixels))
        if found.quality.reasons:
            return [found], None
        return [found], EncodedFace(found, self._embed([pixels], enrolment=True)[0], _kept(pixels))

    def encode_crops(self, crops: Sequence[bytes], *, enrolment: bool = False) -> Embeddings:
        if not crops:
            return Embeddings(self._space, np.zeros((0, self._model.dimension), np.float32))
        pixels = [self._decode(crop, ImageLimits(min_side=1)) for crop in crops]
        return Embeddings(self._space, self._embed(pixels, enrolment))

    def likeness(self, image: bytes, crops: Sequence[bytes], box: Box | None = None) -> list[float]:
        pixels = self._decode(image, self._limits)
        if box is not None:
            pixels = cut(pixels, clipped(box, pixels.shape[1], pixels.shape[0], self._limits.min_side))
        return likeness(pixels, [self._decode(crop, ImageLimits(min_side=1)) for crop in crops])

    def embed_probes(self, parts: Sequence[Pixels]) -> Floats:
        """Pictures or parts of one, as they are searched: N of (H, W, 3) -> (N, D) unit float32."""
        return self._embed(parts, enrolment=False)

    def _encoded(self, part: Pixels, box: Box, enrolment: bool, crops: bool) -> EncodedFace:
        vector = self._embed([part], enrolment)[0]
        return EncodedFace(_describe(part, box), vector, _kept(part) if crops else None)

    @staged(Stage.EMBED)
    def _embed(self, pictures: Sequence[Pixels], enrolment: bool) -> Floats:
        """N pictures -> (N, D) unit float32."""
        if self._flip == "always" or (enrolment and self._flip == "enrolment"):
            mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
            both = unit_rows(self._model.embed([*pictures, *mirrored]))
            unit = unit_rows(both[: len(pictures)] + both[len(pictures) :])
        else:
            unit = unit_rows(self._model.embed(pictures))
        return unit if self._centre is None else unit_rows(unit - self._centre)


class OpenedPicture:
    """The port OpenPicture over pixels (H, W, 3). Many parts are cut from a smaller copy, which is quicker."""

    def __init__(self, encoder: ImageEmbedder, pixels: Pixels) -> None:
        self._encoder = encoder
        self._pixels = pixels
        self._shrunk = _no_longer_than(pixels, LOOKED_AT_SIDE)
        self._scale = self._shrunk.shape[1] / pixels.shape[1]

    @property
    def size(self) -> tuple[float, float]:
        return float(self._pixels.shape[1]), float(self._pixels.shape[0])

    def embed(self, boxes: Sequence[Box]) -> Embeddings:
        rows = [
            self._encoder.embed_probes([cut(self._shrunk, self._small(box)) for box in boxes[start : start + TOGETHER]])
            for start in range(0, len(boxes), TOGETHER)
        ]
        return Embeddings(self._encoder.space, np.concatenate(rows))

    def face(self, box: Box) -> Face:
        inside = clipped(box, self._pixels.shape[1], self._pixels.shape[0], 1)
        return _describe(cut(self._pixels, inside), inside)

    def _small(self, box: Box) -> Box:
        scaled = Box(*(self._scale * value for value in (box.x, box.y, box.width, box.height)))
        return clipped(scaled, self._shrunk.shape[1], self._shrunk.shape[0], 1)


def clipped(box: Box, width: int, height: int, min_side: int) -> Box:
    """The box in whole pixels, without what lies beyond the picture. Raises: InvalidInput, ImageTooSmall."""
    if not all(math.isfinite(value) for value in (box.x, box.y, box.width, box.height)):
        raise InvalidInput("box: finite numbers are allowed")
    left, top = max(math.floor(box.x), 0), max(math.floor(box.y), 0)
    right, bottom = min(math.ceil(box.x + box.width), width), min(math.ceil(box.y + box.height), height)
    if right <= left or bottom <= top:
        raise InvalidInput(f"box: it lies outside the picture, which has {width}×{height} pixels when upright")
    if min(right - left, bottom - top) < min_side:
        raise ImageTooSmall(
            f"box: {right - left}×{bottom - top} pixels of it lie in the picture; each side needs {min_side}"
        )
    return Box(float(left), float(top), float(right - left), float(bottom - top))


def cut(pixels: Pixels, box: Box) -> Pixels:
    """The part of a picture in a box that `clipped` gave."""
    left, top = int(box.x), int(box.y)
    return np.ascontiguousarray(pixels[top : top + int(box.height), left : left + int(box.width)])


def _whole(pixels: Pixels) -> Box:
    return Box(0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0]))


def _describe(part: Pixels, box: Box) -> Face:
    return Face(box, (), 1.0, assess_picture(part))


def _kept(part: Pixels) -> bytes:
    """The picture as it is kept: JPEG, its longer side `CROP_SIDE` at most."""
    return encode_jpeg(_no_longer_than(part, CROP_SIDE), CROP_QUALITY)


def _no_longer_than(pixels: Pixels, side: int) -> Pixels:
    """The picture, made smaller where its longer side has more pixels than `side`."""
    factor = side / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
