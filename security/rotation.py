"""Gives a collection's key a new version while it is in use, and destroys the old one; begun again, it goes on.

1. In one transaction the new version joins the old one in the collection's row: from then on everything new is sealed
   and wrapped by it, since each write looks at that row (KeyRing.require_newest).
2. Subjects' keys are wrapped anew, a page at a time, each only if it is still the one that was read; and what is sealed
   under the collection's key itself is sealed anew. Records stay as they are, and so does the change sequence.
3. After a while, in which whoever still holds rows of before is done with them, the old version leaves the row, if
   nothing that was written meanwhile needs it; the least version in force and a line of the erasure ledger say so.

A kill leaves two versions in the row, under which everything opens. Two rotations at once help each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lookalike.answers import Caller
from lookalike.domain import Permission
from lookalike.errors import CollectionNotFound, Conflict, TamperedData
from lookalike.on_record import Operation, on_record
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter, SubjectRow
from security.audit import SealedAuditLog
from security.collection_keys import BEGUN, DUE, CollectionKeys, Version, note_begun, note_finished, since
from security.erasure import scrub
from security.key_wrap import ID_AT, wrapping_key_id
from security.keys import KeyRing, until_unmoved
from security.ledger import KEY
from security.ledger_copy import Ledger
from security.resealing import needed, reseal
from security.root import handovers
from security.root_key import RootFacts, root_facts
from security.sealed_rows import RowSealer
from security.secret_key import KEY_ID_BYTES, SecretKey

PAGE = 500
SETTLE_S = 5.0
"""Longer than anyone takes from reading a row to opening it."""

UNFINISHED_S = 600.0
"""How long a rotation may be unfinished before the service goes on with it by itself."""

_ATTEMPTS = 20
_MOST_CHANGES = 20_000

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version of a collection's key. made_at: seconds since 1970; subjects: whose keys it wraps."""

    version: int
    made_at: float
    subjects: int


@dataclass(frozen=True, slots=True)
class CollectionKeyStatus:
    """minimum: the least version that is accepted; strays: subjects whose keys are wrapped by no version that is there.

    due_since: since when erased subjects wait for the old version to be destroyed, None where none do.
    """

    collection: str
    versions: Sequence[VersionStatus]
    minimum: int
    strays: int
    due_since: float | None

    @property
    def unfinished(self) -> bool:
        return len(self.versions) > 1


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """root_id: hex; handed_over_until: until when the root before still leads to this one, None where none does."""

    root: RootFacts
    root_id: str
    handed_over_until: float | None
    collections: Sequence[CollectionKeyStatus]


@dataclass(frozen=True, slots=True)
class KeyAges:
    """Seconds since 1970, None where there is none: since when the root is in use, when the newest version of the
    collection's key that is longest in use was made, and since when the longest waiting rotation is due."""

    root: float | None
    collection: float | None
    due: float | None


