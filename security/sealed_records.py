"""The system of record in domain values, over rows that hold ciphertext only.

Invariants: every write commits with its audit entry in one transaction; sealing happens before the transaction, and if
the subject or a key has changed by then the write is prepared again; nothing is opened that was not asked for.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from lookalike.domain import (
    AuditEntry,
    Change,
    Collection,
    Consent,
    Copy,
    Floats,
    Keep,
    NewSample,
    Page,
    Receipt,
    Sample,
    Space,
    Subject,
)
from lookalike.errors import (
    CollectionExists,
    CollectionNotFound,
    Conflict,
    GenerationChanged,
    IdempotencyMismatch,
    KeyMoved,
    SampleElsewhere,
    SampleNotFound,
    SubjectNotFound,
)
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter, SampleRow, SubjectRow
from lookalike.standing import still_withdrawn
from security.audit import SealedAuditLog
from security.collection_keys import forget_due, mark_due
from security.cursors import Cursors
from security.elsewhere import backed_up_at, copies_of, elsewhere
from security.envelope import open_sealed, seal
from security.erasure import Erasure
from security.holds import require_free, require_none
from security.key_wrap import wrapping_key_id
from security.keys import KeyRing, until_unmoved
from security.ledger_copy import Ledger
from security.sealed_rows import RowSealer, SealedSample
from security.secret_key import SecretKey

T = TypeVar("T")

ANSWERS_KEPT_S = 24 * 3600.0
SCAN_LIMIT = 50_000
"""Subjects that one page of a filtered list looks at; the page may then be short, and its cursor goes on."""

_SCAN_PAGE = 500


class SealedRecords:
    """The port Records. Thread-safe, and several processes may share the rows below."""

    def __init__(
        self,
        rows: Rows,
        keyring: KeyRing,
        audit: SealedAuditLog,
        clock: Callable[[], float] = time.time,
        ledger: Ledger | None = None,
    ) -> None:
        """ledger: where erasures are entered; by default one that has no copy outside the data folder."""
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        self._sealer = RowSealer(keyring)
        self._cursors = Cursors(keyring)
        self._ledger = ledger or Ledger(rows, keyring, audit)
        self._erasure = Erasure(rows, keyring, audit, self._ledger)

    # ---------------------------------------------------------------------------------------- collections

    def create_collection(self, collection: Collection, entry: AuditEntry) -> None:
        note = self._audit.prepare(entry)

        def attempt() -> None:
            row = self._sealer.new_collection(collection)

            def create(rows: RowWriter) -> None:
                if rows.collection_by_lookup(row.lookup) is not None:
                    raise CollectionExists("there is a collection of this name already")
                self._keyring.root.require_current(rows, row.wrapped_key)
                rows.put_collection(row)
                note(rows)

            self._rows.write(create)

        try:
            until_unmoved(attempt)
        except BaseException:
            self._keyring.forget_collection(collection.id)
            raise

    def collection(self, name: str) -> Collection:
        row = self._rows.read().collection_by_lookup(self._sealer.collection_lookup(name))
        if row is None:
            raise CollectionNotFound("there is no such collection")
        return self._sealer.open_collection(row)

    def collections(self) -> list[Collection]:
        found = [self._sealer.open_collection(row) for row in self._rows.read().collections()]
        return sorted(found, key=lambda collection: collection.name)

    def change_collection(
        self, collection: Collection, change: Callable[[Collection], Collection], entry: AuditEntry
    ) -> Collection:
        note = self._audit.prepare(entry)

        def update(rows: RowWriter) -> Collection:
            row = self._row_of(rows, collection)
            changed = change(self._sealer.open_collection(row))
            rows.put_collection(replace(row, payload=self._sealer.changed_collection(row, changed)))
            note(rows)
            return changed

        return self._rows.write(update)

    def delete_collection(self, collection: Collection, entry: AuditEntry) -> Receipt:
        def delete(rows: RowWriter) -> Receipt:
            self._row_of(rows, collection)
            require_none(rows, collection.id)
            subjects, samples = rows.count(collection.id)
            facts_elsewhere, pending = elsewhere(rows, self._sealer, collection, collection.created_at)
            rows.delete_collection(collection.id)
            forget_due(rows, collection.id)
            facts: dict[str, str | int] = {
                "kind": "collection",
                "collection": collection.id,
                "subjects": subjects,
                "samples": samples,
                **facts_elsewhere,
            }
            return replace(self._erasure.sign(rows, entry, facts, self._clock()), pending=pending)

        receipt = self._rows.write(delete)
        self._keyring.forget_collection(collection.id)
        return self._erasure.finish(receipt)

    def count(self, collection: Collection) -> tuple[int, int]:
        return self._rows.read().count(collection.id)

    def _row_of(self, rows: RowReader, collection: Collection) -> CollectionRow:
        """Raises: CollectionNotFound if it is gone, even if another of its name came after it."""
        row = rows.collection_by_lookup(self._sealer.collection_lookup(collection.name))
        if row is None or row.id != collection.id:
            raise CollectionNotFound("there is no such collection")
        return row

    # ------------------------------------------------------------------------------------------- subjects

    def put_subject(self, collection: Collection, subject: Subject, entry: AuditEntry) -> Subject:
        note = self._audit.prepare(entry)

        def attempt() -> Subject:
            there, now, overwrites = self._find(collection, subject.id), self._clock(), False
            if there is None:
                row, _, stored = self._sealer.new_subject(collection, subject, now)
            else:
                before = self._sealer.open_subject(there)
                consent = still_withdrawn(before.consent, subject.consent)
                row, stored = self._sealer.changed_subject(there, replace(subject, consent=consent), now)
                overwrites = replace(stored, updated_at=before.updated_at) != before

            def put(rows: RowWriter) -> None:
                self._require_unmoved(rows, collection, row, there, unchanged=True)
                if overwrites:
                    require_free(rows, collection.id, row.key)
                rows.put_subject(row)
                note(rows)

            self._rows.write(put)
            return stored

        return until_unmoved(attempt)

    def change_subject(
        self,
        collection: Collection,
        subject_id: str,
        change: Callable[[Subject], Subject],
        entry: AuditEntry,
        *,
        overwrites: bool = True,
    ) -> Subject:
        note = self._audit.prepare(entry)

        def attempt() -> Subject:
            there = self._find(collection, subject_id)
            if there is None:
                raise SubjectNotFound("there is no such subject")
            row, stored = self._sealer.changed_subject(there, change(self._sealer.open_subject(there)), self._clock())

            def put(rows: RowWriter) -> None:
                self._require_unmoved(rows, collection, row, there, unchanged=True)
                if overwrites:
                    require_free(rows, collection.id, row.key)
                rows.put_subject(row)
                note(rows)

            self._rows.write(put)
            return stored

        return until_unmoved(attempt)

    def require_unheld(self, collection: Collection, subject_id: str) -> None:
        there = self._find(collection, subject_id)
        if there is not None:
            require_free(self._rows.read(), collection.id, there.key)

    def copies(self, collection: Collection, since: float) -> list[Copy]:
        return copies_of(self._rows.read(), self._sealer, collection, since)

    def backed_up_at(self) -> float:
        return backed_up_at(self._rows.read())

    def kept_receipts(self, collection: Collection) -> list[Receipt]:
        return self._erasure.kept_receipts(collection.id)

    def last_enrolled(self, keys: Iterable[str]) -> dict[str, float]:
        reader = self._rows.read()
        found = {key: reader.samples_of(key) for key in keys}
        return {key: max(row.created_at for row in rows) for key, rows in found.items() if rows}

    def subject(self, collection: Collection, subject_id: str) -> Subject:
        row = self._find(collection, subject_id)
        if row is None:
            raise SubjectNotFound("there is no such subject")
        return self._sealer.open_subject(row)

    def subjects(self, collection: Collection, keys: Sequence[str]) -> dict[str, Subject]:
        rows = self._rows.read().subjects(keys)
        return {row.key: self._sealer.open_subject(row) for row in rows if row.collection_id == collection.id}

    def list_subjects(
        self, collection: Collection, limit: int, cursor: str | None, metadata: Mapping[str, str]
    ) -> Page[Subject]:
        after = self._cursors.read(cursor, collection.id, metadata) if cursor is not None else ""
        found: list[Subject] = []
        wanted = metadata.items()
        size = limit + 1 if not metadata else _SCAN_PAGE
        seen = 0
        while rows := self._rows.read().subjects_page(collection.id, after, size):
            for row in rows:
                if len(found) == limit or seen == SCAN_LIMIT:
                    return Page(tuple(found), self._cursors.make(after, collection.id, metadata))
                subject = self._sealer.open_subject(row)
                if wanted <= subject.metadata.items():
                    found.append(subject)
                after, seen = row.key, seen + 1
            if len(rows) < size:
                break
        return Page(tuple(found), None)

    def erase_subject(
        self,
        collection: Collection,
        subject_id: str,
        entry: AuditEntry,
        only_if: Callable[[Subject, float], bool] | None = None,
    ) -> Receipt:
        lookup = self._sealer.subject_lookup(collection, subject_id)
        return self._erasure.finish(
            self._rows.write(lambda rows: self._erased(rows, collection, lookup, entry, only_if))
        )

    def _erased(
        self,
        rows: RowWriter,
        collection: Collection,
        lookup: bytes,
        entry: AuditEntry,
        only_if: Callable[[Subject, float], bool] | None = None,
    ) -> Receipt:
        """Delete a subject and sign for it. Raises: SubjectNotFound, LegalHold; Conflict where `only_if` says no."""
        row = rows.subject_by_lookup(collection.id, lookup)
        if row is None:
            raise SubjectNotFound("there is no such subject")
        require_free(rows, collection.id, row.key)
        if only_if is not None:
            newest = max((sample.created_at for sample in rows.samples_of(row.key)), default=0.0)
            if not only_if(self._sealer.open_subject(row), newest):
                raise Conflict("the subject was changed meanwhile, so there is no reason to erase it any more")
        numbers = rows.delete_subject(row.key)
        mark_due(rows, collection.id, self._clock())
        facts: dict[str, str | int] = {
            "kind": "subject",
            "collection": collection.id,
            "subject": row.key,
            "samples": len(numbers),
        }
        facts_elsewhere, pending = elsewhere(rows, self._sealer, collection, row.created_at)
        receipt = self._erasure.sign(rows, entry, {**facts, **facts_elsewhere}, self._clock())
        return replace(receipt, pending=pending)

    def _find(self, collection: Collection, subject_id: str) -> SubjectRow | None:
        lookup = self._sealer.subject_lookup(collection, subject_id)
        return self._rows.read().subject_by_lookup(collection.id, lookup)

    def _require_unmoved(
        self,
        rows: RowReader,
        collection: Collection,
        row: SubjectRow,
        there: SubjectRow | None,
        *,
        unchanged: bool = False,
    ) -> None:
        """Raises: CollectionNotFound; KeyMoved if a key is not the one any more that was used to seal or to wrap.

        unchanged: also if anything else of the subject's row is not as it was.
        """
        owner = self._row_of(rows, collection)
        now = rows.subject_by_lookup(collection.id, row.lookup)
        if _key_of(now) != _key_of(there) or (unchanged and now != there):
            raise KeyMoved("the subject was changed by somebody else meanwhile")
        if there is None:
            self._keyring.require_newest(owner, wrapping_key_id(row.wrapped_key))

    # -------------------------------------------------------------------------------------------- samples

    def add_samples(
        self,
        collection: Collection,
        subject_id: str,
        samples: Sequence[NewSample],
        entry: AuditEntry,
        consent: Consent | None = None,
    ) -> tuple[Subject, list[Sample]]:
        note = self._audit.prepare(entry)

        def attempt() -> tuple[Subject, list[Sample]]:
            there, now = self._find(collection, subject_id), self._clock()
            if there is None:
                row, key, subject = self._sealer.new_subject(collection, Subject("", subject_id, {}, consent), now)
            else:
                row, key, subject = there, self._sealer.subject_key(there), self._sealer.open_subject(there)
                if consent is not None and consent != subject.consent:
                    row, subject = self._sealer.changed_subject(there, replace(subject, consent=consent), now)
            sealed = [self._sealer.seal_sample(collection, row.key, key, new, now) for new in samples]

            def add(rows: RowWriter) -> list[SampleRow]:
                self._require_unmoved(rows, collection, row, there, unchanged=row is not there)
                self._require_templates(rows, collection, samples)
                if row is not there:
                    if there is not None:
                        require_free(rows, row.collection_id, row.key)
                    rows.put_subject(row)
                added = [inserted(rows, row, sample, now) for sample in sealed]
                note(rows)
                return added

            added = self._rows.write(add)
            return subject, self._open_samples(collection, added)

        return until_unmoved(attempt)

    def _require_templates(self, rows: RowReader, collection: Collection, samples: Sequence[NewSample]) -> None:
        """Raises: GenerationChanged if the collection has got a generation that these samples have no template for."""
        spaces = set(self._sealer.open_collection(self._row_of(rows, collection)).spaces)
        for sample in samples:
            if not spaces <= {collection.space, *(space for space, _ in sample.also)}:
                raise GenerationChanged("the collection has got another generation meanwhile")

    def samples(self, collection: Collection, subject: Subject) -> list[Sample]:
        rows = self._rows.read().samples_of(subject.key)
        answering = {sample.number for sample in self._open_samples(collection, rows) if sample.carried}
        found = self._opened(rows, lambda row: (collection.space_named(row.space), None))
        return [replace(sample, carried=sample.number in answering) for sample in found] if answering else found

    def samples_lacking(self, collection: Collection, after_number: int, limit: int) -> list[Sample]:
        """In spaces of their own."""
        rows = self._rows.read().samples_lacking(collection.id, _names(collection), after_number, limit)
        return self._opened(rows, lambda row: (collection.space_named(row.space), None))

    def count_lacking(self, collection: Collection) -> int:
        return self._rows.read().count_lacking(collection.id, _names(collection))

    def put_templates(self, collection: Collection, templates: Sequence[tuple[Sample, Floats]]) -> int:
        reader = self._rows.read()
        rows = {row.number: row for row in reader.samples_numbered([sample.number for sample, _ in templates])}
        keys = self._keys_of(rows.values())
        sealed = [
            (row.number, self._sealer.seal_template(keys[row.subject_key], row, collection.space, sample, vector))
            for sample, vector in templates
            if (row := rows.get(sample.number)) is not None and row.subject_key in keys
        ]
        name = collection.space.key
        return self._rows.write(lambda tx: sum(tx.put_template(number, name, data) for number, data in sealed))

    def settle(self, collection: Collection, after_number: int, limit: int) -> int | None:
        reader = self._rows.read()
        rows = reader.samples_page(collection.id, after_number, limit)
        if not rows:
            return None
        name = collection.space.key
        needed = {space.key for space in collection.spaces}
        movable = [row.number for row in rows if (row.space or collection.origin.key) not in needed]
        moved = reader.templates(movable, name)
        self._rows.write(lambda tx: [tx.settle_sample(number, name, data) for number, data in moved.items()])
        return rows[-1].number

    def drop_space(self, collection: Collection, space: Space, limit: int) -> int:
        return self._rows.write(lambda tx: tx.drop_templates(collection.id, space.key, limit))

    def delete_sample(self, collection: Collection, subject: Subject, sample_id: str, entry: AuditEntry) -> None:
        note = self._audit.prepare(entry)

        def delete(rows: RowWriter) -> None:
            self._sample_row(rows, subject, sample_id)
            require_free(rows, collection.id, subject.key)
            rows.delete_sample(sample_id)
            note(rows)
            facts = {"collection": collection.id, "subject": subject.key, "sample": sample_id}
            self._ledger.enter(rows, "sample", facts, self._clock())

        self._rows.write(delete)
        self._ledger.publish()
        self._erasure.scrub()

    def picture(self, collection: Collection, subject: Subject, sample_id: str, kind: Keep) -> bytes:
        reader = self._rows.read()
        row = self._sample_row(reader, subject, sample_id)
        owners, blob = reader.subjects([row.subject_key]), reader.blob(row.id, kind.value)
        if not owners or blob is None:
            raise SampleNotFound("this picture is not kept")
        return self._sealer.open_picture(self._sealer.subject_key(owners[0]), row, kind, blob)

    def crops(self, collection: Collection, samples: Sequence[Sample]) -> dict[str, bytes]:
        reader = self._rows.read()
        rows = reader.samples_numbered([sample.number for sample in samples])
        keys = self._keys_of(rows)
        found = {}
        for row in rows:
            blob = reader.blob(row.id, Keep.CROP.value)
            if row.subject_key in keys and blob is not None:
                found[row.id] = self._sealer.open_picture(keys[row.subject_key], row, Keep.CROP, blob)
        return found

    @staticmethod
    def _sample_row(rows: RowReader, subject: Subject, sample_id: str) -> SampleRow:
        row = rows.sample_by_id(sample_id)
        if row is None or row.subject_key != subject.key:
            raise SampleNotFound("this subject has no such sample")
        return row

    def _open_samples(self, collection: Collection, rows: Sequence[SampleRow]) -> list[Sample]:
        """Those of `rows` that have a template in the collection's space."""
        own = set(_names(collection))
        others = [row.number for row in rows if row.space not in own]
        templates = self._rows.read().templates(others, collection.space.key) if others else {}

        def where(row: SampleRow) -> tuple[Space | None, bytes | None]:
            if row.space in own:
                return collection.space, None
            return (collection.space, templates[row.number]) if row.number in templates else (None, None)

        return self._opened(rows, where)

    def _opened(
        self, rows: Sequence[SampleRow], where: Callable[[SampleRow], tuple[Space | None, bytes | None]]
    ) -> list[Sample]:
        """Those of `rows` whose subject is still there; what belongs to an erased one opens no more."""
        keys = self._keys_of(rows)
        opened = []
        for row in rows:
            key, (space, template) = keys.get(row.subject_key), where(row)
            if key is not None and space is not None:
                opened.append(self._sealer.open_sample(space, key, row, template))
        return opened

    def _keys_of(self, rows: Iterable[SampleRow]) -> dict[str, SecretKey]:
        """The keys of the subjects of these rows that are still there."""
        owners = self._rows.read().subjects(list({row.subject_key for row in rows}))
        return {owner.key: self._sealer.subject_key(owner) for owner in owners}

    # -------------------------------------------------------------------------- what the live view follows

    def last_seq(self) -> int:
        return self._rows.read().last_seq()

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        return self._rows.read().changes(after, limit)

    def samples_numbered(self, collection: Collection, numbers: Sequence[int]) -> list[Sample]:
        rows = self._rows.read().samples_numbered(numbers)
        return self._open_samples(collection, [row for row in rows if row.collection_id == collection.id])

    def stream_samples(
        self, collection: Collection, batch: int = 2000, after_number: int = 0
    ) -> Iterator[list[Sample]]:
        after = after_number
        while rows := self._rows.read().samples_page(collection.id, after, batch):
            yield self._open_samples(collection, rows)
            after = rows[-1].number

    def stream_subjects(self, collection: Collection, batch: int = 2000) -> Iterator[list[Subject]]:
        after = ""
        while rows := self._rows.read().subjects_page(collection.id, after, batch):
            yield [self._sealer.open_subject(row) for row in rows]
            after = rows[-1].key

    # ------------------------------------------------------------- what a collection learned from itself

    def calibration(self, collection: Collection) -> str | None:
        payload = self._rows.read().calibration(collection.id, _names(collection)[-1])
        return self._sealer.open_calibration(collection, payload) if payload is not None else None

    def put_calibration(self, collection: Collection, calibration: str, entry: AuditEntry) -> None:
        note = self._audit.prepare(entry)

        def put(rows: RowWriter) -> None:
            payload = self._sealer.seal_calibration(self._row_of(rows, collection), calibration)
            rows.put_calibration(collection.id, _names(collection)[-1], payload)
            note(rows)

        self._rows.write(put)

    # -------------------------------------------------------------------------------- idempotent answers

    def remembered(self, key: str, digest: bytes) -> bytes | None:
        kept = self._rows.read().idempotent(self._answer_lookup(key))
        if kept is None:
            return None
        if not hmac.compare_digest(kept[0], self._keyring.lookup("body", digest)):
            raise IdempotencyMismatch("this idempotency key was used with another body")
        return open_sealed(self._answer_key(key), kept[1], self._keyring.context("answer"))

    def remember(self, key: str, digest: bytes, answer: bytes) -> None:
        """Sealed under a key that takes the caller's idempotency key to derive, which is kept nowhere."""
        sealed = seal(self._answer_key(key), answer, self._keyring.context("answer"))
        lookup, keyed, now = self._answer_lookup(key), self._keyring.lookup("body", digest), self._clock()

        def put(rows: RowWriter) -> None:
            rows.forget_idempotent(now - ANSWERS_KEPT_S)
            rows.put_idempotent(lookup, keyed, sealed, now)

        self._rows.write(put)

    def derived_id(self, key: str, ordinal: int) -> str:
        return self._keyring.lookup("sample", _utf8(key), ordinal.to_bytes(8, "big"))[:16].hex()

    def _answer_lookup(self, key: str) -> bytes:
        return self._keyring.lookup("idempotency", _utf8(key))

    def _answer_key(self, key: str) -> SecretKey:
        return self._keyring.derived_key("answer", _utf8(key))


def inserted(rows: RowWriter, subject: SubjectRow, sample: SealedSample, at: float) -> SampleRow:
    """Insert a sample, or find the one of its id that is there already."""
    new = sample.new
    there = rows.sample_by_id(new.id)
    if there is not None:
        if there.subject_key != subject.key:
            raise SampleElsewhere("this picture was moved to another subject: it is not enrolled for this one again")
        return there
    owner = subject.collection_id
    number = rows.add_sample(new.id, owner, subject.key, sample.payload, at, sample.blobs, sample.space)
    for space, template in sample.also.items():
        rows.put_template(number, space, template)
    return SampleRow(new.id, number, owner, subject.key, sample.payload, at, sample.space)


def _names(collection: Collection) -> list[str]:
    """What rows in the collection's space say of theirs; the last is what calibrations learned there go by."""
    return [collection.space.key] if collection.space != collection.origin else [collection.space.key, ""]


def _key_of(row: SubjectRow | None) -> tuple[str, bytes] | None:
    return (row.key, row.wrapped_key) if row is not None else None


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
