"""The system of record in domain values, over rows that hold ciphertext only.

Invariants: every write commits with its audit entry in one transaction; sealing happens before the transaction, and if
the subject or a key has changed by then the write is prepared again; nothing is opened that was not asked for.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from lookalike.domain import (
    AuditEntry,
    Change,
    Collection,
    Consent,
    Floats,
    Keep,
    NewSample,
    Sample,
    Space,
    Subject,
)
from lookalike.errors import (
    GenerationChanged,
    IdempotencyMismatch,
    SampleElsewhere,
    SampleNotFound,
)
from lookalike.ports import RowReader, RowWriter, SampleRow, SubjectRow
from security.envelope import open_sealed, seal
from security.holds import require_free
from security.keys import until_unmoved
from security.sealed_collections import names_of_space
from security.sealed_rows import SealedSample
from security.sealed_subjects import SealedSubjects
from security.secret_key import SecretKey

ANSWERS_KEPT_S = 24 * 3600.0


class SealedRecords(SealedSubjects):
    """The port Records: subjects and collections below, samples and answers here. Thread-safe, as they are."""

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
        rows = self._rows.read().samples_lacking(collection.id, names_of_space(collection), after_number, limit)
        return self._opened(rows, lambda row: (collection.space_named(row.space), None))

    def count_lacking(self, collection: Collection) -> int:
        return self._rows.read().count_lacking(collection.id, names_of_space(collection))

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

    def drop_space(self, collection: Collection, space: Space, after_number: int, limit: int) -> int | None:
        return self._rows.write(lambda tx: tx.drop_templates(collection.id, space.key, after_number, limit))

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
        own = set(names_of_space(collection))
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


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
