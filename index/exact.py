"""Brute force in NumPy: the reference that every other backend must agree with.

Readers take the arrays of the moment and never wait; each write makes new arrays, so it costs as much as the index is
large. That suits tests, comparisons and galleries of a few thousand.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from index.row_rules import checked_queries, checked_rows, find, label_array, ranked
from lookalike.domain import Embeddings, Floats, Labels, Space
from lookalike.ports import IndexState, Neighbour


class ExactIndex:
    """The port LocalIndex: labels ascending, (N,), beside their vectors, (N, D)."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._rows: tuple[Labels, Floats] = (
            np.empty(0, dtype=np.int64),
            np.empty((0, space.dimension), dtype=np.float32),
        )
        self._writing = threading.Lock()

    @property
    def space(self) -> Space:
        return self._space

    def __len__(self) -> int:
        return len(self._rows[0])

    def add(self, labels: Labels, vectors: Embeddings) -> None:
        """Add or replace rows. Raises: SpaceMismatch, InvalidInput."""
        fresh, rows = checked_rows(self._space, labels, vectors)
        with self._writing:
            old_labels, old_rows = self._rows
            stay = ~np.isin(old_labels, fresh)
            merged = np.concatenate([old_labels[stay], fresh])
            order = np.argsort(merged)
            self._rows = (merged[order], np.concatenate([old_rows[stay], rows])[order])

    def fill(self, labels: Labels, blocks: Iterable[Floats]) -> None:
        """Add rows that come block by block. Raises: InvalidInput."""
        rows = [*blocks]
        if rows:
            self.add(labels, Embeddings(self._space, np.concatenate(rows)))

    def remove(self, labels: Iterable[int]) -> int:
        """Forget these labels; how many were there."""
        with self._writing:
            old_labels, old_rows = self._rows
            stay = ~np.isin(old_labels, label_array(labels))
            self._rows = (old_labels[stay], old_rows[stay])
            return len(old_labels) - int(stay.sum())

    def search(self, queries: Embeddings, k: int, allowed: Labels | None = None) -> list[list[Neighbour]]:
        """The k most similar rows of each query. Raises: SpaceMismatch, InvalidInput."""
        wanted = checked_queries(self._space, queries, k)
        labels, rows = self._rows
        if allowed is not None:
            chosen = np.isin(labels, allowed)
            labels, rows = labels[chosen], rows[chosen]
        return [ranked(labels, similarities, k) for similarities in wanted @ rows.T]

    def vectors(self, labels: Sequence[int]) -> Floats:
        """(N, D) in the order of `labels`. Raises: KeyError."""
        there, rows = self._rows
        positions, found = find(there, label_array(labels))
        if not found.all():
            raise KeyError("a label is not in the index")
        return rows[positions]

    def dump(self) -> tuple[Labels, Floats]:
        """All rows, labels ascending."""
        labels, rows = self._rows
        return labels.copy(), rows.copy()

    def blocks(self) -> tuple[Labels, Iterator[Floats]]:
        """All rows, labels ascending, in one block."""
        labels, rows = self._rows
        return labels, iter([rows])

    lost = False
    """Its rows are in memory and stay there."""

    def tidy(self) -> None:
        """Nothing of it is on a disk."""

    def describe(self) -> IndexState:
        """What answers now, and why."""
        labels, rows = self._rows
        return IndexState(
            structure="exact",
            why="in memory, by exact:, which was asked for: every row is compared",
            rows=len(labels),
            dimension=self._space.dimension,
            removed=0,
            parts=1,
            memory_bytes=labels.nbytes + rows.nbytes,
            next_change="never; `lookalike reindex COLLECTION --index faiss:` changes it",
        )
