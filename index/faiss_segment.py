"""An immutable block of vectors that FAISS scans at four bits a dimension and NumPy ranks by the vectors themselves.

The scan (FAISS's PQ FastScan, https://arxiv.org/abs/1704.07355) names the likely rows; their float32 vectors give the
true similarities. How far the scan was off is seen on those very rows, so it is known how similar a row that it left
out could be: when the k-th true similarity is above that by a margin, the answer is taken, else more rows are looked
at, at last all of them. The approximation costs time then, not people: docs/adr/0004-*.md gives its recall on faces.
"""

from __future__ import annotations

import threading
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.row_rules import Positions, find
from lookalike.domain import Floats, Labels

Bitmap = NDArray[np.uint8]
"""One bit a row, lowest first: 1 where the row may be returned."""

CODES_FROM = 4096
"""A block with fewer rows is scanned as it is."""

LOOKS = (64, 512)
"""How many rows are looked at first, and if that did not settle it; after that, all."""

LOOK_SHARE = 8
"""Looking at more than an eighth of the rows one by one is dearer than a product with all of them."""

DENSE_SPAN = 8
"""Labels that fill at least an eighth of their span are looked up in a table."""

MARGIN = 5.0
"""In standard deviations of the scan's error: one chance in 3 million for a row that stands right at the edge."""

RANGE = 2.5
"""Codes cover the mean of a dimension plus and minus so many standard deviations."""

KERNEL = 15
"""FAISS's FastScan kernel: rows in the outer loop, the best kept in a reservoir. Among 100,000 faces, in batches of
four and more, a query takes a third less time than with the one that FAISS chooses, and as much alone."""

_SAMPLE = 16384
_BLOCK_BYTES = 32 * 2**20
_mine = threading.local()


def one_thread() -> None:
    """Keep FAISS on the calling thread: requests run side by side, and OpenMP's setting is each thread's own."""
    if not getattr(_mine, "ready", False):
        faiss.omp_set_num_threads(1)
        _mine.ready = True


