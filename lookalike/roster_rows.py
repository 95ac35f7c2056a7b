"""Where a roster's vectors lie, and what follows from that: in this process, or in a server that keeps them.

In this process they begin empty and come from a snapshot. In a server they are there already: a roster that is loaded
adds what is missing, and once it is up to date it drops what belongs to nobody. So an index that was lost, fell behind
or has too much ends right, whoever wrote to it last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from lookalike.domain import Collection, Embeddings, Floats, Labels
from lookalike.ports import LocalIndex, Records, SharedIndex

BATCH = 2000
"""Samples that are opened and sent to a server together."""

COUNT_EVERY_S = 10.0
"""How often a server is asked how many rows it has: a shard that was lost may come back empty, and answer."""


class RosterRows(Protocol):
    """What a roster does with its index."""

    @property
    def keeps_vectors(self) -> bool:
        """Whether a snapshot holds the vectors too."""
        ...

    @property
    def lost(self) -> bool: ...
    def begin(self) -> None:
        """Before the records are asked what is there."""
        ...

    def mark(self, seq: int) -> None:
        """The changes that follow are of this sequence number or before."""
        ...

    def add(self, labels: Labels, vectors: Embeddings) -> None: ...
    def restore(self, labels: Labels, blocks: Iterator[Floats]) -> None:
        """Take over what a snapshot had. blocks: of vectors, (N, D) in all, or none from one without."""
        ...

    def remove(self, labels: Sequence[int]) -> None: ...
    def settle(self, owned: Callable[[], Labels]) -> None:
        """Have the index hold just the labels in `owned`, as far as it is in doubt. Raises: IndexUnavailable."""
        ...

    def kept(self, owned: Callable[[], Labels]) -> tuple[Labels, Iterator[Floats] | None]:
        """What a snapshot holds: labels, ascending, and vectors in blocks, None where it holds none."""
        ...

    def count(self, owned: Callable[[], Labels], *, now: bool) -> None:
        """See now and then, or now, that no row is lost; whoever calls keeps `owned` from changing.

        Raises: IndexUnavailable; if rows are lost the index is, too.
        """
        ...

    def tidy(self) -> None: ...


def rows_of(index: LocalIndex | SharedIndex, collection: Collection, records: Records) -> RosterRows:
    """How a roster treats this index."""
    return _InServer(index, collection, records) if isinstance(index, SharedIndex) else _InProcess(index)


class _InProcess:
    """An index that begins empty and ends with the process."""

    keeps_vectors = True

    def __init__(self, index: LocalIndex) -> None:
        self._index = index

    @property
    def lost(self) -> bool:
        return self._index.lost

    def begin(self) -> None:
        pass

    def mark(self, seq: int) -> None:
        pass

    def add(self, labels: Labels, vectors: Embeddings) -> None:
        self._index.add(labels, vectors)

    def restore(self, labels: Labels, blocks: Iterator[Floats]) -> None:
        self._index.fill(labels, blocks)

    def remove(self, labels: Sequence[int]) -> None:
        self._index.remove(labels)

    def settle(self, owned: Callable[[], Labels]) -> None:
        pass

    def kept(self, owned: Callable[[], Labels]) -> tuple[Labels, Iterator[Floats] | None]:
        return self._index.blocks()

    def count(self, owned: Callable[[], Labels], *, now: bool) -> None:
        pass

    def tidy(self) -> None:
        self._index.tidy()


class _InServer:
    """An index that others write to as well. While it is loaded, `_held` is what it had when that began."""

    keeps_vectors = False

    def __init__(self, index: SharedIndex, collection: Collection, records: Records) -> None:
        self._index = index
        self._collection = collection
        self._records = records
        self._held: Labels | None = None
        self._counted_at = -math.inf

    @property
    def lost(self) -> bool:
        return self._index.lost

    def begin(self) -> None:
        """An index that was written to later than the records know belongs to another history: they were put back.

        Its numbers may be given to others now, so nothing of it is used.
        """
        if self._index.marked() > self._records.last_seq():
            self._index.discard("it is ahead of the records")
        self._held = self._index.labels()
        self._index.mark(self._records.last_seq())

    def mark(self, seq: int) -> None:
        self._index.mark(seq)

    def add(self, labels: Labels, vectors: Embeddings) -> None:
        if self._held is None:
            self._index.put(labels, vectors)
            return
        lacking = ~np.isin(labels, self._held)
        if lacking.any():
            self._index.fill(labels[lacking], Embeddings(vectors.space, vectors.vectors[lacking]))

    def restore(self, labels: Labels, blocks: Iterator[Floats]) -> None:
        """Of the snapshot's labels those that the server lacks, from the records: they may be gone since."""
        held = self._held if self._held is not None else labels[:0]
        lacking = labels[~np.isin(labels, held)].tolist()
        for start in range(0, len(lacking), BATCH):
            found = self._records.samples_numbered(self._collection, lacking[start : start + BATCH])
            if found:
                rows = Embeddings(self._collection.space, np.stack([sample.vector for sample in found]))
                self.add(np.array([sample.number for sample in found], dtype=np.int64), rows)

    def remove(self, labels: Sequence[int]) -> None:
        self._index.drop(labels)

    def settle(self, owned: Callable[[], Labels]) -> None:
        """The first time, also drop what it held that no record explains.

        A row is in the server only after its sample was committed. `_held` is older than the changes that `owned` was
        brought up to, so what it has beyond them was erased.
        """
        if self._held is not None:
            there = owned()
            orphans = self._held[~np.isin(self._held, there)]
            if len(orphans):
                self._index.drop(orphans.tolist())
            self._index.settle()
            self._require_all(there)
            self._held, self._counted_at = None, time.monotonic()
        self._index.settle()

    def _require_all(self, owned: Labels) -> None:
        """Discard an index that lacks rows of samples that are on record, which no put can bring back."""
        if len(self._index) >= len(owned):
            return
        lacking = np.setdiff1d(owned, self._index.labels())
        if len(lacking) and self._records.samples_numbered(self._collection, lacking[:BATCH].tolist()):
            self._index.discard("it lacks rows")

    def kept(self, owned: Callable[[], Labels]) -> tuple[Labels, Iterator[Floats] | None]:
        return owned(), None

    def count(self, owned: Callable[[], Labels], *, now: bool) -> None:
        if now:
            self._counted_at = -math.inf
        if time.monotonic() >= self._counted_at + COUNT_EVERY_S:
            self._require_all(owned())
            self._counted_at = time.monotonic()

    def tidy(self) -> None:
        self._index.tidy()
