"""What a search of the live index sees: segments with bitmaps of what is alive in them, and a tail of new rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from index.bitmaps import Bitmap, bitmap_at, bits_at, full_bitmap, positions_in, without
from index.codes import SAMPLE, Codec
from index.faiss_search import Loose, View
from index.faiss_segment import Segment
from index.row_rules import Positions, find
from index.stored_rows import FiledRows, HeldRows, RowStore, StoredRows, taken_together
from lookalike.domain import Floats, Labels

TAIL_BYTES, SMALLEST_TAIL = 4 * 2**20, 1024
"""The tail holds vectors of so many bytes, and a sixteenth of the rows at most: a search looks at all of it."""

TAIL_SHARE = 16

SELECTIVE_SHARE, SELECTIVE_IN_FILES = 32, 512
"""A filter that leaves less than this part of a segment's rows, and no more of them where they lie in a file, is
answered by looking at just them."""

Places = tuple[Labels, Positions, StoredRows]
"""Labels (N,), and where in rows, (M, D), each one's vector stands."""


@dataclass(frozen=True, slots=True)
class Part:
    """A segment and which of its rows are alive. live: never written once published.

    since: when the first of them was removed, by the monotonic clock; infinite while none is.
    """

    segment: Segment
    live: Bitmap
    dead: int = 0
    since: float = np.inf

    @property
    def alive(self) -> int:
        return len(self.segment) - self.dead

    @property
    def memory_bytes(self) -> int:
        return self.segment.memory_bytes + self.live.nbytes

    def locate(self, labels: Labels) -> tuple[Labels, Positions]:
        """Which of these labels, ascending, are here and alive, and where."""
        here, positions = self.segment.locate(labels)
        if self.dead and len(here):
            alive = bits_at(self.live, positions)
            return here[alive], positions[alive]
        return here, positions

    def without(self, positions: Positions) -> Part:
        """The same with these rows, which are alive, gone."""
        since = min(self.since, time.monotonic())
        return replace(self, live=without(self.live, positions), dead=self.dead + len(positions), since=since)

    def places(self) -> Places:
        """All that is alive."""
        alive = positions_in(self.live, len(self.segment))
        return self.segment.labels[alive], alive, self.segment.rows

    def view(self) -> View:
        return View(self.segment, self.live if self.dead else None, self.alive)


@dataclass(frozen=True, slots=True)
class State:
    """What a search sees. tail_live: never written once published; slots of the tail below `used` neither."""

    parts: tuple[Part, ...]
    tail_labels: Labels
    tail_rows: Floats
    tail_live: NDArray[np.bool_]
    used: int
    count: int

    def tail(self) -> Loose:
        """What stands in the tail and is alive."""
        alive = self.tail_live[: self.used]
        labels, rows = self.tail_labels[: self.used], self.tail_rows[: self.used]
        return Loose(labels, rows, None if alive.all() else alive)

    def tail_places(self) -> Places:
        """All that is alive in the tail."""
        alive = np.flatnonzero(self.tail_live[: self.used])
        return self.tail_labels[alive], alive, HeldRows(self.tail_rows)

    def places(self) -> list[Places]:
        """All that is alive, in pieces, uncopied."""
        return [*(part.places() for part in self.parts), self.tail_places()]


def whole(segment: Segment) -> Part:
    """A part of which nothing is gone."""
    return Part(segment, full_bitmap(len(segment)))


def allowed_in(state: State, allowed: Labels) -> tuple[list[View], list[Loose]]:
    """What a search among these labels only, (N,) ascending, looks at: gathered where few, by a bitmap where many."""
    views: list[View] = []
    tail_labels, tail_rows = state.tail_labels[: state.used], state.tail_rows[: state.used]
    chosen = find(allowed, tail_labels)[1] & state.tail_live[: state.used]
    loose = [Loose(tail_labels, tail_rows, chosen)]
    for part in state.parts:
        here, positions = part.locate(allowed)
        few = len(part.segment) // SELECTIVE_SHARE
        if len(here) <= (min(few, SELECTIVE_IN_FILES) if isinstance(part.segment.rows, FiledRows) else few):
            loose.append(Loose(here, part.segment.rows.at(positions)))
        else:
            views.append(View(part.segment, bitmap_at(positions, len(part.segment)), len(here)))
    return views, loose


def merged(parts: Sequence[Part], codec: Codec | None, store: RowStore) -> Segment:
    """A segment of all that is alive in these; of one that has lost nothing, the same rows with other codes.

    Raises: StorageFull, StorageUnavailable, IndexUnavailable.
    """
    if len(parts) == 1 and not parts[0].dead and not store.is_misplaced(parts[0].segment.rows):
        return Segment(parts[0].segment.labels, parts[0].segment.rows, codec)
    labels, blocks = in_order([part.places() for part in parts], store.dimension)
    return Segment(labels, store.put(len(labels), blocks), codec)


def in_order(pieces: Sequence[Places], dimension: int) -> tuple[Labels, Iterator[Floats]]:
    """All labels, ascending, and their rows in blocks, each copied as it is asked for.

    A label occurs in one of the pieces only.
    """
    by_label = sorted(pieces, key=lambda piece: int(piece[0][0]) if len(piece[0]) else 0)
    labels = np.concatenate([labels for labels, _, _ in by_label])
    piece = np.repeat(np.arange(len(by_label), dtype=np.int32), [len(labels) for labels, _, _ in by_label])
    place = np.concatenate([places.astype(np.int32) for _, places, _ in by_label])
    if not (np.diff(labels) > 0).all():
        order = np.argsort(labels, kind="stable")
        labels, piece, place = labels[order], piece[order], place[order]
    return labels, _gathered([rows for _, _, rows in by_label], piece, place, dimension)


def _gathered(
    rows: Sequence[StoredRows], piece: NDArray[np.int32], place: NDArray[np.int32], dimension: int
) -> Iterator[Floats]:
    """Row `place` of each `piece`, (N,) both, in blocks."""
    step = taken_together(dimension)
    for start in range(0, len(piece), step):
        its, at = piece[start : start + step], place[start : start + step]
        block = np.empty((len(its), dimension), dtype=np.float32)
        for one in np.unique(its).tolist():
            chosen = its == one
            block[chosen] = rows[one].at(at[chosen].astype(np.int64))
        yield block


def empty_tail(dimension: int, count: int, needed: int = 1) -> tuple[Labels, Floats, NDArray[np.bool_]]:
    """Labels, rows and liveness of a tail for an index of so many rows. needed: rows that it must hold in any case."""
    capacity = max(min(max(count // TAIL_SHARE, SMALLEST_TAIL), TAIL_BYTES // (4 * dimension)), needed)
    return (
        np.empty(capacity, dtype=np.int64),
        np.empty((capacity, dimension), dtype=np.float32),
        np.ones(capacity, dtype=np.bool_),
    )


def sample_of(state: State) -> Floats:
    """Live rows from all parts alike, (N, D), as many as codes are learned from."""
    share = min(1.0, SAMPLE / max(state.count, 1))
    pieces = [(alive, rows) for _, alive, rows in state.places() if len(alive)]
    return np.concatenate(
        [rows.at(alive[spread(len(alive), max(1, round(len(alive) * share)))]) for alive, rows in pieces]
    )


def spread(count: int, wanted: int = SAMPLE) -> Positions:
    """At most so many positions below `count`, ascending, chosen at random but always alike."""
    if count <= wanted:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))