class Segment:
    """labels: (N,) ascending; rows: (N, D) float32, both owned by the segment and never written again."""

    def __init__(self, labels: Labels, rows: Floats) -> None:
        self.labels = labels
        self.rows = rows
        self._places = _places(labels)
        self._codes: Any = None
        self._error = 0.0
        if len(labels) >= CODES_FROM:
            self._codes, self._error = _encode(rows)

    def __len__(self) -> int:
        return len(self.labels)

    def locate(self, labels: Labels) -> tuple[Positions, NDArray[np.bool_]]:
        """Where these labels stand, and whether they are here at all, dead or alive: (N,), (N,)."""
        if self._places is None:
            return find(self.labels, labels)
        offsets = labels - self.labels[0]
        inside = (labels >= self.labels[0]) & (labels <= self.labels[-1])
        positions: Positions = self._places[np.where(inside, offsets, 0)].astype(np.int64)
        return positions, inside & (positions >= 0)

    def nearest(self, queries: Floats, k: int, live: Bitmap | None, alive: int) -> list[tuple[Positions, Floats]]:
        """For each query, positions and similarities of rows among which its k most similar live ones are.

        queries: (Q, D); live: None when all are; alive: how many are.
        """
        found: list[tuple[Positions, Floats] | None] = [None] * len(queries)
        open_questions = list(range(len(queries)))
        for look in LOOKS:
            wanted = max(look, 4 * k) * max(len(self), 1) // max(alive, 1)
            if self._codes is None or not open_questions or wanted * LOOK_SHARE > len(self):
                break
            for i, answer in zip(open_questions, self._by_codes(queries[open_questions], k, live, wanted), strict=True):
                found[i] = answer
            open_questions = [i for i in open_questions if found[i] is None]
        if open_questions:
            for i, answer in zip(open_questions, self._by_rows(queries[open_questions], k, live), strict=True):
                found[i] = answer
        return [answer for answer in found if answer is not None]

    def _by_codes(
        self, queries: Floats, k: int, live: Bitmap | None, look: int
    ) -> list[tuple[Positions, Floats] | None]:
        """As `nearest`, None where the rows looked at do not settle it."""
        one_thread()
        scanned, positions = self._codes.search(queries, look)
        exact = np.einsum("qld,qd->ql", self.rows[positions], queries)
        spread = np.maximum(np.sqrt(np.square(exact - scanned).mean(axis=1)), self._error)
        bound = scanned[:, -1] + MARGIN * spread
        answers: list[tuple[Positions, Floats] | None] = []
        for row, similar, most in zip(positions, exact, bound, strict=True):
            if live is not None:
                alive = bits_at(live, row)
                row, similar = row[alive], similar[alive]
            settled = len(similar) >= k and np.partition(similar, len(similar) - k)[len(similar) - k] >= most
            answers.append((row, similar) if settled else None)
        return answers

    def _by_rows(self, queries: Floats, k: int, live: Bitmap | None) -> list[tuple[Positions, Floats]]:
        """As `nearest`, by looking at every row."""
        answers: list[tuple[Positions, Floats]] = []
        together = max(1, _BLOCK_BYTES // (4 * max(len(self), 1)))
        for start in range(0, len(queries), together):
            for similarities in queries[start : start + together] @ self.rows.T:
                answers.append(_best(similarities, k, live))
        return answers


def _places(labels: Labels) -> NDArray[np.int32] | None:
    """The position of each label counted from the first, -1 where there is none; None if that would be mostly gaps."""
    if not len(labels) or int(labels[-1]) - int(labels[0]) >= DENSE_SPAN * len(labels):
        return None
    places = np.full(int(labels[-1] - labels[0]) + 1, -1, dtype=np.int32)
    places[labels - labels[0]] = np.arange(len(labels), dtype=np.int32)
    return places


def _encode(rows: Floats) -> tuple[Any, float]:
    """The four-bit codes of the rows, and the error to be expected of a similarity to one, as a standard deviation.

    FAISS's quantiser of scalars makes the codes, being some ten times faster at it than its product quantiser, which
    reads them as they are: both put the even dimension into the low half of a byte.
    """
    one_thread()
    dimension = rows.shape[1]
    spread = rows[:: max(1, len(rows) // _SAMPLE)]
    middle, reach = spread.mean(axis=0), RANGE * spread.std(axis=0) + 1e-6
    scalar = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_4bit, faiss.METRIC_INNER_PRODUCT)
    faiss.copy_array_to_vector(np.concatenate([middle - reach, 2 * reach]), scalar.sq.trained)
    scalar.is_trained = True
    scalar.add(rows)
    product = faiss.IndexPQ(dimension, dimension, 4, faiss.METRIC_INNER_PRODUCT)
    levels = (np.arange(16, dtype=np.float32) + 0.5) / 15
    centroids = (middle - reach)[:, None] + (2 * reach)[:, None] * levels
    faiss.copy_array_to_vector(centroids.astype(np.float32).ravel(), product.pq.centroids)
    product.is_trained = True
    product.codes, product.ntotal = scalar.codes, scalar.ntotal
    python_faiss: Any = faiss  # its stubs describe the C++ constructors only
    codes = python_faiss.IndexPQFastScan(product)
    codes.implem = KERNEL
    sample = rows[:: max(1, len(rows) // 1024)]
    off = sample - scalar.reconstruct_batch(np.arange(0, len(rows), max(1, len(rows) // 1024)))
    return codes, float(np.sqrt(np.square(off).sum(axis=1).mean() / dimension))


def bitmap_of(chosen: NDArray[np.bool_]) -> Bitmap:
    """(N,) booleans as a bitmap."""
    return np.packbits(chosen, bitorder="little")


def positions_in(bitmap: Bitmap, count: int) -> Positions:
    """The positions among the first `count` whose bits are set, ascending."""
    return np.flatnonzero(np.unpackbits(bitmap, count=count, bitorder="little"))


def without(bitmap: Bitmap, positions: Positions) -> Bitmap:
    """A copy of the bitmap with these bits cleared."""
    cleared = bitmap.copy()
    np.bitwise_and.at(cleared, positions >> 3, ~_bit(positions))
    return cleared


def bits_at(bitmap: Bitmap, positions: Positions) -> NDArray[np.bool_]:
    """Whether the bit of each row is set."""
    found: NDArray[np.bool_] = np.bitwise_and(bitmap[positions >> 3], _bit(positions)) != 0
    return found


def _bit(positions: Positions) -> Bitmap:
    """The bit of each row within its byte of a bitmap."""
    return np.left_shift(np.uint8(1), (positions & 7).astype(np.uint8))


def _best(similarities: Floats, k: int, live: Bitmap | None) -> tuple[Positions, Floats]:
    """Positions and similarities of the k highest among live rows."""
    if live is None:
        positions = np.arange(len(similarities))
    else:
        positions = positions_in(live, len(similarities))
        similarities = similarities[positions]
    if len(positions) > k:
        chosen = np.argpartition(similarities, len(positions) - k)[len(positions) - k :]
        positions, similarities = positions[chosen], similarities[chosen]
    return positions, similarities
