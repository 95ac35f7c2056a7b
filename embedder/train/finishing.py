"""What stands between a network's raw output and the vector that is compared: centring, whitening, joining.

All three are learned from the training classes alone, need no gradient, and become part of the exported graph.
Each branch goes: length 1, minus the centre, length 1, then perhaps a matrix and length 1 again. Joined branches are
set side by side, so that the cosine is the mean of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lookalike.domain import Floats, Labels

SHRINKAGE = 0.1
"""Share of the mean variance in each direction of the within-class covariance (Ledoit and Wolf 2004): few pictures a
class say little of hundreds of directions."""


@dataclass(frozen=True, slots=True)
class Finish:
    """centre: (D,), subtracted from unit vectors; matrix: (E, D), applied after that; None leaves a step out."""

    centre: Floats | None = None
    matrix: Floats | None = None

    def __call__(self, unit: Floats) -> Floats:
        """(N, D) unit → (N, D or E) unit."""
        vectors = unit if self.centre is None else _unit(unit - self.centre)
        return vectors if self.matrix is None else _unit(vectors @ self.matrix.T)


def learn_finish(unit: Floats, labels: Labels, *, centred: bool, whiten: int) -> Finish:
    """From the training classes' vectors. whiten: dimensions to keep, 0 for no matrix. (N, D) unit, (N,)."""
    centre = None
    if centred:
        means = np.stack([unit[labels == label].mean(axis=0) for label in np.unique(labels)])
        centre = means.mean(axis=0).astype(np.float32)
    centred_vectors = Finish(centre)(unit)
    return Finish(centre, _whitening(centred_vectors, labels, whiten) if whiten else None)


def _whitening(vectors: Floats, labels: Labels, dimensions: int) -> Floats:
    """Principal directions, then the inverse root of the shrunk within-class covariance. -> (E, D)"""
    wide = vectors.astype(np.float64)
    _, _, directions = np.linalg.svd(wide - wide.mean(axis=0), full_matrices=False)
    kept = directions[: min(dimensions, len(directions))]
    inside = wide @ kept.T
    for label in np.unique(labels):
        inside[labels == label] -= inside[labels == label].mean(axis=0)
    covariance = inside.T @ inside / len(inside)
    floor = np.trace(covariance) / len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * floor * np.eye(len(covariance))
    values, basis = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = basis @ np.diag(values**-0.5) @ basis.T
    return np.asarray(root @ kept, np.float32)


class FinishedNetwork(torch.nn.Module):
    """The whole exported graph: shared frozen stages, one or more branches, each with its finish, joined."""

    def __init__(self, base: torch.nn.Module, branches: list[tuple[torch.nn.Module, Finish]]) -> None:
        super().__init__()
        self.base = base
        self.tops = torch.nn.ModuleList([top for top, _ in branches])
        for place, (_, finish) in enumerate(branches):
            for name, value in (("centre", finish.centre), ("matrix", finish.matrix)):
                self.register_buffer(f"{name}{place}", None if value is None else torch.from_numpy(value))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) → (N, D) unit."""
        below = self.base(pixels)
        parts = []
        for place, top in enumerate(self.tops):
            vectors = _length_one(top(below))
            centre, matrix = getattr(self, f"centre{place}"), getattr(self, f"matrix{place}")
            if centre is not None:
                vectors = _length_one(vectors - centre)
            parts.append(vectors if matrix is None else _length_one(vectors @ matrix.T))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1) * len(parts) ** -0.5


def _length_one(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
