"""The live index of one machine: an immutable FAISS segment, a small tail for new rows, and bitmaps of what is gone.

A reader takes the state of the moment, one reference, and never waits; a writer makes the next state under a lock and
swaps it in, so every search sees all of a call to `add` or `remove` or nothing of it. Adding appends to the tail and
removing clears a bit; when the tail is full or too much is gone, the live rows are merged into a new segment, whose
cost spread over the rows that made it necessary does not grow with the index.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from index.faiss_segment import Bitmap, Segment, bitmap_of, bits_at, positions_in, without
from index.row_rules import Positions, checked_queries, checked_rows, find, label_array, ranked
from lookalike.domain import Embeddings, Floats, Labels, Space
from lookalike.ports import Neighbour

SMALLEST_TAIL, LARGEST_TAIL, TAIL_SHARE = 1024, 16384, 16
"""The tail holds up to a sixteenth of the segment: a scan of it stays cheap, and merges stay rare."""

DEAD_SHARE = 5
"""A segment is rewritten once a fifth of it is gone."""

SELECTIVE_SHARE = 32
"""A filter that leaves less than this part of the rows is answered by looking at just them."""


@dataclass(frozen=True, slots=True)
class _State:
    """What a search sees. live, tail_live: never written once published; slots of the tail below `used` neither."""

    main: Segment
    live: Bitmap
    dead: int
    tail_labels: Labels
    tail_rows: Floats
    tail_live: NDArray[np.bool_]
    used: int
    count: int

    def tail(self) -> tuple[Labels, Floats]:
        """Labels and rows of the tail that are alive."""
        alive = self.tail_live[: self.used]
        if alive.all():
            return self.tail_labels[: self.used], self.tail_rows[: self.used]
        return self.tail_labels[: self.used][alive], self.tail_rows[: self.used][alive]

    def in_main(self, labels: Labels) -> tuple[Positions, NDArray[np.bool_]]:
        """Positions of labels in the segment, and whether they are there and alive."""
        positions, found = self.main.locate(labels)
        found[found] = bits_at(self.live, positions[found])
        return positions, found

    def everything(self) -> tuple[Labels, Floats, Labels, Floats]:
        """Live labels and rows of the segment, then of the tail."""
        if not self.dead:
            return (self.main.labels, self.main.rows, *self.tail())
        alive = positions_in(self.live, len(self.main))
        return (self.main.labels[alive], self.main.rows[alive], *self.tail())


class FaissIndex:
    """The port VectorIndex on one machine."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._writing = threading.Lock()
        self._slots: dict[int, int] = {}
        empty = np.empty(0, dtype=np.int64), np.empty((0, space.dimension), dtype=np.float32)
        self._state = _fresh_state(Segment(*empty))

    @property
    def space(self) -> Space:
        return self._space

    def __len__(self) -> int:
        return self._state.count

    # --------------------------------------------------------------------------------------------- writing

    def add(self, labels: Labels, vectors: Embeddings) -> None:
        """Add or replace rows. Raises: SpaceMismatch, InvalidInput."""
        fresh, rows = checked_rows(self._space, labels, vectors)
        if not len(fresh):
            return
        with self._writing:
            state, _ = self._without(fresh)
            end = state.used + len(fresh)
            if end > len(state.tail_labels):
                self._publish_merged(state, fresh, rows)
                return
            state.tail_labels[state.used : end] = fresh
            state.tail_rows[state.used : end] = rows
            self._slots.update(zip(fresh.tolist(), range(state.used, end), strict=True))
            self._state = replace(state, used=end, count=state.count + len(fresh))

    def remove(self, labels: Iterable[int]) -> int:
        """Forget these labels at once; how many were there."""
        gone = _ascending(label_array(labels))
        with self._writing:
            state, count = self._without(gone)
            self._state = state
            if state.dead > max(SMALLEST_TAIL, len(state.main) // DEAD_SHARE):
                self._publish_merged(state, gone[:0], state.tail_rows[:0])
            return count

    def _without(self, labels: Labels) -> tuple[_State, int]:
        """The state with these labels dead, not published yet, and how many were alive."""
        state = self._state
        positions, found = state.in_main(labels)
        live = state.live
        if found.any():
            live = without(live, positions[found])
        slots = [slot for label in labels.tolist() if (slot := self._slots.pop(label, None)) is not None]
        tail_live = state.tail_live
        if slots:
            tail_live = tail_live.copy()
            tail_live[slots] = False
        killed = int(found.sum())
        count = killed + len(slots)
        return (
            replace(state, live=live, dead=state.dead + killed, tail_live=tail_live, count=state.count - count),
            count,
        )

    def _publish_merged(self, state: _State, labels: Labels, rows: Floats) -> None:
        """Swap in a new segment of all that is alive in `state` and of `labels`, which it lacks."""
        main_labels, main_rows, tail_labels, tail_rows = state.everything()
        merged = _in_order([main_labels, tail_labels, labels], [main_rows, tail_rows, rows])
        self._state = _fresh_state(Segment(*merged))
        self._slots = {}

    # --------------------------------------------------------------------------------------------- reading

    def search(self, queries: Embeddings, k: int, allowed: Labels | None = None) -> list[list[Neighbour]]:
        """The k most similar rows of each query. Raises: SpaceMismatch, InvalidInput."""
        wanted = checked_queries(self._space, queries, k)
        state = self._state
        if allowed is not None:
            return _search_allowed(state, wanted, k, _ascending(label_array(allowed)))
        alive = len(state.main) - state.dead
        live = state.live if state.dead else None
        return _search(state, live, alive, state.tail_live[: state.used], wanted, k)

    def vectors(self, labels: Sequence[int]) -> Floats:
        """(N, D) in the order of `labels`. Raises: KeyError."""
        state = self._state
        wanted = label_array(labels)
        positions, found = state.in_main(wanted)
        rows = np.empty((len(wanted), self._space.dimension), dtype=np.float32)
        rows[found] = state.main.rows[positions[found]]
        if not found.all():
            tail_labels, tail_rows = state.tail()
            order = np.argsort(tail_labels)
            slots, there = find(tail_labels[order], wanted[~found])
            if not there.all():
                raise KeyError("a label is not in the index")
            rows[~found] = tail_rows[order[slots]]
        return rows

    def dump(self) -> tuple[Labels, Floats]:
        """All live rows, labels ascending."""
        main_labels, main_rows, tail_labels, tail_rows = self._state.everything()
        return _in_order([main_labels, tail_labels], [main_rows, tail_rows])


def _fresh_state(main: Segment) -> _State:
    """A state with this segment, all of it alive, and an empty tail."""
    capacity = min(max(len(main) // TAIL_SHARE, SMALLEST_TAIL), LARGEST_TAIL)
    return _State(
        main=main,
        live=np.full(len(main) // 8 + 1, 255, dtype=np.uint8),
        dead=0,
        tail_labels=np.empty(capacity, dtype=np.int64),
        tail_rows=np.empty((capacity, main.rows.shape[1]), dtype=np.float32),
        tail_live=np.ones(capacity, dtype=np.bool_),
        used=0,
        count=len(main),
    )


def _search(
    state: _State, live: Bitmap | None, alive: int, in_tail: NDArray[np.bool_], queries: Floats, k: int
) -> list[list[Neighbour]]:
    """Search the segment's live rows, of which there are `alive`, and the slots of the tail marked in `in_tail`."""
    in_main = state.main.nearest(queries, k, live, alive)
    tail_labels = state.tail_labels[: state.used][in_tail]
    tail_similarities = (queries @ state.tail_rows[: state.used].T)[:, in_tail]
    return [
        ranked(
            np.concatenate([state.main.labels[positions], tail_labels]),
            np.concatenate([similarities, in_tail_too]),
            k,
        )
        for (positions, similarities), in_tail_too in zip(in_main, tail_similarities, strict=True)
    ]


def _search_allowed(state: _State, queries: Floats, k: int, allowed: Labels) -> list[list[Neighbour]]:
    """Search among the rows of these labels only, (N,) ascending: gathered when few, by a bitmap when many."""
    positions, found = state.in_main(allowed)
    positions = positions[found]
    in_tail = state.tail_live[: state.used] & find(allowed, state.tail_labels[: state.used])[1]
    if len(positions) <= max(SMALLEST_TAIL, len(state.main) // SELECTIVE_SHARE):
        labels = np.concatenate([state.main.labels[positions], state.tail_labels[: state.used][in_tail]])
        rows = np.concatenate([state.main.rows[positions], state.tail_rows[: state.used][in_tail]])
        return [ranked(labels, similarities, k) for similarities in queries @ rows.T]
    chosen = np.zeros(len(state.main), dtype=np.bool_)
    chosen[positions] = True
    return _search(state, bitmap_of(chosen), len(positions), in_tail, queries, k)


def _in_order(labels: list[Labels], rows: list[Floats]) -> tuple[Labels, Floats]:
    """All labels ascending with their rows, as new arrays; a label occurs in one of the parts only."""
    together = np.concatenate(labels)
    if (np.diff(together) > 0).all():
        return together, np.concatenate(rows)
    order = np.argsort(together, kind="stable")
    return together[order], np.concatenate(rows)[order]


def _ascending(labels: Labels) -> Labels:
    """The labels in order, each once."""
    return labels if (np.diff(labels) > 0).all() else np.unique(labels)
