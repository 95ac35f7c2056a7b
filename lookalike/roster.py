"""The live view of one generation of a collection: which vectors belong to whom, and what its index answers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.domain import (
    Change,
    Collection,
    Embeddings,
    Floats,
    Labels,
    Op,
    Sample,
)
from lookalike.fusion import FUSIONS, Fusion, fuse
from lookalike.owners import Owners, hex_keys
from lookalike.ports import LocalIndex, Neighbour, Plaintext, Records, SharedIndex
from lookalike.roster_file import read, written
from lookalike.roster_rows import rows_of
from lookalike.stages import Stage, staged

MAX_FILTERS = 64
"""Metadata filters whose labels are remembered until the collection changes, so that asking again costs nothing."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A subject near a probe. number: its sample nearest to the probe; similarity: of the subject, fused."""

    subject_key: str
    number: int
    similarity: float


class Roster:
    """One collection's index, with the owner of each label and, once asked for, the subjects' metadata."""

    def __init__(self, collection: Collection, index: LocalIndex | SharedIndex, records: Records) -> None:
        self.collection = collection
        self.index = index
        self.seq = 0
        self.unsaved = 0
        self.erasures = 0
        self.calibration_stale = True
        self.fusion = FUSIONS[collection.kind]
        self._records = records
        self._rows = rows_of(index, collection, records)
        self._owners = Owners()
        self._metadata: dict[str, Mapping[str, str]] | None = None
        self._metadata_lock = threading.Lock()
        self._filters: dict[frozenset[tuple[str, str]], tuple[int, Labels, int]] = {}

    def __len__(self) -> int:
        """Subjects that have at least one sample: the gallery's size."""
        return self._owners.subjects

    @property
    def samples(self) -> int:
        return self._owners.labels

    # ------------------------------------------------------------------------------------------- reading

    def numbers(self, subject_key: str) -> tuple[int, ...]:
        """The labels of a subject's samples, ascending."""
        return self._owners.labels_of(subject_key)

    def owner(self, number: int) -> str | None:
        """The key of the subject that a label belongs to."""
        return self._owners.owner(number)

    def several(self, limit: int) -> list[tuple[int, ...]]:
        """The labels of at most `limit` subjects that have several samples, the same ones each time."""
        return sorted(self._owners.with_several(), key=_scattered)[:limit]

    def all_templates(self) -> tuple[Floats, list[str]]:
        """All enrolled vectors, (N, D), and the keys of the subjects that they belong to."""
        labels, vectors = self.index.dump()
        owned, keys = self._owners.keys_of(labels)
        return vectors if owned.all() else vectors[owned], hex_keys(keys)

    @staged(Stage.SEARCH)
    def rank(self, queries: Embeddings, limit: int, allowed: Labels | None = None) -> list[list[Ranked]]:
        """The `limit` nearest subjects of each query, most similar first. queries: (N, D)."""
        total = self.samples if allowed is None else len(allowed)
        k = min(total, 4 * limit + 16)
        while k:
            found = self.index.search(queries, k, allowed)
            if k >= total or all(len({self.owner(hit.label) for hit in hits}) >= limit for hits in found):
                return [self._fused(queries.vectors[i], hits, limit) for i, hits in enumerate(found)]
            k = min(total, 4 * k)
        return [[] for _ in range(len(queries))]

    @staged(Stage.SEARCH)
    def nearest(self, queries: Embeddings, k: int, allowed: Labels | None = None) -> list[Ranked]:
        """The k samples nearest to one query (1, D), several of a subject among them, each with its own similarity."""
        k = min(k, self.samples if allowed is None else len(allowed))
        hits = self.index.search(queries, k, allowed)[0] if k else []
        owners = [(self.owner(hit.label), hit) for hit in hits]
        return [Ranked(owner, hit.label, hit.similarity) for owner, hit in owners if owner is not None]

    def similarity(self, query: Floats, subject_key: str) -> tuple[float, int] | None:
        """A subject's fused similarity to a query (D,) and its nearest sample; None where it has no sample."""
        numbers = self.numbers(subject_key)
        if not numbers:
            return None
        try:
            vectors = self.index.vectors(numbers)
        except KeyError:  # erased in between
            return None
        nearest = numbers[int(np.argmax(vectors @ query))]
        return fuse(query, vectors, self.fusion), nearest

    def metadata(self) -> Mapping[str, Mapping[str, str]]:
        """Every subject's metadata by its key, also of those without a sample. A change replaces the whole of it."""
        return self._all_metadata()

    def labels_with(self, metadata: Mapping[str, str]) -> tuple[Labels, int] | None:
        """Labels of the subjects whose metadata holds all these pairs, and how many subjects; None for no filter."""
        if not metadata:
            return None
        wanted = frozenset(metadata.items())
        seq, found = self.seq, self._filters.get(wanted)
        if found is None or found[0] != seq:
            if len(self._filters) >= MAX_FILTERS:
                self._filters = {}
            found = self._filters[wanted] = (seq, *self._matching(wanted))
        return found[1:]

    def _matching(self, wanted: frozenset[tuple[str, str]]) -> tuple[Labels, int]:
        matching = [key for key, held in self._all_metadata().items() if wanted <= held.items()]
        numbers = [numbers for key in matching if (numbers := self.numbers(key))]
        return np.array(sorted(itertools.chain.from_iterable(numbers)), dtype=np.int64), len(numbers)

    def _fused(self, query: Floats, hits: Sequence[Neighbour], limit: int) -> list[Ranked]:
        nearest: dict[str, Neighbour] = {}
        for hit in hits:
            owner = self.owner(hit.label)
            if owner is not None and owner not in nearest:
                nearest[owner] = hit
        fused = self._fused_scores(query, nearest) if self.fusion is Fusion.CENTROID else {}
        ranked = []
        for key, hit in nearest.items():
            score = fused.get(key, hit.similarity)
            if score is not None:
                ranked.append(Ranked(key, hit.label, score))
        ranked.sort(key=lambda r: -r.similarity)
        return ranked[:limit]

    def _fused_scores(self, query: Floats, keys: Iterable[str]) -> dict[str, float | None]:
        """Of those of several samples, by one question to the index; None for whom was erased in between."""
        several = {key: numbers for key in keys if len(numbers := self.numbers(key)) > 1}
        if not several:
            return {}
        try:
            rows = self.index.vectors([number for numbers in several.values() for number in numbers])
        except KeyError:  # one was erased in between: each alone
            return {key: found[0] if (found := self.similarity(query, key)) else None for key in several}
        ends = np.cumsum([len(numbers) for numbers in several.values()])[:-1]
        return {key: fuse(query, own, self.fusion) for key, own in zip(several, np.split(rows, ends), strict=True)}

    def _all_metadata(self) -> dict[str, Mapping[str, str]]:
        """Every subject's metadata, opened at the first filtered search and followed from then on."""
        with self._metadata_lock:
            if self._metadata is None:
                self._metadata = {
                    subject.key: dict(subject.metadata)
                    for batch in self._records.stream_subjects(self.collection)
                    for subject in batch
                }
            return self._metadata

    # ------------------------------------------------------------------------------------------ following

    def load(self, snapshot: Plaintext | None) -> None:
        """Fill from a snapshot where it fits, else from the records.

        Raises: TamperedData, OSError if it changes while it is read; what was taken over by then is worth nothing.
        """
        self._rows.begin()
        newest = self._records.last_seq()
        if snapshot is not None and self._restore(snapshot, newest):
            return
        self.seq = newest
        for batch in self._records.stream_samples(self.collection):
            self._put(batch)
        self._owners.compact()
        self.unsaved = self.samples

    def settle(self) -> None:
        """Have the index hold what this roster says. Raises: IndexUnavailable while it cannot be told."""
        self._rows.settle(self._owners.all_labels)

    @property
    def lost(self) -> bool:
        """Whether the server that had its index has it no more, or the disk that had its vectors."""
        return self._rows.lost

    def count(self, *, now: bool = False) -> None:
        """See that the index has not lost rows, now or where it is time to. Raises: IndexUnavailable if it has."""
        self._rows.count(self._owners.all_labels, now=now)

    def tidy(self) -> None:
        """Have what was erased taken off the disks that have the index, if any have."""
        self._rows.tidy()

    def apply(self, changes: Sequence[Change]) -> None:
        """Take over changes of this collection, in order; those seen already do no harm."""
        fresh = [c for c in changes if c.seq > self.seq]
        if fresh:
            self._rows.mark(fresh[-1].seq)
        touched = {c.subject_key for c in fresh if c.number is None and c.subject_key is not None}
        put = [c.number for c in fresh if c.op is Op.PUT and c.number is not None and self.owner(c.number) is None]
        self._put(self._records.samples_numbered(self.collection, put) if put else [])
        for change in fresh:
            if change.op is Op.DELETE and change.number is not None:
                self._drop([change.number])
            elif change.op is Op.DELETE and change.subject_key is not None:
                self._drop(self.numbers(change.subject_key))
            elif change.subject_key is None:
                self.calibration_stale = True
        self._follow_metadata(touched)
        self.unsaved += len(fresh)
        if changes:
            self.seq = max(self.seq, changes[-1].seq)

    def _put(self, samples: Sequence[Sample]) -> None:
        samples = [s for s in samples if self.owner(s.number) is None]
        if not samples:
            return
        labels = np.array([s.number for s in samples], dtype=np.int64)
        self._owners.put(zip(labels.tolist(), (s.subject_key for s in samples), strict=True))
        self._rows.add(labels, Embeddings(self.collection.space, np.stack([s.vector for s in samples])))

    def _drop(self, numbers: Sequence[int]) -> None:
        self._rows.remove(numbers)
        for number in numbers:
            self._owners.drop(number)

    def _follow_metadata(self, keys: set[str]) -> None:
        with self._metadata_lock:
            if self._metadata is None or not keys:
                return
            found = self._records.subjects(self.collection, sorted(keys))
            updated = dict(self._metadata)
            for key in keys:
                updated.pop(key, None)
            updated.update({key: dict(subject.metadata) for key, subject in found.items()})
            self._metadata = updated

    # ------------------------------------------------------------------------------------------ snapshots

    def chunks(self) -> Iterator[bytes]:
        """The roster as bytes, as in `lookalike/roster_file.py`."""
        seq = self.seq  # what was taken over since does no harm: a change that is seen twice is taken over once
        labels, blocks = self._rows.kept(self._owners.all_labels)
        owned, keys = self._owners.keys_of(labels)
        chosen = None if blocks is None else _chosen(blocks, owned)
        return written(seq, self.collection.space, labels[owned], keys, chosen)

    def _restore(self, snapshot: Plaintext, newest: int) -> bool:
        """Whether the snapshot is of this space, not from the future, and was taken over. Raises: as `read`."""
        held = read(snapshot, self.collection.space, newest)
        if held is None or (self._rows.keeps_vectors and not held.with_vectors):
            return False
        self._owners.start(held.labels, held.keys)
        self._rows.restore(held.labels, held.blocks)
        self.seq = held.seq
        return True


def _chosen(blocks: Iterator[Floats], chosen: NDArray[np.bool_]) -> Iterator[Floats]:
    """Of rows that come in blocks, (N, D) in all, those that are chosen, (N,)."""
    start = 0
    for block in blocks:
        its = chosen[start : start + len(block)]
        start += len(block)
        yield block if its.all() else block[its]


def _scattered(numbers: tuple[int, ...]) -> int:
    """Orders subjects as if at random, but always alike (Knuth's multiplicative hash)."""
    return numbers[0] * 2654435761 % 2**32
