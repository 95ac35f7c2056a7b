"""Several samples of one subject, one score: the cosine with their centroid.

The centroid was chosen by measurement against the best sample and the mean of scores (docs/adr/0008). It is of unit
length again, so a subject with one sample scores exactly as that sample does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lookalike.domain import Floats


def fuse(query: Floats, vectors: Floats) -> float:
    """A subject's similarity to a query. (D,) unit, (K, D) unit with K >= 1 -> -1 to 1."""
    return float(np.clip(query @ template(vectors), -1.0, 1.0))


def template(vectors: Floats) -> Floats:
    """The direction of the mean of unit vectors. (K, D) -> (D,); zeros where they cancel out."""
    total = vectors.sum(axis=0)
    length = float(np.linalg.norm(total))
    return np.asarray(total / length if length > 1e-6 else np.zeros_like(total), np.float32)


def templates(vectors: Floats, owners: Sequence[str]) -> tuple[Floats, list[str]]:
    """One template per owner. (N, D) and N owners -> (S, D) and the S owners, in order of first appearance."""
    row_of: dict[str, int] = {}
    rows = np.array([row_of.setdefault(owner, len(row_of)) for owner in owners], np.int64)
    totals = np.zeros((len(row_of), vectors.shape[1]), np.float32)
    np.add.at(totals, rows, vectors)
    lengths = np.linalg.norm(totals, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, totals / np.maximum(lengths, 1e-6), 0.0).astype(np.float32), list(row_of)
