"""What every backend asks of the rows and queries that come in, and how it ranks what it found."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lookalike.domain import Embeddings, Floats, Labels, Space
from lookalike.errors import InvalidInput
from lookalike.ports import Neighbour

LONGEST_DEVIATION = 1e-3
"""How far from 1 the length of a vector may be."""

Positions = NDArray[np.int64]


def checked_rows(space: Space, labels: Labels, vectors: Embeddings) -> tuple[Labels, Floats]:
    """Labels ascending without repetition, (N,), and their rows, (N, D) float32; of a repeated label the last counts.

    Raises: SpaceMismatch; InvalidInput for labels that do not match the rows, and for rows that are not unit vectors.
    """
    space.require(vectors.space)
    numbers = np.asarray(labels, dtype=np.int64).ravel()
    if len(numbers) != len(vectors):
        raise InvalidInput(f"{len(numbers)} labels were given for {len(vectors)} vectors")
    rows = unit_rows(vectors.vectors)
    if len(numbers) > 1 and not (np.diff(numbers) > 0).all():
        ascending, from_end = np.unique(numbers[::-1], return_index=True)
        return ascending, rows[len(numbers) - 1 - from_end]
    return numbers, rows


def checked_queries(space: Space, queries: Embeddings, k: int) -> Floats:
    """(Q, D) float32. Raises: SpaceMismatch; InvalidInput for k below 1 and for queries that are not unit vectors."""
    space.require(queries.space)
    if k < 1:
        raise InvalidInput("a search asks for at least one neighbour")
    return unit_rows(queries.vectors)


def unit_rows(vectors: Floats) -> Floats:
    """The rows, contiguous float32. Raises: InvalidInput if one has a NaN, an infinity or another length than 1."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        unit = np.abs(lengths - 1.0) <= LONGEST_DEVIATION
    if not unit.all():
        raise InvalidInput("an embedding must be finite and of length 1")
    return rows


def label_array(labels: Iterable[int]) -> Labels:
    """(N,) int64, in the order given."""
    return np.asarray(labels if isinstance(labels, np.ndarray) else list(labels), dtype=np.int64).ravel()


def find(ascending: Labels, wanted: Labels) -> tuple[Positions, NDArray[np.bool_]]:
    """Where each wanted label stands in an ascending array, and whether it is there at all: (N,), (N,)."""
    positions = np.searchsorted(ascending, wanted)
    if not len(ascending):
        return positions, np.zeros(len(wanted), dtype=np.bool_)
    positions[positions == len(ascending)] = 0
    return positions, ascending[positions] == wanted


def ranked(labels: Labels, similarities: Floats, k: int) -> list[Neighbour]:
    """The k most similar, most similar first; equal ones in order of their labels. (N,), (N,)."""
    if len(labels) > k:
        kept = similarities >= np.partition(similarities, len(similarities) - k)[len(similarities) - k]
        labels, similarities = labels[kept], similarities[kept]
    order = np.lexsort((labels, -similarities))[:k]
    return [
        Neighbour(label, similarity)
        for label, similarity in zip(labels[order].tolist(), similarities[order].tolist(), strict=True)
    ]
