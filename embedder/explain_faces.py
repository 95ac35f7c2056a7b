"""Explains two photos of faces: the largest face of each, aligned and embedded exactly as it is compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedder.explain import MASKS, Explanation, explain
from embedder.face_parts import face_parts
from embedder.pipeline import FaceEmbedder
from lookalike.domain import Pixels
from lookalike.errors import FaceNotFound


@dataclass(frozen=True, slots=True, repr=False)
class ExplainedFaces:
    """The aligned crops that were compared, (112, 112, 3) uint8 each, and what their parts gave."""

    crops: tuple[Pixels, Pixels]
    explanation: Explanation


def explain_faces(
    encoder: FaceEmbedder,
    image_a: bytes,
    image_b: bytes,
    *,
    against: bool = False,
    masks: int = MASKS,
    seed: int = 1,
) -> ExplainedFaces:
    """What made the largest faces of two photos similar, or kept them apart.

    Raises: FaceNotFound, and what `FaceEmbedder.detect` does.
    """
    first, second = _largest(encoder, image_a, "image_a"), _largest(encoder, image_b, "image_b")
    found = explain(encoder.embed_aligned, first, second, face_parts(), against=against, masks=masks, seed=seed)
    return ExplainedFaces((first, second), found)


def _largest(encoder: FaceEmbedder, image: bytes, which: str) -> Pixels:
    crops = encoder.aligned(image, largest_only=True)
    if not len(crops):
        raise FaceNotFound(f"no face was found in {which}")
    return np.asarray(crops[0])
