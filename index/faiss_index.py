"""The live index of one machine: immutable segments, a small tail for new rows, and bitmaps of what is gone.

A reader takes the state of the moment, one reference, and never waits; a writer makes the next state under a lock and
swaps it in, so every search sees all of a call to `add` or `remove` or nothing of it. Adding appends to the tail and
removing clears a bit; a full tail is set aside as a segment. A thread, started when there is something to do, merges
small segments, rewrites worn ones, learns codes once there are rows enough and again when there are many more, and
swaps the outcome in; nobody waits for it, and it never holds more than one segment twice.

With files, vectors of large segments lie there, sealed, and codes in memory. Most files are written by that thread, and
anew within the day once a row is gone; what is added while none can be written stays in memory until one can.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from index.bitmaps import count_in, full_bitmap, positions_in, without
from index.codes import Codec, learn, learned_from
from index.faiss_parts import Part, State, allowed_in, empty_tail, in_order, merged, sample_of, spread, whole
from index.faiss_search import nearest
from index.faiss_segment import Segment
from index.heap import give_back_freed_memory
from index.merging import Size, due, largest
from index.row_rules import checked_queries, checked_rows, find, label_array, unit_rows
from index.stored_rows import FiledRows, HeldRows, RowStore, StoredRows, Taken
from lookalike.domain import Embeddings, Floats, Labels, Space
from lookalike.errors import LookalikeError, StorageFull, StorageUnavailable
from lookalike.ports import IndexState, Neighbour, RowFiles

LEARN_AGAIN: Final = 2
"""Codes are learned anew once there are so many times the rows that there were."""

RENEWED_AFTER_S = 12 * 3600.0
"""A file that holds a row which was removed so long ago is written anew without it, under another key."""

TRIED_AGAIN_AFTER_S = 60.0
"""When a file that could not be written, such as for want of room, is tried again."""

log = logging.getLogger(__name__)


class FaissIndex:
    """The port LocalIndex."""

    def __init__(self, space: Space, files: RowFiles | None = None) -> None:
        """files: where vectors lie; None for in memory."""
        self._space = space
        self._store = RowStore(space.dimension, files)
        self._writing = threading.Lock()
        self._slots: dict[int, int] = {}
        self._codec: Codec | None = None
        self._tending: threading.Thread | None = None
        self._not_before = 0.0
        self._state = State((), *empty_tail(space.dimension, 0), used=0, count=0)

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
        """Add rows that come block by block; codes are learned once all are there.

        Returns when they are, so that whoever starts a service is not answered by looking at every row.
        Raises: InvalidInput, StorageFull, StorageUnavailable.
        """
        taken = Taken(unit_rows(block) for block in blocks)
        size = largest(self._space.dimension)
        for start in range(0, len(labels), size):
            its = labels[start : start + size].copy()
            part = whole(Segment(its, self._store.put(len(its), taken.next(len(its)))))
            with self._writing:
                state, _ = self._without(its)
                self._state = replace(state, parts=(*state.parts, part), count=state.count + len(its))
        taken.end()
        with self._writing:
            self._tend()
        self.settle()
        give_back_freed_memory()

    def remove(self, labels: Iterable[int]) -> int:
        """Forget these labels at once; how many were there."""
        gone = _ascending(label_array(labels))
        with self._writing:
            self._state, count = self._without(gone)
            if count:
                self._tend()
            return count

    def tidy(self) -> None:
        """Have files that hold rows which were removed long ago written anew; and try again what failed."""
        if self._store.files:
            with self._writing:
                self._tend()

    @property
    def lost(self) -> bool:
        """Whether vectors on disk could not be read."""
        return any(part.segment.rows.damaged for part in self._state.parts)

    def settle(self) -> None:
        """Wait until nothing is left to merge, rewrite or learn; for measurements and tests."""
        while (tending := self._tending) is not None:
            tending.join()

    def _segments(self, labels: Labels, rows: Floats) -> tuple[Part, ...]:
        """Segments of many rows that come in one call, made before the lock is taken: their caller pays for them."""
        if self._codec is None and len(labels) >= learned_from(self._space.dimension):
            self._codec = learn(rows[spread(len(rows))], len(rows))
        size = largest(self._space.dimension)
        return tuple(
            whole(Segment(labels[at : at + size].copy(), self._stored(rows[at : at + size]), self._codec))
            for at in range(0, len(labels), size)
        )

    def _stored(self, rows: Floats) -> StoredRows:
        """A copy of these rows; in memory until there is room for it, where the disk is full."""
        given = HeldRows(rows)
        try:
            return self._store.put(len(given), given.blocks())
        except (StorageFull, StorageUnavailable):
            return self._store.hold(len(given), given.blocks())

    def _append(self, state: State, labels: Labels, rows: Floats) -> None:
        """Put rows into the tail, after it was set aside if they do not fit."""
        if state.used + len(labels) > len(state.tail_labels):
            state = self._with_new_tail(state, len(labels))
        end = state.used + len(labels)
        state.tail_labels[state.used : end] = labels
        state.tail_rows[state.used : end] = rows
        self._slots.update(zip(labels.tolist(), range(state.used, end), strict=True))
        self._state = replace(state, used=end, count=state.count + len(labels))

    def _with_new_tail(self, state: State, needed: int) -> State:
        """The state with what is alive in its tail as a segment, without codes yet, and an empty tail."""
        self._slots = {}
        labels, blocks = in_order([state.tail_places()], self._space.dimension)
        rows = self._store.hold(len(labels), blocks)
        parts = (*state.parts, whole(Segment(labels, rows))) if len(labels) else state.parts
        tail = empty_tail(self._space.dimension, state.count, needed)
        return State(parts, *tail, used=0, count=state.count)

    def _without(self, labels: Labels) -> tuple[State, int]:
        """The state with these labels dead, not published yet, and how many were alive."""
        state = self._state
        parts: list[Part] = []
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
        if self._tending is None and time.monotonic() >= self._not_before and self._due() is not None:
            # Not a daemon: an interpreter that ends must not stop it inside FAISS. It ends by itself within seconds.
            self._tending = threading.Thread(target=self._tend_until_done, name="merging")
            self._tending.start()

    def _due(self) -> list[Part] | None:
        """What to make one segment of next; an empty list when codes are to be learned; None when all is well."""
        state = self._state
        if state.count >= max(
            learned_from(self._space.dimension), LEARN_AGAIN * (self._codec.rows if self._codec else 0)
        ):
            return []
        sizes = [Size(part.alive, part.dead) for part in state.parts]
        chosen = due(sizes, largest(self._space.dimension))
        if chosen:
            return [state.parts[i] for i in chosen]
        return next(([part] for part in state.parts if self._is_due(part)), None)

    def _is_due(self, part: Part) -> bool:
        """Whether a part lacks its codes, or its vectors lie where they should not, or some of them too long."""
        rows = part.segment.rows
        uncoded = self._codec is not None and not part.segment.is_coded_by(self._codec)
        expired = isinstance(rows, FiledRows) and time.monotonic() >= part.since + RENEWED_AFTER_S
        return uncoded or expired or self._store.is_misplaced(rows)

    def _tend_until_done(self) -> None:
        try:
            while True:
                with self._writing:
                    parts, state = self._due(), self._state
                    if parts is None:
                        self._tending = None
                        break
                if parts:
                    self._swap(parts, merged(parts, self._codec, self._store))
                else:
                    self._codec = learn(sample_of(state), state.count)
        except Exception as error:  # such as a lack of memory: all goes on as it is, and the next write tries again
            reason = error if isinstance(error, LookalikeError) else type(error).__name__
            log.warning("segments could not be merged: %s", reason)
            stored = not isinstance(error, (StorageFull, StorageUnavailable))
            with self._writing:
                self._tending, self._not_before = None, 0.0 if stored else time.monotonic() + TRIED_AGAIN_AFTER_S
        give_back_freed_memory()

    def _swap(self, parts: Sequence[Part], made: Segment) -> None:
        """Put a segment in the place of those it was made of, without what was removed from them since."""
        with self._writing:
            state = self._state
            now = {id(part.segment): part for part in state.parts}
            live = full_bitmap(len(made))
            for part in parts:
                left = now.pop(id(part.segment), None)
                gone = part.live & ~left.live if left is not None else part.live
                lost = part.segment.labels[positions_in(gone, len(part.segment))]
                live = without(live, made.locate(lost)[1])
            dead = len(made) - count_in(live)
            since = time.monotonic() if dead else np.inf
            fresh = (Part(made, live, dead, since),) if dead < len(made) else ()
            self._state = replace(state, parts=(*now.values(), *fresh))

    # --------------------------------------------------------------------------------------------- reading

    def search(self, queries: Embeddings, k: int, allowed: Labels | None = None) -> list[list[Neighbour]]:
        """The k most similar rows of each query. Raises: SpaceMismatch, InvalidInput."""
        wanted = checked_queries(self._space, queries, k)
        state = self._state
        if allowed is None:
            return nearest([part.view() for part in state.parts], [state.tail()], wanted, k)
        return nearest(*allowed_in(state, _ascending(label_array(allowed))), wanted, k)

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
            rows[order[at]] = part.segment.rows.at(positions)
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
        labels, blocks = self.blocks()
        rows = np.empty((len(labels), self._space.dimension), dtype=np.float32)
        start = 0
        for block in blocks:
            rows[start : start + len(block)] = block
            start += len(block)
        return labels, rows

    def blocks(self) -> tuple[Labels, Iterator[Floats]]:
        """All live rows of this moment, labels ascending; blocks are copied as they are asked for."""
        return in_order(self._state.places(), self._space.dimension)

    def describe(self) -> IndexState:
        """What answers now, and why."""
        state, codec, dimension = self._state, self._codec, self._space.dimension
        coded = codec is not None and any(part.segment.codes is not None for part in state.parts)
        disk = sum(part.segment.rows.disk_bytes for part in state.parts)
        if coded and codec is not None:
            kept = f"{codec.dimensions} of {dimension}" if codec.turn is not None else f"{dimension}"
            theirs = "vectors, read from the disk," if disk else "vectors"
            why = f"four bits for each of {kept} dimensions name the likely rows, and their {theirs} rank them"
            then = f"codes are learned anew at {LEARN_AGAIN * codec.rows:,} rows"
        else:
            why = f"every one of so few rows of {dimension} dimensions is compared, as fast as codes of them would be"
            then = f"codes from {learned_from(dimension):,} rows"
        tail = state.tail_labels.nbytes + state.tail_rows.nbytes + state.tail_live.nbytes
        return IndexState(
            structure="codes" if coded else "exact",
            why=f"{self._where(disk)}: {why}",
            rows=state.count,
            dimension=dimension,
            removed=sum(part.dead for part in state.parts) + state.used - int(state.tail_live[: state.used].sum()),
            parts=len(state.parts) + 1,
            memory_bytes=tail + sum(part.memory_bytes for part in state.parts) + (codec.memory_bytes if codec else 0),
            next_change=f"{then}; segments are being merged" if self._tending else then,
            disk_bytes=disk,
        )

    def _where(self, disk_bytes: int) -> str:
        """Where its vectors lie, by which backend."""
        if not self._store.files:
            return "in memory, by faiss"
        return f"{'sealed on disk' if disk_bytes else 'in memory while they are few'}, by faiss+disk"


def _ascending(labels: Labels) -> Labels:
    """The labels in order, each once."""
    return labels if (np.diff(labels) > 0).all() else np.unique(labels)
