"""The live index of one machine: immutable segments, a small tail for new rows, and bitmaps of what is gone.

A reader takes the state of the moment, one reference, and never waits; a writer makes the next state under a lock and
swaps it in, so every search sees all of a call to `add` or `remove` or nothing of it. Adding appends to the tail and
removing clears a bit; a full tail is set aside as a segment. A thread, started when there is something to do, merges
small segments, rewrites worn ones, learns codes once there are rows enough and again when there are many more, and
swaps the outcome in; nobody waits for it, and it never holds more than one segment twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from index.bitmaps import Bitmap, bitmap_at, bits_at, count_in, full_bitmap, positions_in, without
from index.codes import SAMPLE, Codec, learn, learned_from
from index.faiss_search import Loose, View, nearest
from index.faiss_segment import Segment
from index.merging import Size, due, largest
from index.row_rules import checked_queries, checked_rows, find, label_array
from lookalike.domain import Embeddings, Floats, Labels, Space
from lookalike.ports import IndexState, Neighbour

TAIL_BYTES, SMALLEST_TAIL = 4 * 2**20, 1024
"""The tail holds vectors of so many bytes, and a sixteenth of the rows at most: a search looks at all of it."""

TAIL_SHARE = 16

SELECTIVE_SHARE = 32
"""A filter that leaves less than this part of a segment's rows is answered by looking at just them."""

HANDED_ON = 8192
"""Rows of a block that goes to a snapshot."""

LEARN_AGAIN: Final = 2
"""Codes are learned anew once there are so many times the rows that there were."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Part:
    """A segment and which of its rows are alive. live: never written once published."""

    segment: Segment
    live: Bitmap
    dead: int

    @property
    def alive(self) -> int:
        return len(self.segment) - self.dead

    def locate(self, labels: Labels) -> tuple[Labels, NDArray[np.int64]]:
        """Which of these labels, ascending, are here and alive, and where."""
        here, positions = self.segment.locate(labels)
        if self.dead and len(here):
            alive = bits_at(self.live, positions)
            return here[alive], positions[alive]
        return here, positions

    @property
    def memory_bytes(self) -> int:
        return self.segment.memory_bytes + self.live.nbytes

    def without(self, positions: NDArray[np.int64]) -> _Part:
        """The same with these rows, which are alive, gone."""
        return replace(self, live=without(self.live, positions), dead=self.dead + len(positions))

    def rows(self) -> tuple[Labels, Floats]:
        """Labels and vectors of what is alive."""
        if not self.dead:
            return self.segment.labels, self.segment.rows
        alive = positions_in(self.live, len(self.segment))
        return self.segment.labels[alive], self.segment.rows[alive]

    def view(self) -> View:
        return View(self.segment, self.live if self.dead else None, self.alive)


@dataclass(frozen=True, slots=True)
class _State:
    """What a search sees. tail_live: never written once published; slots of the tail below `used` neither."""

    parts: tuple[_Part, ...]
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

    def everything(self) -> list[tuple[Labels, Floats]]:
        """All that is alive, in pieces."""
        return [*(part.rows() for part in self.parts), self.tail().kept()]

    def places(self) -> list[tuple[Labels, NDArray[np.int64], Floats]]:
        """All that is alive, in pieces, uncopied: labels (N,), and where in rows, (M, D), each one's vector stands."""
        found = []
        for part in self.parts:
            alive = positions_in(part.live, len(part.segment))
            found.append((part.segment.labels[alive], alive, part.segment.rows))
        alive = np.flatnonzero(self.tail_live[: self.used])
        return [*found, (self.tail_labels[alive], alive, self.tail_rows)]


