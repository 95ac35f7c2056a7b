"""An immutable block of vectors, with codes beside them where it is large enough.

The codes name the likely rows; the float32 vectors give the true similarities. index/faiss_search.py says which rows
are looked at, and when that is enough; index/stored_rows.py where the vectors lie.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.bitmaps import Bitmap, positions_in
from index.codes import Codec, Codes
from index.row_rules import Positions, find
from index.stored_rows import StoredRows
from lookalike.domain import Floats, Labels

FEWEST_CODED = 1024
"""A block of fewer rows has no codes: looking at all of them costs no more than a scan and what goes with it."""

DENSE_SPAN = 8
"""Labels that fill at least an eighth of their span are looked up in a table."""

_BLOCK_BYTES = 32 * 2**20


class Segment:
    """labels: (N,) ascending; rows: their vectors; both owned by the segment and never written again.

    codec: makes its codes, where it is large enough for some; None for a block that has none yet.
    """

    def __init__(self, labels: Labels, rows: StoredRows, codec: Codec | None = None) -> None:
        self.labels = labels
        self.rows = rows
        self._places = _places(labels)
        self.codes = Codes(codec, rows) if codec is not None and len(labels) >= FEWEST_CODED else None

    def __len__(self) -> int:
        return len(self.labels)

    def is_coded_by(self, codec: Codec) -> bool:
        """Whether it has the codes that this codec would give it."""
        return len(self) < FEWEST_CODED or (self.codes is not None and self.codes.codec is codec)

    @property
    def memory_bytes(self) -> int:
        places = 0 if self._places is None else self._places.nbytes
        codes = 0 if self.codes is None else self.codes.memory_bytes
        return self.labels.nbytes + self.rows.memory_bytes + places + codes

    def locate(self, labels: Labels) -> tuple[Labels, Positions]:
        """Which of these labels, (N,) ascending, are here, dead or alive, and where they stand."""
        if not len(self) or not len(labels) or labels[0] > self.labels[-1] or labels[-1] < self.labels[0]:
            return labels[:0], np.empty(0, dtype=np.int64)
        near = labels[np.searchsorted(labels, self.labels[0]) : np.searchsorted(labels, self.labels[-1], "right")]
        if self._places is None:
            positions, found = find(self.labels, near)
        else:
            positions = self._places[near - self.labels[0]].astype(np.int64)
            found = positions >= 0
        return near[found], positions[found]

    def best(self, queries: Floats, k: int, live: Bitmap | None) -> list[tuple[Positions, Floats]]:
        """By every vector: positions and similarities of each query's k nearest rows. live: None when all are."""
        answers: list[tuple[Positions, Floats]] = []
        chosen = None if live is None else positions_in(live, len(self))
        positions = np.arange(len(self)) if chosen is None else chosen
        together = max(1, _BLOCK_BYTES // (4 * max(len(self), 1)))
        for start in range(0, len(queries), together):
            for similarities in self.rows.similarities(queries[start : start + together], chosen):
                answers.append(_best(positions, similarities, k))
        return answers


def _places(labels: Labels) -> NDArray[np.int32] | None:
    """The position of each label counted from the first, -1 where there is none; None if that would be mostly gaps."""
    if not len(labels) or int(labels[-1]) - int(labels[0]) >= DENSE_SPAN * len(labels):
        return None
    places = np.full(int(labels[-1] - labels[0]) + 1, -1, dtype=np.int32)
    places[labels - labels[0]] = np.arange(len(labels), dtype=np.int32)
    return places


def _best(positions: Positions, similarities: Floats, k: int) -> tuple[Positions, Floats]:
    """The k highest of these rows, in any order."""
    if len(positions) > k:
        chosen = np.argpartition(similarities, len(positions) - k)[len(positions) - k :]
        positions, similarities = positions[chosen], similarities[chosen]
    return positions, similarities
