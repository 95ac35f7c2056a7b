"""Which subject each label belongs to: arrays for those that were there at the start, dicts for what changed since.

A million samples take 40 MB that way, a tenth of what dicts would. Many threads read while one puts and drops; `start`
and `compact` are for the time before others read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.domain import Labels

KEY_BYTES = 16
"""A subject's key is so many random bytes, in hex."""

Keys = NDArray[np.uint8]
"""Keys of subjects, (N, 16)."""


@dataclass(frozen=True, slots=True)
class _Base:
    """labels: (N,) ascending; keys: (N, 16); there: whether a label still belongs to it.

    by_key: positions in order of the keys, labels of one key ascending; heads: the first halves of the keys so ordered.
    """

    labels: Labels
    keys: Keys
    there: NDArray[np.bool_]
    by_key: NDArray[np.int32]
    heads: NDArray[np.uint64]

    @classmethod
    def of(cls, labels: Labels, keys: Keys) -> _Base:
        halves = np.ascontiguousarray(keys).view(">u8").astype(np.uint64).reshape(-1, 2)
        by_key = np.lexsort((halves[:, 1], halves[:, 0])).astype(np.int32)
        return cls(labels, keys, np.ones(len(labels), dtype=np.bool_), by_key, halves[by_key, 0])

    def position(self, label: int) -> int | None:
        """Where a label stands, though it may be gone."""
        guess = label - int(self.labels[0]) if len(self.labels) else -1
        if not 0 <= guess < len(self.labels) or self.labels[guess] != label:
            guess = int(np.searchsorted(self.labels, label))
        return guess if guess < len(self.labels) and self.labels[guess] == label else None

    def key(self, position: int) -> str:
        return bytes(self.keys[position]).hex()

    def labels_of(self, key: str) -> tuple[int, ...]:
        """The labels that a key had at the start, ascending."""
        if not len(self.labels):
            return ()
        raw = bytes.fromhex(key)
        head = np.uint64(int.from_bytes(raw[:8], "big"))
        start = int(np.searchsorted(self.heads, head))
        found = []
        while start < len(self.heads) and self.heads[start] == head:
            position = int(self.by_key[start])
            if bytes(self.keys[position]) == raw:
                found.append(int(self.labels[position]))
            start += 1
        return tuple(found)

    def runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each key, in order: where its labels begin in `by_key`, and how many they are."""
        ordered = self.keys[self.by_key]
        begins = np.flatnonzero(np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)]))
        return begins, np.diff(np.append(begins, len(ordered)))


class Owners:
    """Labels and the keys of the subjects that they belong to, both ways."""

    def __init__(self) -> None:
        self._base = _Base.of(np.empty(0, dtype=np.int64), np.empty((0, KEY_BYTES), dtype=np.uint8))
        self._fresh: dict[int, str] = {}
        self._changed: dict[str, tuple[int, ...]] = {}
        self.labels = 0
        self.subjects = 0

    def start(self, labels: Labels, keys: Keys) -> None:
        """Hold these and nothing else. labels: (N,) ascending; keys: (N, 16)."""
        base = _Base.of(labels, keys)
        self._base, self._fresh, self._changed = base, {}, {}
        self.labels, self.subjects = len(labels), len(base.runs()[0]) if len(labels) else 0

    def compact(self) -> None:
        """Put what changed into the arrays, which is worth it once after a great many were added one by one."""
        labels = np.union1d(self._base.labels, np.fromiter(self._fresh, dtype=np.int64, count=len(self._fresh)))
        owned, keys = self.keys_of(labels)
        self.start(labels[owned], keys)

    def owner(self, label: int) -> str | None:
        """The key of the subject that a label belongs to."""
        fresh = self._fresh.get(label)
        if fresh is not None:
            return fresh
        base = self._base
        position = base.position(label)
        return base.key(position) if position is not None and base.there[position] else None

    def labels_of(self, key: str) -> tuple[int, ...]:
        """The labels of a subject, ascending."""
        changed = self._changed.get(key)
        return self._base.labels_of(key) if changed is None else changed

    def put(self, pairs: Iterable[tuple[int, str]]) -> None:
        """Add labels, which are new and ascending, with their owners."""
        for label, key in pairs:
            before = self.labels_of(key)
            self._fresh[label] = key
            self._changed[key] = (*before, label)
            self.labels += 1
            self.subjects += not before

    def drop(self, label: int) -> None:
        """Forget a label, if it is there."""
        key = self.owner(label)
        if key is None:
            return
        left = tuple(other for other in self.labels_of(key) if other != label)
        position = self._base.position(label)
        if self._fresh.pop(label, None) is None and position is not None:
            self._base.there[position] = False
        self._changed[key] = left
        self.labels -= 1
        self.subjects -= not left

    def keys_of(self, labels: Labels) -> tuple[NDArray[np.bool_], Keys]:
        """Whether each of these labels, (N,) ascending, has an owner, and the keys of those that have, (M, 16)."""
        base = self._base
        keys = np.zeros((len(labels), KEY_BYTES), dtype=np.uint8)
        owned = np.zeros(len(labels), dtype=np.bool_)
        if len(base.labels):
            positions = np.minimum(np.searchsorted(base.labels, labels), len(base.labels) - 1)
            owned = (base.labels[positions] == labels) & base.there[positions]
            keys[owned] = base.keys[positions[owned]]
        for i in np.flatnonzero(~owned).tolist():
            key = self._fresh.get(int(labels[i]))
            if key is not None:
                owned[i], keys[i] = True, np.frombuffer(bytes.fromhex(key), dtype=np.uint8)
        return owned, keys[owned]

    def with_several(self) -> Iterator[tuple[int, ...]]:
        """The labels of each subject that has more than one."""
        base, changed = self._base, dict(self._changed)
        if len(base.labels):
            begins, counts = base.runs()
            for begin, count in zip(begins[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
                if base.key(int(base.by_key[begin])) not in changed:
                    yield tuple(base.labels[base.by_key[begin : begin + count]].tolist())
        yield from (labels for labels in changed.values() if len(labels) > 1)


def hex_keys(keys: Keys) -> list[str]:
    """(N, 16) as hex."""
    together, width = keys.tobytes().hex(), 2 * KEY_BYTES
    return [together[at : at + width] for at in range(0, len(together), width)]
