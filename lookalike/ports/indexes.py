"""Ports to indexes of vectors, in this process or in a server, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lookalike.domain import (
    Embeddings,
    Floats,
    Labels,
    Space,
)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row of an index near a query. label: the sample's number; similarity: cosine."""

    label: int
    similarity: float


@dataclass(frozen=True, slots=True)
class IndexState:
    """How an index answers at present, for an operator to read.

    structure: a stable word, "exact" or "codes" among others; why: a sentence; rows: that can be found; removed: rows
    that are gone and still take room; parts: what a search goes through one by one; memory_bytes: in this process;
    disk_bytes: that this process keeps beside it; next_change: a sentence on what will change the structure, and when.
    """

    structure: str
    why: str
    rows: int
    dimension: int
    removed: int
    parts: int
    memory_bytes: int
    next_change: str
    disk_bytes: int = 0


class VectorIndex(Protocol):
    """The live vectors of one collection, all of one space. Readers never wait for each other."""

    @property
    def space(self) -> Space: ...

    def __len__(self) -> int: ...

    def add(self, labels: Labels, vectors: Embeddings) -> None:
        """(N,) and (N, D). A label that is there already is replaced. Raises: SpaceMismatch."""
        ...

    def remove(self, labels: Iterable[int]) -> int:
        """Forget these labels at once; unknown ones are ignored. Returns how many were there."""
        ...

    def search(self, queries: Embeddings, k: int, allowed: Labels | None = None) -> list[list[Neighbour]]:
        """The k nearest rows of each query, most similar first; only labels in `allowed` when it is given."""
        ...

    def vectors(self, labels: Sequence[int]) -> Floats:
        """The stored vectors, (N, D) float32, of labels that are all present. Raises: KeyError."""
        ...

    def dump(self) -> tuple[Labels, Floats]:
        """All live rows: (N,) labels ascending, (N, D) float32."""
        ...

    def describe(self) -> IndexState:
        """What answers now, and why; at a cost that does not grow with the rows."""
        ...


class LocalIndex(VectorIndex, Protocol):
    """An index of this process alone: it begins empty, and is taken over and handed on block by block."""

    def fill(self, labels: Labels, blocks: Iterable[Floats]) -> None:
        """Add rows that are not there yet and come block by block: labels (N,) ascending, blocks (B, D) of N in all.

        A block belongs to the index from then on. Raises: InvalidInput.
        """
        ...

    def blocks(self) -> tuple[Labels, Iterator[Floats]]:
        """All live rows of one moment: (N,) labels ascending, and in their order blocks of vectors, (B, D) float32."""
        ...

    @property
    def lost(self) -> bool:
        """Whether part of it can no longer be read, so that it must be made anew."""
        ...

    def tidy(self) -> None:
        """Have what was removed taken off the disk where it is time to; called now and then, and does not wait."""
        ...


class RowFile(Protocol):
    """Vectors in a sealed file, which goes with the last one who holds it."""

    @property
    def disk_bytes(self) -> int: ...

    def read(self, positions: NDArray[np.int64]) -> Floats:
        """(N,) -> (N, D) float32. Raises: TamperedData unless all is as it was written; StorageUnavailable."""
        ...


class RowFiles(Protocol):
    """Where an index of this process keeps vectors that it does not hold in memory: sealed, for its own life alone."""

    def write(self, count: int, dimension: int, blocks: Iterable[Floats]) -> RowFile:
        """A file of `count` rows, which come in blocks (B, D). Raises: StorageFull, StorageUnavailable."""
        ...


@runtime_checkable
class SharedIndex(VectorIndex, Protocol):
    """An index in a server that several processes write to, and that keeps its rows when they end.

    A label's life is put once, dropped once, and whichever process says so late changes nothing: a put never undoes a
    drop. What the server could not be told is owed: `put` and `drop` take note of it and raise nothing.
    """

    @property
    def lost(self) -> bool:
        """Whether the server no longer has this index, so that it must be opened and reconciled anew."""
        ...

    def put(self, labels: Labels, vectors: Embeddings) -> None:
        """Add rows, whose labels were never dropped, and tell the server if it can be told now. Raises: as `add`."""
        ...

    def fill(self, labels: Labels, vectors: Embeddings) -> None:
        """Add many rows, found after the next `settle`. Raises: as `add`, and IndexUnavailable."""
        ...

    def drop(self, labels: Iterable[int]) -> None:
        """Forget these labels for good, and tell the server if it can be told now."""
        ...

    def mark(self, seq: int) -> None:
        """Have the next write say that it is of this change of the records or before."""
        ...

    def marked(self) -> int:
        """The latest change that a write was of, by any process; 0 where none was. Raises: IndexUnavailable."""
        ...

    def discard(self, why: str) -> None:
        """Delete the index from the server and be lost. Raises: IndexUnavailable, always."""
        ...

    def settle(self) -> None:
        """Tell the server what is owed. Raises: IndexUnavailable while it cannot be told, or did not answer lately."""
        ...

    def labels(self) -> Labels:
        """All live labels, ascending. Raises: IndexUnavailable."""
        ...

    def tidy(self) -> None:
        """Have the server take what was dropped off its disks, if that has not been asked for lately."""
        ...


class IndexServers(Protocol):
    """The servers that the shared indexes of this deployment are in."""

    def check(self) -> None:
        """Raises: IndexUnavailable unless every server answers for all that it has of this deployment."""
        ...

    def forget(self, collection_id: str) -> None:
        """Delete a collection's indexes, of all its generations. Raises: IndexUnavailable."""
        ...

    def drop(self, collection_id: str, labels: Sequence[int], loaded: Sequence[str]) -> None:
        """Drop labels from all generations of a collection but those in `loaded`. Raises: IndexUnavailable."""
        ...

    def keep_only(self, wanted: Callable[[], set[tuple[str, str]]]) -> int:
        """Delete the indexes of all generations but these, (collection id, generation). Returns how many.

        wanted: asked after the servers were, so that one that begins meanwhile is not taken for an orphan.
        Raises: IndexUnavailable.
        """
        ...
