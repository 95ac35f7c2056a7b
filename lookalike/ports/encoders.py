"""Ports to models: what turns pictures into vectors, and where models come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from lookalike.calibration import Calibration
from lookalike.domain import (
    Box,
    Embeddings,
    EncodedFace,
    Face,
    Kind,
    Space,
)


class FaceEncoder(Protocol):
    """A photo in, its faces out: decode, detect, align, assess and embed. Thread-safe."""

    @property
    def space(self) -> Space: ...

    @property
    def runtime(self) -> str:
        """The runtime and precision in use, as `doctor` and `/readyz` show them: "openvino bf16"."""
        ...

    def detect(self, image: bytes) -> list[Face]:
        """Faces, largest first; an empty list where there is none.

        Raises: UnsupportedImage, ImageTooLarge, ImageTooSmall.
        """
        ...

    def encode(
        self, image: bytes, *, largest_only: bool = False, enrolment: bool = False, crops: bool = False
    ) -> list[EncodedFace]:
        """Faces with unit vectors in `space`, largest first; an empty list where there is none.

        enrolment: spend more on a better template (flip averaging), as is worth it once per sample.
        crops: give each face's aligned crop as JPEG too.
        Raises: as `detect`.
        """
        ...

    def enrollable(self, image: bytes) -> tuple[list[Face], EncodedFace | None]:
        """All faces, largest first, and the largest one's template with its crop, in one pass.

        The template is None where there is no face or where the largest one's quality has a reason against it.
        Raises: as `detect`.
        """
        ...

    def encode_crops(self, crops: Sequence[bytes], *, enrolment: bool = False) -> Embeddings:
        """Embeddings of aligned crops as `encode` gave them: (N, D)."""
        ...


class OpenPicture(Protocol):
    """A decoded picture of which any part can be embedded."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height when upright."""
        ...

    def embed(self, boxes: Sequence[Box]) -> Embeddings:
        """What lies in each box as a probe: (N, D). Boxes lie within the picture."""
        ...

    def face(self, box: Box) -> Face:
        """What the answer says of a part, in whole pixels."""
        ...


@runtime_checkable
class ImageEncoder(FaceEncoder, Protocol):
    """A picture in, itself out, in the place of a face without landmarks: for collections of whole pictures.

    Its crops are the pictures themselves, made smaller.
    """

    def encode_part(self, image: bytes, box: Box) -> EncodedFace:
        """What lies in the box alone, whose part beyond the picture is ignored.

        Raises: as `detect`, and InvalidInput for a box outside the picture.
        """
        ...

    def opened(self, image: bytes) -> OpenPicture:
        """The picture, decoded once, for those who look at many parts of it. Raises: as `detect`."""
        ...

    def likeness(self, image: bytes, crops: Sequence[bytes], box: Box | None = None) -> list[float]:
        """How far each crop is the same picture, encoded, resized or cropped differently: -1 to 1, 1 for a copy."""
        ...


class Models(Protocol):
    """The models at hand, each loaded at its first use. Thread-safe."""

    def default(self, kind: Kind) -> Space:
        """The space of new collections of this kind. Raises: ModelNotAvailable where there is no model for it."""
        ...

    def names(self, kind: Kind) -> list[str]:
        """The models that a collection of this kind can be given, the default one first."""
        ...

    def space(self, kind: Kind, model: str) -> Space:
        """The space of a model by its name. Raises: ModelNotAvailable."""
        ...

    def encoder(self, space: Space) -> FaceEncoder:
        """What encodes into this space: an `ImageEncoder` where the model is one for pictures.

        Raises: ModelNotAvailable where its model is not at hand; SpaceMismatch where that prepares pictures otherwise.
        """
        ...

    def calibration(self, space: Space) -> Calibration | None:
        """What the model's scores mean, as far as that was learned before; None where it was not."""
        ...