class KeyRotation:
    """Rotates collections' keys and says how they stand. Thread-safe, and several processes may share the rows.

    heads: brings the heads of this process's files to the newest keys.
    """

    def __init__(
        self,
        rows: Rows,
        keyring: KeyRing,
        audit: SealedAuditLog,
        ledger: Ledger,
        heads: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._ledger = ledger
        self._heads = heads
        self._clock = clock
        self._sleep = sleep
        self._sealer = RowSealer(keyring)

    # ---------------------------------------------------------------------------------------------- asking

    def require(self, caller: Caller, collection: str | None) -> tuple[str, str] | None:
        """The name and id of the collection to be rotated, None for all. Raises: PermissionDenied, CollectionNotFound.

        It is put on record only if it is refused; the rotation itself is.
        """
        if not caller.principal.may(Permission.MANAGE_KEYS, collection):
            with on_record(self._audit, caller, "keys.rotate", Permission.MANAGE_KEYS, collection):
                pass
        if collection is None:
            return None
        return collection, self._named(self._rows.read(), collection).id

    def status(self, caller: Caller) -> KeyStatus:
        """How the keys stand that the caller manages. It looks at every subject's row. Raises: PermissionDenied."""
        with on_record(self._audit, caller, "keys.status", None):
            may = caller.principal.may
            reader, due = self._rows.read(), since(self._rows.read(), DUE)
            if not caller.principal.may_anywhere(Permission.MANAGE_KEYS):
                caller.principal.require(Permission.MANAGE_KEYS, None)
            named = [(self._sealer.open_collection(row).name, row) for row in reader.collections()]
            facts = root_facts(reader)
            return KeyStatus(
                facts if may(Permission.MANAGE_KEYS, None) else replace(facts, shown=f"{facts.kind}:"),
                self._keyring.root.id.hex(),
                max(handovers(reader).values(), default=None),
                [
                    self._status_of(name, row, due.get(row.id))
                    for name, row in sorted(named)
                    if may(Permission.MANAGE_KEYS, name)
                ],
            )

    def ages(self) -> KeyAges:
        """How old the keys are, for figures without names; nothing is put on record. Raises: StorageUnavailable."""
        reader = self._rows.read()
        made = []
        for row in reader.collections():
            try:
                history = self._keyring.history(reader, row.id)
                newest = self._keyring.unwrap_collection(row).versions[-1].number
            except (TamperedData, CollectionNotFound):
                continue  # whoever asks for the collection is told
            made.append(history.made.get(newest, row.created_at))
        waiting = [*since(reader, DUE).values(), *since(reader, BEGUN).values()]
        return KeyAges(root_facts(reader).since, min(made, default=None), min(waiting, default=None))

    def due(self, older_than_s: float) -> list[tuple[str, str]]:
        """Name and id of each collection that has waited so long, or whose rotation was left unfinished."""
        reader, now = self._rows.read(), self._clock()
        ripe = {id for id, at in since(reader, DUE).items() if now - at >= older_than_s}
        ripe |= {id for id, at in since(reader, BEGUN).items() if now - at >= UNFINISHED_S}
        if not ripe:
            return []
        return [(self._sealer.open_collection(row).name, row.id) for row in reader.collections() if row.id in ripe]

    def follow(self) -> None:
        """Take up what other processes did: newer versions, the end of older ones, heads of files, old roots' ends."""
        reader, now = self._rows.read(), self._clock()
        unfinished = False
        for row in reader.collections():
            try:
                versions = self._keyring.unwrap_collection(row).versions
                self._keyring.refuse_below(row.id, versions[0].number)
                unfinished = len(versions) > 1 or unfinished
            except (TamperedData, CollectionNotFound):
                continue  # whoever asks for the collection is told
        if unfinished:
            self._heads()
        over = [name for name, until in handovers(reader).items() if until < now]
        if over:
            self._rows.write(lambda rows: [rows.delete_setting(name) for name in over])
            scrub(self._rows)

    def _status_of(self, name: str, row: CollectionRow, due: float | None) -> CollectionKeyStatus:
        keys, reader = self._keyring.unwrap_collection(row), self._rows.read()
        history = self._keyring.history(reader, row.id)
        counts = reader.count_wrapped(row.id, ID_AT, KEY_ID_BYTES)
        versions = [
            VersionStatus(v.number, history.made.get(v.number, row.created_at), counts.pop(v.key.id, 0))
            for v in keys.versions
        ]
        return CollectionKeyStatus(name, versions, history.minimum, sum(counts.values()), due)

    # -------------------------------------------------------------------------------------------- rotating

    def run(
        self, caller: Caller, collection: tuple[str, str] | None, progress: Progress, *, due: bool = False
    ) -> Mapping[str, int]:
        """Rotate one collection (its name and id) or all, but those that this request, begun before, has done already.

        due: only where something was erased. Raises: PermissionDenied, CollectionNotFound, Conflict, TamperedData.
        """
        self.require(caller, collection[0] if collection is not None else None)
        reader = self._rows.read()
        rows = [row for row in reader.collections() if collection is None or row.id == collection[1]]
        if collection is not None and not rows:
            raise CollectionNotFound("there is no such collection")
        total = sum(reader.count(row.id)[0] for row in rows)
        done, rotated, failed = 0, 0, None
        for row in rows:
            try:
                rotated += self._rotate(caller, row, _Told(progress, done, total), due)
            except (TamperedData, CollectionNotFound, Conflict) as error:  # the others are not to wait for this one
                failed = failed or error
            done += reader.count(row.id)[0]
            progress(min(done, total), total)
        if failed is not None:
            raise failed
        return {"collections": rotated, "subjects": total}

    def _rotate(self, caller: Caller, row: CollectionRow, told: _Told, due: bool) -> bool:
        name = self._sealer.open_collection(row).name
        with on_record(self._audit, caller, "keys.rotate", Permission.MANAGE_KEYS, name) as record:
            return _Rotating(self, record, row.id, row.lookup, told).run(due=due)

    def _named(self, reader: RowReader, name: str) -> CollectionRow:
        row = reader.collection_by_lookup(self._sealer.collection_lookup(name))
        if row is None:
            raise CollectionNotFound("there is no such collection")
        return row


@dataclass(frozen=True, slots=True)
class _Told:
    """Tells how far one collection of several is."""

    progress: Progress
    before: int
    total: int

    def __call__(self, done: int) -> None:
        self.progress(min(self.before + done, self.total), self.total)


class _Rotating:
    """The rotation of one collection."""

    def __init__(
        self, owner: KeyRotation, record: Operation, id: str, lookup: bytes, told: Callable[[int], None]
    ) -> None:
        self._rows, self._keyring, self._ledger = owner._rows, owner._keyring, owner._ledger
        self._audit, self._clock, self._sleep, self._heads = owner._audit, owner._clock, owner._sleep, owner._heads
        self._record = record
        self._id = id
        self._lookup = lookup
        self._told = told

    def run(self, *, due: bool) -> bool:
        """Whether there was anything to do."""
        if not until_unmoved(lambda: self._rows.write(lambda tx: self._begin(tx, due))):
            self._record.details["unchanged"] = 1
            return False
        keys = self._keyring.reread(self._id)
        for _ in range(_ATTEMPTS):
            seq = self._rows.read().last_seq()
            self._rewrap(keys)
            reseal(self._rows, self._keyring, self._row)
            self._heads()
            self._settle()
            finish = partial(self._finish, keys=keys, seq=seq)
            if until_unmoved(partial(self._rows.write, finish)):
                break
        else:
            raise Conflict("the collection changes faster than its keys can be wrapped anew: rotate it again later")
        self._keyring.refuse_below(self._id, keys.versions[-1].number)
        self._keyring.reread(self._id)
        self._ledger.publish()
        scrub(self._rows)
        return True

    def _row(self, reader: RowReader) -> CollectionRow:
        """The row as it is now, also if the collection was given another name. Raises: CollectionNotFound."""
        row = reader.collection_by_lookup(self._lookup)
        if row is None or row.id != self._id:
            row = next((row for row in reader.collections() if row.id == self._id), None)
        if row is None:
            raise CollectionNotFound("the collection was deleted meanwhile")
        return row

    # ------------------------------------------------------------------------------------------------ steps

    def _begin(self, tx: RowWriter, due: bool) -> bool:
        """Add a version, unless there are two already. False if there is nothing to do."""
        row = self._row(tx)
        keys, history = self._keyring.keys_in(row), self._keyring.history(tx, self._id)
        if len(keys.versions) > 1:
            return True
        newest = keys.versions[-1]
        if history.by == self._record.caller.request_id:
            return False
        if due and tx.get_setting(DUE + self._id) is None:
            return False
        added = Version(newest.number + 1, SecretKey.generate())
        wrapped = self._keyring.wrap_versions(self._id, [*keys.versions, added])
        self._keyring.root.require_current(tx, wrapped)
        tx.put_collection(replace(row, wrapped_key=wrapped))
        made = {**history.made, added.number: self._clock()}
        self._keyring.put_history(tx, self._id, replace(history, made=made, by=self._record.caller.request_id))
        note_begun(tx, self._id, self._clock())
        self._audit.prepare(replace(self._record.entry(), details={"version": added.number, "begun": 1}))(tx)
        return True

    def _rewrap(self, keys: CollectionKeys) -> None:
        """Wrap the keys of all subjects by the newest version. Raises: TamperedData for one that does not open."""
        after, seen, broken = "", 0, 0
        while page := self._rows.read().subjects_page(self._id, after, PAGE):
            rewrapped, failed = self._rewrapped(keys, page)
            broken += failed
            if rewrapped:
                self._rows.write(partial(_put_back, rewrapped))
            after, seen = page[-1].key, seen + len(page)
            self._told(seen)
        if broken:
            raise TamperedData(
                f"the keys of {broken} subjects do not open, so the old version is kept: what is theirs is damaged, "
                "restore a backup or erase them, then rotate again"
            )

    def _rewrapped(
        self, keys: CollectionKeys, page: Sequence[SubjectRow]
    ) -> tuple[list[tuple[str, bytes, bytes]], int]:
        """(subject, wrapped key as it is, as it is to be) of those that need it, and how many do not open."""
        found, failed = [], 0
        for row in page:
            if wrapping_key_id(row.wrapped_key) == keys.newest.id:
                continue
            try:
                found.append((row.key, row.wrapped_key, self._keyring.rewrapped_subject_key(keys, row)))
            except TamperedData:
                failed += 1
        return found, failed

    def _settle(self) -> None:
        """Give others the time to be done with rows that they read before."""
        deadline = time.monotonic() + SETTLE_S
        while (left := deadline - time.monotonic()) > 0:
            self._told(self._rows.read().count(self._id)[0])
            self._sleep(min(left, 0.5))

    def _finish(self, tx: RowWriter, keys: CollectionKeys, seq: int) -> bool:
        """Destroy the versions before the newest of `keys`; False if something that was written since needs them."""
        row = self._row(tx)
        there = self._keyring.keys_in(row)
        kept = [version for version in there.versions if version.number >= keys.versions[-1].number]
        if len(kept) == len(there.versions):
            return True  # another process was quicker
        if there.newest.id != keys.newest.id or not self._is_settled(tx, row, keys.newest.id, seq):
            return False
        gone = [version.number for version in there.versions if version not in kept]
        wrapped = self._keyring.wrap_versions(self._id, kept)
        self._keyring.root.require_current(tx, wrapped)
        tx.put_collection(replace(row, wrapped_key=wrapped))
        history = self._keyring.history(tx, self._id)
        least = kept[0].number
        made = {number: at for number, at in history.made.items() if number >= least}
        self._keyring.put_history(tx, self._id, replace(history, minimum=least, made=made))
        note_finished(tx, self._id)
        details: dict[str, str | int | float | None] = {
            "version": kept[-1].number,
            "destroyed": ", ".join(str(number) for number in gone),
        }
        self._audit.prepare(replace(self._record.commit(), details=details))(tx)
        self._ledger.enter(tx, KEY, {"collection": self._id, "version": least}, self._clock())
        return True

    def _is_settled(self, tx: RowWriter, row: CollectionRow, newest: bytes, seq: int) -> bool:
        """Whether nothing that was written since that change is wrapped or sealed by another version."""
        changes = tx.changes(seq, _MOST_CHANGES)
        if len(changes) == _MOST_CHANGES:
            return False
        touched = {change.subject_key for change in changes if change.collection_id == self._id}
        rows = tx.subjects([key for key in touched if key is not None])
        if any(wrapping_key_id(row.wrapped_key) != newest for row in rows):
            return False
        return not needed(tx, row, newest)


def _put_back(rewrapped: Sequence[tuple[str, bytes, bytes]], tx: RowWriter) -> None:
    tx.rewrap_subjects(rewrapped)
