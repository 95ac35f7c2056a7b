"""The live view of collections: which vectors belong to whom, kept up with the change sequence of the records.

Records are the truth and a roster is derived from them: from a sealed snapshot plus the changes after it, or from
the records alone. Changes are applied by one thread at a time; searches never wait for them.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.debts import Debts
from lookalike.domain import (
    Change,
    Collection,
    Embeddings,
    Floats,
    Generation,
    GenerationState,
    Labels,
    Op,
    Sample,
    Space,
)
from lookalike.errors import IndexUnavailable, TamperedData
from lookalike.fusion import FUSIONS, Fusion, fuse
from lookalike.owners import Owners, hex_keys
from lookalike.ports import IndexServers, LocalIndex, Neighbour, Plaintext, Records, SharedIndex, Snapshots
from lookalike.roster_file import read, written
from lookalike.roster_rows import rows_of

SNAPSHOT_FROM = 1000
"""Samples from which a snapshot is quicker than opening the records."""

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
        """Whether the server that had its index has it no more."""
        return self._rows.lost

    def count(self, *, now: bool = False) -> None:
        """See that the index has not lost rows, now or where it is time to. Raises: IndexUnavailable if it has."""
        self._rows.count(self._owners.all_labels, now=now)

    def tidy(self) -> None:
        """Have what was erased taken off the disks of the server that has the index, if one has."""
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


class Rosters:
    """All live collections of this process, each generation of them that is asked for, following one change sequence.

    trouble: why answers may be out of date, None while they are not.
    """

    def __init__(
        self,
        records: Records,
        snapshots: Snapshots,
        make_index: Callable[[str, Space, str, str], LocalIndex | SharedIndex],
        servers: IndexServers | None = None,
    ) -> None:
        """make_index: takes an index URL, empty for the service's own, the space, the collection's id, the generation.

        servers: where some of these indexes are kept, if they are not in this process.
        """
        self._records = records
        self._snapshots = snapshots
        self._make_index = make_index
        self._debts = Debts(servers)
        self._servers = servers
        self._rosters: dict[tuple[str, str], Roster] = {}
        self.trouble: str | None = "the galleries are being loaded"
        self._incomplete = True
        self._doubtful = False
        self._seq = records.last_seq()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def load_all(self) -> None:
        """Make every collection live, before a service says that it is ready."""
        for collection in self._records.collections():
            self.of(collection)
        self._incomplete = False
        self.catch_up()
        self.trouble = None

    def of(self, collection: Collection) -> Roster:
        """The roster of the collection's generation, loaded at its first use; others are answered meanwhile."""
        key = (collection.id, collection.generation)
        roster = self._rosters.get(key)
        if roster is None:
            with self._loading:
                roster = self._rosters.get(key) or self._load(collection)
        return roster

    def is_live(self, collection: Collection) -> bool:
        """Whether the collection's generation is loaded."""
        return (collection.id, collection.generation) in self._rosters

    def loaded(self) -> list[Roster]:
        return list(self._rosters.values())

    def check(self) -> None:
        """See that every index can be asked and knows all that it should, and load those that are not loaded.

        For the thread that says whether the service is ready. Raises: IndexUnavailable.
        """
        if self._servers is not None:
            self._check(self._servers)
        if self._incomplete:
            self.load_all()
        with self._lock:
            for roster in self.loaded():
                roster.settle()
                roster.count(now=self._doubtful)
        self._doubtful = False
        self._debts.require_paid()

    def _check(self, servers: IndexServers) -> None:
        """What did not answer in full may have lost something when it does again."""
        try:
            servers.check()
        except IndexUnavailable:
            self._doubtful = True
            raise

    def owes(self, collection: Collection) -> bool:
        """Whether a server still has what was erased from this collection, since it cannot be reached."""
        return self._debts.of(collection.id) or not all(
            _settled(roster) for (held, _), roster in list(self._rosters.items()) if held == collection.id
        )

    def sweep(self) -> None:
        """Delete from the servers what is of no collection or generation any more. Raises: IndexUnavailable."""
        if self._servers is not None:
            self._servers.keep_only(lambda: {own for c in self._records.collections() for own in _generations(c)})

    def catch_up(self) -> int:
        """Apply every change committed by now, by any process. Returns how many there were.

        What an index in a server could not be told is owed, and told by a later call.
        """
        applied = 0
        with self._lock:
            while changes := self._records.changes(self._seq):
                by_collection: dict[str, list[Change]] = defaultdict(list)
                for change in changes:
                    by_collection[change.collection_id].append(change)
                for collection_id, own in by_collection.items():
                    self._apply(collection_id, own)
                self._seq = changes[-1].seq
                applied += len(changes)
            self._pay()
        return applied

    def _pay(self) -> None:
        """Tell the servers what they were not told yet, as far as they listen; an index that is lost is loaded anew."""
        self._debts.pay(lambda collection_id: [g for held, g in self._rosters if held == collection_id])
        for key, roster in list(self._rosters.items()):
            _settled(roster)
            if roster.lost:
                del self._rosters[key]
                self._incomplete = True

    def tend(self) -> None:
        """Load generations that will be asked for and let go of those that no longer are; for a thread with time."""
        for collection in self._records.collections():
            if not any(held == collection.id for held, _ in list(self._rosters)):
                continue
            wanted = [collection, *(collection.seen_as(g) for g in collection.others if _will_be_asked(collection, g))]
            for view in wanted:
                self.of(view)
            keep = {view.generation for view in wanted}
            keep |= {g.id for g in collection.others if g.state is GenerationState.BUILDING}
            with self._lock:
                for key in [k for k in self._rosters if k[0] == collection.id and k[1] not in keep]:
                    del self._rosters[key]
        for roster in self.loaded():
            roster.tidy()

    def save_snapshots(self, *, at_least: int) -> None:
        """Write a snapshot of each large roster that took over this many changes since its last one."""
        for roster in self.loaded():
            if roster.samples >= SNAPSHOT_FROM and roster.unsaved >= at_least:
                unsaved, erasures = roster.unsaved, roster.erasures
                self._snapshots.save(roster.collection, roster.chunks())
                with self._lock:
                    roster.unsaved -= unsaved
                    if roster.erasures != erasures:
                        self._snapshots.drop(roster.collection.id)  # it may hold whom it must not outlive

    def _load(self, collection: Collection) -> Roster:
        roster = self._empty(collection)
        try:
            with self._snapshots.reading(collection) as snapshot:
                roster.load(snapshot)
        except (TamperedData, OSError):  # the snapshot, after its tags were checked
            roster = self._empty(collection)
            roster.load(None)
        with self._lock:
            self._advance(roster)
            roster.settle()
            self._rosters[collection.id, collection.generation] = roster
        return roster

    def _empty(self, collection: Collection) -> Roster:
        index = self._make_index(collection.index, collection.space, collection.id, collection.generation)
        return Roster(collection, index, self._records)

    def _apply(self, collection_id: str, changes: list[Change]) -> None:
        rosters = [roster for (held, _), roster in self._rosters.items() if held == collection_id]
        if any(c.op is Op.DELETE and c.subject_key is None and c.number is None for c in changes):
            for roster in rosters:
                del self._rosters[collection_id, roster.collection.generation]
            self._snapshots.drop(collection_id)
            self._debts.forget(collection_id)
            return
        if any(change.op is Op.DELETE for change in changes):
            self._snapshots.drop(collection_id)  # a snapshot must not outlive whom it holds
            for roster in rosters:
                roster.unsaved += SNAPSHOT_FROM
                roster.erasures += 1
            self._debts.drop(collection_id, (c.number for c in changes if c.op is Op.DELETE and c.number is not None))
        for roster in rosters:
            roster.apply(changes)

    def _advance(self, roster: Roster) -> None:
        """Bring a roster that was loaded just now from its own seq up to this process's."""
        after = roster.seq
        while changes := self._records.changes(after):
            roster.apply([c for c in changes if c.collection_id == roster.collection.id])
            after = changes[-1].seq
        roster.seq = max(roster.seq, after)


def _settled(roster: Roster) -> bool:
    """Whether the roster's index knows all that it should; it is told what it does not."""
    try:
        roster.settle()
    except IndexUnavailable:
        return False
    return True


def _generations(collection: Collection) -> list[tuple[str, str]]:
    return [(collection.id, id) for id in (collection.generation, *(other.id for other in collection.others))]


def _will_be_asked(collection: Collection, generation: Generation) -> bool:
    tried = collection.trial is not None and collection.trial.generation == generation.id
    return tried or generation.state is GenerationState.READY
