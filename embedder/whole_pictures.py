"""Whole pictures as unit vectors, for visual search: decode, fit into a square, embed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lookalike.domain import Floats, Pixels


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
