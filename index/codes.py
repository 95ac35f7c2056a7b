"""Codes of four bits: what is learned of the vectors so that few codes say much, and the codes as FAISS scans them.

Embeddings of faces use all their dimensions and are coded as they are, one code a dimension. Those of things lie close
to a subspace: they are turned so that it comes first, the rest is left out, and what is kept is turned at random within
itself, so that no dimension is much wider than others or has outliers of its own. What that costs in accuracy shows in
the error of each scan, which index/faiss_search.py looks at before it takes an answer.

The scan is FAISS's PQ FastScan (https://arxiv.org/abs/1704.07355); the turn is that of OPQ with an even spread
(https://www.microsoft.com/en-us/research/publication/optimized-product-quantization/, its parametric case).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.row_rules import Positions
from index.stored_rows import StoredRows
from lookalike.domain import Floats

CODES_FROM, CODES_FROM_DIMENSIONS = 4096, 4
"""With fewer rows than this, or than four for each dimension, too little is known, and looking at all is quick."""

KEPT = 0.9
"""The share of the vectors' square that the subspace has to keep: photos of a kind that was never seen keep less."""

LEAST_KEPT = 0.5
"""A query of whose square less lies in the subspace is not answered by the codes: they say nothing of its like."""

WHOLE = 0.75
"""A subspace of more than three quarters of the dimensions is not worth the turn."""

STEP = 32
"""The subspace's dimensions are a multiple of this, as FAISS's kernels like it."""

RANGE = 2.5
"""Codes cover the mean of a dimension plus and minus so many standard deviations."""

QUERIES_OUTSIDE, ROWS_OUTSIDE = 13, 15
"""FAISS's FastScan kernels that keep the best in a reservoir, by what the outer loop goes over. Rows are better for a
query alone where the codes come from memory (half the time at a million faces), queries where they are in the
processor's cache, and for batches (two thirds of the time)."""

BATCH, IN_CACHE_BYTES = 4, 2**24
"""From so many queries on they are a batch; codes of one search, of all segments together, that a cache still holds."""

SAMPLE = 16384
"""Rows that are learned from; more change nothing."""

_mine = threading.local()


def one_thread() -> None:
    """Keep FAISS on the calling thread: requests run side by side, and OpenMP's setting is each thread's own."""
    if not getattr(_mine, "ready", False):
        faiss.omp_set_num_threads(1)
        _mine.ready = True


def learned_from(dimension: int) -> int:
    """Rows from which codes are learned."""
    return max(CODES_FROM, CODES_FROM_DIMENSIONS * dimension)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Codec:
    """turn: (D, M), None where all dimensions are coded as they are; lowest, span: of each coded dimension, (M,).

    rows: how many rows there were when this was learned.
    """

    turn: Floats | None
    lowest: Floats
    span: Floats
    rows: int

    @property
    def dimensions(self) -> int:
        """Dimensions that are coded: half a byte a row each."""
        return len(self.lowest)

    @property
    def memory_bytes(self) -> int:
        return self.lowest.nbytes + self.span.nbytes + (0 if self.turn is None else self.turn.nbytes)

    def turned(self, vectors: Floats) -> Floats:
        """(N, D) -> (N, M), what is coded and what is asked."""
        return vectors if self.turn is None else vectors @ self.turn

    def covers(self, turned: Floats) -> NDArray[np.bool_]:
        """Whether codes tell enough of these queries, (N, M) -> (N,)."""
        covered: NDArray[np.bool_] = np.einsum("nm,nm->n", turned, turned) >= LEAST_KEPT
        return covered if self.turn is not None else np.ones(len(turned), dtype=np.bool_)


def learn(sample: Floats, rows: int) -> Codec:
    """What codes of vectors like these, (N, D), look like. rows: how many there are in all."""
    turn = _turn(sample)
    kept = sample if turn is None else sample @ turn
    middle, reach = kept.mean(axis=0), RANGE * kept.std(axis=0) + 1e-6
    return Codec(turn, middle - reach, 2 * reach, rows)


def _turn(sample: Floats) -> Floats | None:
    """Onto the smallest subspace that keeps enough of the vectors' square, and at random within; None if it is large.

    The square, not the variance: similarities are of the vectors as they are, so their mean has to be kept too.
    """
    dimension = sample.shape[1]
    squares, axes = np.linalg.eigh(sample.T @ sample / len(sample))
    share = np.cumsum(squares[::-1]) / squares.sum()
    wanted = int(np.searchsorted(share, KEPT)) + 1
    kept = -(-wanted // STEP) * STEP
    if kept > WHOLE * dimension:
        return None
    mixed, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((kept, kept)))
    return np.ascontiguousarray(axes[:, ::-1][:, :kept] @ mixed, dtype=np.float32)


def _error(rows: Floats, turned: Floats, coded: Floats) -> float:
    """The standard deviation of similarities by the codes, to queries like the rows, as far as chance decides."""
    step = np.square(turned - coded).sum(axis=1).mean() / turned.shape[1]
    left_out = max(0.0, float((np.square(rows).sum(axis=1) - np.square(turned).sum(axis=1)).mean()))
    return float(np.sqrt(step + left_out**2 / max(1, rows.shape[1] - turned.shape[1])))


class Codes:
    """The codes of rows, and the error to be expected of a similarity that they give, as a standard deviation."""

    def __init__(self, codec: Codec, rows: StoredRows) -> None:
        """Raises: as `StoredRows.at`.

        FAISS's quantiser of scalars makes the codes, being some ten times faster at it than its product quantiser,
        which reads them as they are: both put the even dimension into the low half of a byte.
        """
        one_thread()
        self.codec = codec
        width = codec.dimensions
        scalar = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_4bit, faiss.METRIC_INNER_PRODUCT)
        faiss.copy_array_to_vector(np.concatenate([codec.lowest, codec.span]), scalar.sq.trained)
        scalar.is_trained = True
        for block in rows.blocks():
            scalar.add(np.ascontiguousarray(codec.turned(block)))
        product = faiss.IndexPQ(width, width, 4, faiss.METRIC_INNER_PRODUCT)
        levels = (np.arange(16, dtype=np.float32) + 0.5) / 15
        centroids = codec.lowest[:, None] + codec.span[:, None] * levels
        faiss.copy_array_to_vector(centroids.astype(np.float32).ravel(), product.pq.centroids)
        product.is_trained = True
        product.codes, product.ntotal = scalar.codes, scalar.ntotal
        python_faiss: Any = faiss  # its stubs describe the C++ constructors only
        self._scan = python_faiss.IndexPQFastScan(product)
        self.memory_bytes = int(self._scan.codes.size())
        sample = np.arange(0, len(rows), max(1, len(rows) // 1024))
        sampled = rows.at(sample)
        self.error = _error(sampled, codec.turned(sampled), scalar.reconstruct_batch(sample))

    def scan(self, turned: Floats, look: int, together_bytes: int = 0) -> tuple[Floats, Positions]:
        """Similarities, highest first, and positions of each query's nearest rows, (Q, look). turned: (Q, M).

        together_bytes: codes of all segments that this search scans.
        """
        one_thread()
        from_memory = len(turned) < BATCH and together_bytes > IN_CACHE_BYTES
        # Threads may set this across each other: either kernel gives the same rows, one of them sooner.
        self._scan.implem = ROWS_OUTSIDE if from_memory else QUERIES_OUTSIDE
        similarities, positions = self._scan.search(turned, look)
        return similarities, positions
