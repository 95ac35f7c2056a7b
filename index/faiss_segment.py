"""An immutable block of vectors that FAISS scans as bytes and NumPy ranks exactly.

A scan of 8-bit codes names the likely rows; their float32 vectors give the true similarities. `code_error` is the
largest distance of a vector from its code, so no row that the scan left out can be more similar than the last one it
named plus that: when the k-th true similarity is above it, the answer is proven exact, else more rows are looked at,
at last all of them. Approximation costs time then, never a person.
"""

from __future__ import annotations

import threading
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.row_rules import Positions
from lookalike.domain import Floats, Labels

Bitmap = NDArray[np.uint8]
"""One bit a row, lowest first: 1 where the row may be returned."""

FIRST_LOOK, SECOND_LOOK = 48, 768
ROUNDING = 1e-5
BATCH_FROM = 6
"""From this many queries on, one matrix product over float32 is cheaper than a scan of codes for each."""

_CHUNK = 16384
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
        self._codes, self._code_error = _encode(rows)

    def __len__(self) -> int:
        return len(self.labels)

    def nearest(self, query: Floats, k: int, live: Bitmap | None) -> tuple[Positions, Floats]:
        """Positions and similarities of rows among which the k most similar live ones surely are. query: (D,)."""
        one_thread()
        for look in (max(FIRST_LOOK, 2 * k), max(SECOND_LOOK, 8 * k)):
            if look >= len(self):
                break
            scanned, found = self._codes.search(query[None], look, params=_only(live))
            positions = found[0][found[0] >= 0]
            similarities = self.rows[positions] @ query
            if len(positions) < look:
                return positions, similarities
            kth = np.partition(similarities, look - k)[look - k]
            if kth >= scanned[0, -1] + self._code_error:
                return positions, similarities
        return _best(self.rows @ query, k, live)

    def nearest_many(self, queries: Floats, k: int, live: Bitmap | None, dead: int) -> tuple[Positions, Floats]:
        """The same for (Q, D) queries at once: (Q, M) positions, -1 where there is none, and similarities."""
        one_thread()
        look = k if live is None else k + 16
        while True:
            look = min(look, k + dead, len(self))
            similarities, positions = faiss.knn(queries, self.rows, look, metric=faiss.METRIC_INNER_PRODUCT)
            if live is None:
                return positions, similarities
            positions[~_is_live(live, positions)] = -1
            enough = (positions >= 0).sum(axis=1).min() >= k
            if enough or look in (k + dead, len(self)):
                return positions, similarities
            look *= 4


def _encode(rows: Floats) -> tuple[Any, float]:
    """The 8-bit codes of the rows, and the largest distance of a row from its code."""
    codes = faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT)
    if not len(rows):
        return codes, 0.0
    one_thread()
    codes.train(rows)
    codes.add(rows)
    error = 0.0
    for start in range(0, len(rows), _CHUNK):
        block = rows[start : start + _CHUNK]
        off = block - codes.reconstruct_n(start, len(block))
        error = max(error, float(np.einsum("nd,nd->n", off, off).max()))
    return codes, float(np.sqrt(error)) + ROUNDING


def _only(live: Bitmap | None) -> Any:
    """FAISS's parameters for a scan of live rows alone. Its stubs describe the C++ calls, not the Python ones."""
    if live is None:
        return None
    python_faiss: Any = faiss
    return python_faiss.SearchParameters(sel=python_faiss.IDSelectorBitmap(live))


def _is_live(live: Bitmap, positions: Positions) -> NDArray[np.bool_]:
    """Whether the rows at these positions may be returned; False for -1."""
    return np.logical_and(bits_at(live, positions), positions >= 0)


def bit_of(positions: Positions) -> Bitmap:
    """The bit of each row within its byte of a bitmap."""
    return np.left_shift(np.uint8(1), (positions & 7).astype(np.uint8))


def bits_at(bitmap: Bitmap, positions: Positions) -> NDArray[np.bool_]:
    """Whether the bit of each row is set."""
    return np.bitwise_and(bitmap[positions >> 3], bit_of(positions)).astype(np.bool_)


def _best(similarities: Floats, k: int, live: Bitmap | None) -> tuple[Positions, Floats]:
    """Positions and similarities of the k highest among live rows."""
    positions = np.arange(len(similarities))
    if live is not None:
        positions = positions[_is_live(live, positions)]
    if len(positions) > k:
        chosen = np.argpartition(similarities[positions], len(positions) - k)[len(positions) - k :]
        positions = positions[chosen]
    return positions, similarities[positions]
