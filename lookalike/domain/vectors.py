"""Vectors of models: arrays, the spaces that they lie in, and rows that say which space is theirs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import SpaceMismatch

Floats = NDArray[np.float32]

Pixels = NDArray[np.uint8]

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Space:
    """What makes two embeddings comparable: model, dimension and preprocessing must all be equal."""

    model: str
    dimension: int
    preprocessing: str

    @property
    def key(self) -> str:
        """16 hex characters that stand for this space where records name it in the clear."""
        facts = json.dumps([self.model, self.dimension, self.preprocessing], separators=(",", ":"))
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def require(self, other: Space) -> None:
        """Raises: SpaceMismatch unless `other` is this space."""
        if self != other:
            raise SpaceMismatch(f"embeddings of {other.model!r} cannot be compared with those of {self.model!r}")


@dataclass(frozen=True, slots=True, repr=False)
class Embeddings:
    """Unit vectors of one space. vectors: (N, D) float32, each row of length 1."""

    space: Space
    vectors: Floats

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.shape[1] != self.space.dimension:
            raise SpaceMismatch(f"vectors of shape {self.vectors.shape} do not fit dimension {self.space.dimension}")

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        return f"Embeddings({len(self)} in {self.space.model})"
