"""From a photo's bytes to its faces with unit vectors: decode, detect, align, assess, embed.

Implements `lookalike.ports.FaceEncoder`. Only the faces that are asked for are aligned and embedded. What changes a
vector (model, alignment, centring) is named in the `Space`, so that vectors made differently are never compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from embedder.align import CROP_SIDE, align_face
from embedder.detect import Detection, Detector
from embedder.images import Decode, ImageLimits, decode_image, encode_jpeg
from embedder.quality import assess
from lookalike.domain import Embeddings, EncodedFace, Face, Floats, Pixels, Space
from lookalike.errors import InvalidInput
from lookalike.stages import Stage, staged


@dataclass(frozen=True, slots=True)
class FaceModel:
    """What turns aligned crops into raw vectors. embed: (N, 112, 112, 3) uint8 RGB → (N, D) float32, thread-safe.

    runtime: what runs it, such as "openvino bf16"; preprocessing: all that changes a vector besides the weights.
    """

    name: str
    dimension: int
    preprocessing: str
    embed: Callable[[Pixels], Floats]
    runtime: str


class FaceEmbedder:
    """The whole path from pixels to vectors. Thread-safe.

    centre: (D,), subtracted from every unit vector; flip: "never", "enrolment" or "always", when a crop's vector is
    averaged with its mirror image's; decode: what turns bytes into pixels.
    """

    def __init__(
        self,
        detector: Detector,
        model: FaceModel,
        *,
        limits: ImageLimits | None = None,
        centre: Floats | None = None,
        flip: str = "enrolment",
        decode: Decode = decode_image,
    ) -> None:
        self._decode = decode
        self._detector = detector
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
        found = self._detector(pixels)
        return [self._describe(pixels, face, align_face(pixels, face.landmarks)) for face in found]

    def encode(
        self, image: bytes, *, largest_only: bool = False, enrolment: bool = False, crops: bool = False
    ) -> list[EncodedFace]:
        pixels = self._decode(image, self._limits)
        found = self._detector(pixels)[: 1 if largest_only else None]
        if not found:
            return []
        aligned = np.stack([align_face(pixels, face.landmarks) for face in found])
        vectors = self._embed(aligned, enrolment)
        return [
            EncodedFace(self._describe(pixels, face, crop), vector, encode_jpeg(crop) if crops else None)
            for face, crop, vector in zip(found, aligned, vectors, strict=True)
        ]

    def enrollable(self, image: bytes) -> tuple[list[Face], EncodedFace | None]:
        pixels = self._decode(image, self._limits)
        crops = [(found, align_face(pixels, found.landmarks)) for found in self._detector(pixels)]
        faces = [self._describe(pixels, found, crop) for found, crop in crops]
        if not faces or faces[0].quality.reasons:
            return faces, None
        crop = crops[0][1]
        vector = self._embed(crop[None], enrolment=True)[0]
        return faces, EncodedFace(faces[0], vector, encode_jpeg(crop))

    def encode_crops(self, crops: Sequence[bytes], *, enrolment: bool = False) -> Embeddings:
        if not crops:
            return Embeddings(self._space, np.zeros((0, self._model.dimension), np.float32))
        pixels = [self._decode(crop, self._limits) for crop in crops]
        if any(crop.shape != (CROP_SIDE, CROP_SIDE, 3) for crop in pixels):
            raise InvalidInput(f"an aligned crop has {CROP_SIDE}×{CROP_SIDE} pixels")
        return Embeddings(self._space, self._embed(np.stack(pixels), enrolment))

    def aligned(self, image: bytes, *, largest_only: bool = False) -> Pixels:
        """The faces' aligned crops, largest first, as they are embedded: (N, 112, 112, 3) uint8, N = 0 for none.

        Raises: as `detect`.
        """
        pixels = self._decode(image, self._limits)
        found = self._detector(pixels)[: 1 if largest_only else None]
        crops = [align_face(pixels, face.landmarks) for face in found]
        return np.array(crops, np.uint8).reshape(-1, CROP_SIDE, CROP_SIDE, 3)

    def embed_aligned(self, aligned: Pixels) -> Floats:
        """Crops as probes: (N, 112, 112, 3) uint8 -> (N, D) unit float32."""
        return self._embed(aligned, enrolment=False)

    def _describe(self, pixels: Pixels, found: Detection, crop: Pixels) -> Face:
        height, width = pixels.shape[:2]
        quality = assess(crop, found.box, found.landmarks, width, height)
        return Face(found.box, found.landmarks, found.confidence, quality)

    @staged(Stage.EMBED)
    def _embed(self, aligned: Pixels, enrolment: bool) -> Floats:
        """(N, 112, 112, 3) uint8 -> (N, D) unit float32; averaged with the mirrored crop's when `flip` says so."""
        if self._flip == "never" or (self._flip == "enrolment" and not enrolment):
            return self._finish(self._model.embed(aligned))
        both = self._model.embed(np.concatenate([aligned, aligned[:, :, ::-1]]))
        upright, mirrored = unit_rows(both[: len(aligned)]), unit_rows(both[len(aligned) :])
        return self._finish(upright + mirrored)

    def _finish(self, raw: Floats) -> Floats:
        unit = unit_rows(raw)
        return unit if self._centre is None else unit_rows(unit - self._centre)


def unit_rows(vectors: Floats) -> Floats:
    """Each row divided by its length. (N, D) -> (N, D) float32."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