class FaissIndex:
    """The port LocalIndex."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._writing = threading.Lock()
        self._slots: dict[int, int] = {}
        self._codec: Codec | None = None
        self._tending: threading.Thread | None = None
        self._state = _State((), *_empty_tail(space.dimension, 0), used=0, count=0)

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
        many = self._segments(fresh, rows) if len(fresh) > len(self._state.tail_labels) else ()
        with self._writing:
            state, _ = self._without(fresh)
            if many:
                self._state = replace(state, parts=(*state.parts, *many), count=state.count + len(fresh))
            else:
                self._append(state, fresh, rows)
            self._tend()

    def fill(self, labels: Labels, blocks: Iterable[Floats]) -> None:
        """Add rows that come block by block, each a segment without a copy; codes are learned once all are there.

        Returns when they are, so that whoever starts a service is not answered by looking at every row.
        Raises: InvalidInput.
        """
        start = 0
        for block in blocks:
            its = labels[start : start + len(block)]
            start += len(block)
            if len(block) <= len(self._state.tail_labels):
                self.add(its, Embeddings(self._space, block))
                continue
            fresh, rows = checked_rows(self._space, its, Embeddings(self._space, block))
            part = _whole(Segment(fresh.copy(), rows))
            with self._writing:
                state, _ = self._without(fresh)
                self._state = replace(state, parts=(*state.parts, part), count=state.count + len(fresh))
        with self._writing:
            self._tend()
        self.settle()

    def remove(self, labels: Iterable[int]) -> int:
        """Forget these labels at once; how many were there."""
        gone = _ascending(label_array(labels))
        with self._writing:
            self._state, count = self._without(gone)
            if count:
                self._tend()
            return count

    def settle(self) -> None:
        """Wait until nothing is left to merge, rewrite or learn; for measurements and tests."""
        while (tending := self._tending) is not None:
            tending.join()

    def _segments(self, labels: Labels, rows: Floats) -> tuple[_Part, ...]:
        """Segments of many rows that come in one call, made before the lock is taken: their caller pays for them."""
        if self._codec is None and len(labels) >= learned_from(self._space.dimension):
            self._codec = learn(rows[_spread(len(rows))], len(rows))
        size = largest(self._space.dimension)
        starts = range(0, len(labels), size)
        return tuple(
            _whole(Segment(labels[at : at + size].copy(), rows[at : at + size].copy(), self._codec)) for at in starts
        )

    def _append(self, state: _State, labels: Labels, rows: Floats) -> None:
        """Put rows into the tail, after it was set aside if they do not fit."""
        if state.used + len(labels) > len(state.tail_labels):
            state = self._with_new_tail(state, len(labels))
        end = state.used + len(labels)
        state.tail_labels[state.used : end] = labels
        state.tail_rows[state.used : end] = rows
        self._slots.update(zip(labels.tolist(), range(state.used, end), strict=True))
        self._state = replace(state, used=end, count=state.count + len(labels))

    def _with_new_tail(self, state: _State, needed: int) -> _State:
        """The state with what is alive in its tail as a segment, without codes yet, and an empty tail."""
        self._slots = {}
        labels, rows = _in_order([state.tail().kept()])
        parts = (*state.parts, _whole(Segment(labels, rows))) if len(labels) else state.parts
        tail = _empty_tail(self._space.dimension, state.count, needed)
        return _State(parts, *tail, used=0, count=state.count)

    def _without(self, labels: Labels) -> tuple[_State, int]:
        """The state with these labels dead, not published yet, and how many were alive."""
        state = self._state
        parts: list[_Part] = []
        count = 0
        for part in state.parts:
            _, positions = part.locate(labels)
            count += len(positions)
            if len(positions) < part.alive:  # else nothing of it is left
                parts.append(part.without(positions) if len(positions) else part)
        slots = [slot for label in labels.tolist() if (slot := self._slots.pop(label, None)) is not None]
        tail_live = state.tail_live
        if slots:
            tail_live = tail_live.copy()
            tail_live[slots] = False
        count += len(slots)
        return replace(state, parts=tuple(parts), tail_live=tail_live, count=state.count - count), count

    # ------------------------------------------------------------------------------------------- in its own time

    def _tend(self) -> None:
        """Start the thread if there is something for it to do; called with the lock held."""
        if self._tending is None and self._due() is not None:
            # Not a daemon: an interpreter that ends must not stop it inside FAISS. It ends by itself within seconds.
            self._tending = threading.Thread(target=self._tend_until_done, name="merging")
            self._tending.start()

    def _due(self) -> list[_Part] | None:
        """What to make one segment of next; an empty list when codes are to be learned; None when all is well."""
        state = self._state
        if state.count >= max(
            learned_from(self._space.dimension), LEARN_AGAIN * (self._codec.rows if self._codec else 0)
        ):
            return []
        sizes = [Size(part.alive, part.dead) for part in state.parts]
        chosen = due(sizes, largest(self._space.dimension))
        if not chosen and self._codec is not None:
            codec = self._codec
            chosen = [i for i, part in enumerate(state.parts) if not part.segment.is_coded_by(codec)][:1]
        return [state.parts[i] for i in chosen] or None

    def _tend_until_done(self) -> None:
        try:
            while True:
                with self._writing:
                    parts, state = self._due(), self._state
                    if parts is None:
                        self._tending = None
                        return
                if parts:
                    self._swap(parts, _merged(parts, self._codec))
                else:
                    self._codec = learn(_sample(state), state.count)
        except Exception as error:  # such as a lack of memory: all goes on as it is, and the next write tries again
            log.warning("segments could not be merged: %s", type(error).__name__)
            with self._writing:
                self._tending = None

    def _swap(self, parts: Sequence[_Part], merged: Segment) -> None:
        """Put a segment in the place of those it was made of, without what was removed from them since."""
        with self._writing:
            state = self._state
            now = {id(part.segment): part for part in state.parts}
            live = full_bitmap(len(merged))
            for part in parts:
                left = now.pop(id(part.segment), None)
                gone = part.live & ~left.live if left is not None else part.live
                lost = part.segment.labels[positions_in(gone, len(part.segment))]
                live = without(live, merged.locate(lost)[1])
            dead = len(merged) - count_in(live)
            fresh = (_Part(merged, live, dead),) if dead < len(merged) else ()
            self._state = replace(state, parts=(*now.values(), *fresh))

    # --------------------------------------------------------------------------------------------- reading

    def search(self, queries: Embeddings, k: int, allowed: Labels | None = None) -> list[list[Neighbour]]:
        """The k most similar rows of each query. Raises: SpaceMismatch, InvalidInput."""
        wanted = checked_queries(self._space, queries, k)
        state = self._state
        if allowed is None:
            return nearest([part.view() for part in state.parts], [state.tail()], wanted, k)
        return nearest(*_allowed(state, _ascending(label_array(allowed))), wanted, k)

    def vectors(self, labels: Sequence[int]) -> Floats:
        """(N, D) in the order of `labels`. Raises: KeyError."""
        state = self._state
        wanted = label_array(labels)
        rows = np.empty((len(wanted), self._space.dimension), dtype=np.float32)
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        missing = np.ones(len(wanted), dtype=np.bool_)
        for part in state.parts:
            here, positions = part.locate(ascending)
            at = np.isin(ascending, here)
            rows[order[at]] = part.segment.rows[positions]
            missing[at] = False
        if missing.any():
            in_tail = state.tail_labels[: state.used]
            slots = np.flatnonzero(np.isin(in_tail, ascending[missing]) & state.tail_live[: state.used])
            slots = slots[np.argsort(in_tail[slots])]
            at_slots, there = find(in_tail[slots], ascending[missing])
            if not there.all():
                raise KeyError("a label is not in the index")
            rows[order[missing]] = state.tail_rows[slots[at_slots]]
        return rows

    def dump(self) -> tuple[Labels, Floats]:
        """All live rows, labels ascending."""
        return _in_order(self._state.everything())

    def blocks(self) -> tuple[Labels, Iterator[Floats]]:
        """All live rows of this moment, labels ascending; blocks are copied as they are asked for."""
        pieces = self._state.places()
        labels = np.concatenate([labels for labels, _, _ in pieces])
        piece = np.repeat(np.arange(len(pieces), dtype=np.int32), [len(labels) for labels, _, _ in pieces])
        place = np.concatenate([places.astype(np.int32) for _, places, _ in pieces])
        if not (np.diff(labels) > 0).all():
            order = np.argsort(labels, kind="stable")
            labels, piece, place = labels[order], piece[order], place[order]
        return labels, _gathered([rows for _, _, rows in pieces], piece, place, self._space.dimension)

    def describe(self) -> IndexState:
        """What answers now, and why."""
        state, codec, dimension = self._state, self._codec, self._space.dimension
        coded = codec is not None and any(part.segment.codes is not None for part in state.parts)
        if coded and codec is not None:
            kept = f"{codec.dimensions} of {dimension}" if codec.turn is not None else f"{dimension}"
            why = f"four bits for each of {kept} dimensions name the likely rows, and their vectors rank them"
            then = f"codes are learned anew at {LEARN_AGAIN * codec.rows:,} rows"
        else:
            why = f"every one of so few rows of {dimension} dimensions is compared, as fast as codes of them would be"
            then = f"codes from {learned_from(dimension):,} rows"
        tail = state.tail_labels.nbytes + state.tail_rows.nbytes + state.tail_live.nbytes
        return IndexState(
            structure="codes" if coded else "exact",
            why=f"in memory, by faiss: {why}",
            rows=state.count,
            dimension=dimension,
            removed=sum(part.dead for part in state.parts) + state.used - int(state.tail_live[: state.used].sum()),
            parts=len(state.parts) + 1,
            memory_bytes=tail + sum(part.memory_bytes for part in state.parts) + (codec.memory_bytes if codec else 0),
            next_change=f"{then}; segments are being merged" if self._tending else then,
        )


def _allowed(state: _State, allowed: Labels) -> tuple[list[View], list[Loose]]:
    """What a search among these labels only, (N,) ascending, looks at: gathered where few, by a bitmap where many."""
    views: list[View] = []
    tail_labels, tail_rows = state.tail_labels[: state.used], state.tail_rows[: state.used]
    chosen = find(allowed, tail_labels)[1] & state.tail_live[: state.used]
    loose = [Loose(tail_labels, tail_rows, chosen)]
    for part in state.parts:
        here, positions = part.locate(allowed)
        if len(here) <= len(part.segment) // SELECTIVE_SHARE:
            loose.append(Loose(here, part.segment.rows[positions]))
        else:
            views.append(View(part.segment, bitmap_at(positions, len(part.segment)), len(here)))
    return views, loose


def _whole(segment: Segment) -> _Part:
    """A part of which nothing is gone."""
    return _Part(segment, full_bitmap(len(segment)), 0)


def _merged(parts: Sequence[_Part], codec: Codec | None) -> Segment:
    """A segment of all that is alive in these; of one that has lost nothing, the same rows with other codes."""
    if len(parts) == 1 and not parts[0].dead:
        return Segment(*parts[0].rows(), codec)
    in_order = sorted(parts, key=lambda part: int(part.segment.labels[0]))
    return Segment(*_in_order([part.rows() for part in in_order]), codec)


def _empty_tail(dimension: int, count: int, needed: int = 1) -> tuple[Labels, Floats, NDArray[np.bool_]]:
    """Labels, rows and liveness of a tail for an index of so many rows. needed: rows that it must hold in any case."""
    capacity = max(min(max(count // TAIL_SHARE, SMALLEST_TAIL), TAIL_BYTES // (4 * dimension)), needed)
    return (
        np.empty(capacity, dtype=np.int64),
        np.empty((capacity, dimension), dtype=np.float32),
        np.ones(capacity, dtype=np.bool_),
    )


def _sample(state: _State) -> Floats:
    """Live rows from all parts alike, (N, D), as many as codes are learned from."""
    pieces = []
    share = min(1.0, SAMPLE / max(state.count, 1))
    for labels, rows in state.everything():
        pieces.append(rows[_spread(len(rows), max(1, round(len(labels) * share)))] if len(labels) else rows)
    return np.concatenate(pieces)


def _spread(count: int, wanted: int = SAMPLE) -> NDArray[np.int64]:
    """At most so many positions below `count`, ascending, chosen at random but always alike."""
    if count <= wanted:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, wanted, replace=False))


def _gathered(
    rows: Sequence[Floats], piece: NDArray[np.int32], place: NDArray[np.int32], dimension: int
) -> Iterator[Floats]:
    """Row `place` of each `piece`, (N,) both, in blocks."""
    for start in range(0, len(piece), HANDED_ON):
        its, at = piece[start : start + HANDED_ON], place[start : start + HANDED_ON]
        block = np.empty((len(its), dimension), dtype=np.float32)
        for one in np.unique(its).tolist():
            chosen = its == one
            block[chosen] = rows[one][at[chosen]]
        yield block


def _in_order(pieces: Sequence[tuple[Labels, Floats]]) -> tuple[Labels, Floats]:
    """All labels ascending with their rows, as new arrays; a label occurs in one of the pieces only."""
    together = np.concatenate([labels for labels, _ in pieces])
    rows = np.concatenate([rows for _, rows in pieces])
    if (np.diff(together) > 0).all():
        return together, rows
    order = np.argsort(together, kind="stable")
    return together[order], rows[order]


def _ascending(labels: Labels) -> Labels:
    """The labels in order, each once."""
    return labels if (np.diff(labels) > 0).all() else np.unique(labels)
