"""Which rows are looked at, and when that is enough: the codes of all segments name the likely rows, once for all.

The rows that the scans name, of all segments together, are ranked by their vectors. How far the scans were off is seen
on those very rows, so it is known how similar a row that was left out could be: when the k-th true similarity is above
that by a margin, the answer is taken, else more rows are looked at, at last all of them. The approximation costs time
then, not people: docs/adr/0004-*.md gives its recall on faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.bitmaps import Bitmap, bits_at
from index.codes import Codec, Codes
from index.faiss_segment import Segment
from index.row_rules import Positions, ranked
from lookalike.domain import Floats, Labels
from lookalike.ports import Neighbour

LOOKS = (64, 512)
"""How many rows are looked at first, and if that did not settle it; after that, all."""

LOOK_IN_FILES = 4096
"""Where vectors lie in files so many are looked at before all, which would be read through for a single query."""

LOOK_SHARE = 8
"""Looking at more than an eighth of a segment's rows one by one is dearer than a product with all of them."""

MARGIN = 5.0
"""In standard deviations of the scan's error: one chance in 3 million for a row that stands right at the edge."""

_NOTHING = np.float32(-np.inf)

Found = list[list[tuple[Labels, Floats]]]
"""For each query, labels and true similarities in any order, in pieces."""


@dataclass(frozen=True, slots=True)
class View:
    """A segment as one search sees it. live: the rows that it may return, None for all; alive: how many those are."""

    segment: Segment
    live: Bitmap | None
    alive: int

    def scan_of(self, look: int) -> int:
        """How many of its rows a scan has to name for so many live ones; 0 where it should be looked at whole."""
        size = len(self.segment)
        wanted = look * size // max(self.alive, 1)
        return wanted if self.segment.codes is not None and wanted * LOOK_SHARE <= size else 0


@dataclass(frozen=True, slots=True)
class Loose:
    """Rows that stand in no segment: labels (N,), rows (N, D). chosen: which may be returned, (N,), None for all."""

    labels: Labels
    rows: Floats
    chosen: NDArray[np.bool_] | None = None

    @property
    def kept_labels(self) -> Labels:
        return self.labels if self.chosen is None else self.labels[self.chosen]

    def kept(self) -> tuple[Labels, Floats]:
        """Labels and rows of those that may be returned."""
        return self.kept_labels, self.rows if self.chosen is None else self.rows[self.chosen]

    def similarities(self, queries: Floats) -> Floats:
        """Of those that may be returned: (Q, N)."""
        found: Floats = queries @ self.rows.T
        return found if self.chosen is None else found[:, self.chosen]


@dataclass(frozen=True, slots=True)
class _Scan:
    """What the codes of a view name for each query: similarities, -inf where a row may not be returned, (Q, L) twice.

    last: (Q,), no row that was not named is scanned as higher.
    """

    view: View
    error: float
    similarities: Floats
    positions: Positions
    last: Floats


def nearest(views: Sequence[View], loose: Sequence[Loose], queries: Floats, k: int) -> list[list[Neighbour]]:
    """The k most similar rows of each query, (Q, D), among the views' and the loose ones."""
    answers: list[list[Neighbour]] = [[] for _ in queries]
    unsettled = list(range(len(queries)))
    in_files = any(view.segment.rows.disk_bytes for view in views)
    for look in (*LOOKS, LOOK_IN_FILES, 0) if in_files else (*LOOKS, 0):
        if unsettled:
            found, edges = _look(views, loose, queries[unsettled], k, max(look, 4 * k) if look else 0)
            still = []
            for i, pieces, edge in zip(unsettled, found, edges.tolist(), strict=True):
                answers[i] = _ranked(pieces, k)
                if edge > _NOTHING and (len(answers[i]) < k or answers[i][k - 1].similarity < edge):
                    still.append(i)
            unsettled = still
    return answers


def _look(views: Sequence[View], loose: Sequence[Loose], queries: Floats, k: int, look: int) -> tuple[Found, Floats]:
    """What is found by looking at so many rows, all of them for 0, and how similar one left out could be, (Q,)."""
    found: Found = [[] for _ in queries]
    for some in loose:
        labels = some.kept_labels
        for pieces, similarities in zip(found, some.similarities(queries), strict=True):
            pieces.append((labels, similarities))
    coded = [(view, view.segment.codes, view.scan_of(look) if look else 0) for view in views]
    together_bytes = sum(codes.memory_bytes for _, codes, wanted in coded if wanted and codes is not None)
    scans = []
    turned: dict[Codec, Floats] = {}
    for view, codes, wanted in coded:
        if wanted and codes is not None:
            scans.append(_scan(view, codes, queries, wanted, turned, together_bytes))
            continue
        for pieces, (positions, similarities) in zip(found, view.segment.best(queries, k, view.live), strict=True):
            pieces.append((view.segment.labels[positions], similarities))
    if not scans:
        return found, np.full(len(queries), _NOTHING, dtype=np.float32)
    edges = _rank_named(scans, queries, look, found)
    for codec, asked in turned.items():
        edges[~codec.covers(asked)] = np.inf
    return found, edges


def _scan(
    view: View, codes: Codes, queries: Floats, wanted: int, turned: dict[Codec, Floats], together_bytes: int
) -> _Scan:
    """turned: the queries as each codec wants them, kept from one segment to the next."""
    if codes.codec not in turned:
        turned[codes.codec] = np.ascontiguousarray(codes.codec.turned(queries))
    similarities, positions = codes.scan(turned[codes.codec], wanted, together_bytes)
    last = similarities[:, -1].copy()
    if view.live is not None:
        similarities[~bits_at(view.live, positions)] = _NOTHING
    return _Scan(view, codes.error, similarities, positions, last)


def _rank_named(scans: Sequence[_Scan], queries: Floats, look: int, found: Found) -> Floats:
    """Add the true similarities of the rows scanned as highest; how similar one that was left out could be, (Q,)."""
    together = np.concatenate([scan.similarities for scan in scans], axis=1)
    edges = np.max([scan.last for scan in scans], axis=0)
    if together.shape[1] > look:
        edges = np.maximum(edges, -np.partition(-together, look, axis=1)[:, look])
    squares, counts = np.zeros(len(queries)), np.zeros(len(queries))
    for scan in scans:
        query, column = np.nonzero(scan.similarities >= edges[:, None])
        positions = scan.positions[query, column]
        exact = np.einsum("nd,nd->n", scan.view.segment.rows.at(positions), queries[query])
        off = exact - scan.similarities[query, column]
        squares += np.bincount(query, weights=off * off, minlength=len(queries))
        counts += np.bincount(query, minlength=len(queries))
        labels = scan.view.segment.labels[positions]
        ends = np.searchsorted(query, np.arange(len(queries) + 1)).tolist()
        for pieces, start, end in zip(found, ends, ends[1:], strict=False):
            if end > start:
                pieces.append((labels[start:end], exact[start:end]))
    spread = np.maximum(np.sqrt(squares / np.maximum(counts, 1)), max(scan.error for scan in scans))
    bounds: Floats = (edges + MARGIN * spread).astype(np.float32)
    return bounds


def _ranked(pieces: list[tuple[Labels, Floats]], k: int) -> list[Neighbour]:
    if not pieces:
        return []
    if len(pieces) == 1:
        return ranked(*pieces[0], k)
    return ranked(np.concatenate([labels for labels, _ in pieces]), np.concatenate([s for _, s in pieces]), k)
