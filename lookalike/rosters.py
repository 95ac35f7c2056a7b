"""The live views of all collections in one process, each generation of them that is asked for, following one sequence.

Records are the truth and rosters are derived from them: from a sealed snapshot plus the changes after it, or from the
records alone. Changes are applied by one thread at a time; searches never wait for them.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from lookalike.debts import Debts
from lookalike.domain import (
    Change,
    Collection,
    Generation,
    GenerationState,
    Op,
    Space,
)
from lookalike.errors import IndexUnavailable, TamperedData
from lookalike.ports import IndexServers, LocalIndex, Records, SharedIndex, Snapshots
from lookalike.roster import Roster

SNAPSHOT_FROM = 1000
"""Samples from which a snapshot is quicker than opening the records."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the live views are behind the records.

    changes: committed and not taken over yet, at most; seconds: since all were taken over, 0 while none is missing;
    unsettled: generations whose server does not hold all that it should; owed: erasures that it has not been told of.
    """

    changes: int
    seconds: float
    unsettled: int
    owed: int


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
        self._unsettled = 0
        self._level_at = time.monotonic()
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

    def lag(self) -> Lag:
        """How far behind this process is; no search waits for it. Raises: StorageUnavailable."""
        changes = max(0, self._records.last_seq() - self._seq)
        seconds = time.monotonic() - self._level_at if changes else 0.0
        return Lag(changes, seconds, self._unsettled, self._debts.total)

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
            self._level_at = time.monotonic()
            self._pay()
        return applied

    def _pay(self) -> None:
        """Tell the servers what they were not told yet, as far as they listen; an index that is lost is loaded anew."""
        self._debts.pay(lambda collection_id: [g for held, g in self._rosters if held == collection_id])
        unsettled = 0
        for key, roster in list(self._rosters.items()):
            unsettled += not _settled(roster)
            if roster.lost:
                del self._rosters[key]
                self._incomplete = True
        self._unsettled = unsettled

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
