"""The records with what is asked of faces one by one: many subjects in one write, a sample by its id, a safe change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from lookalike.domain import AuditEntry, Collection, NewSample, Receipt, Sample, Subject
from lookalike.errors import Conflict, SampleNotFound, SubjectNotFound
from lookalike.ports import RowWriter, SampleRow
from security.key_wrap import wrapping_key_id
from security.keys import until_unmoved
from security.sealed_records import SealedRecords, inserted


class SealedFaceRecords(SealedRecords):
    """The port FaceRecords. Thread-safe, and several processes may share the rows below."""

    def add_subjects(
        self, collection: Collection, new: Sequence[tuple[Subject, NewSample]], entry: AuditEntry
    ) -> list[tuple[Subject, Sample]]:
        samples = self._in_own_spaces(collection, until_unmoved(lambda: self._added(collection, new, entry)))
        owners = self.subjects(collection, [sample.subject_key for sample in samples])
        return [(owners[sample.subject_key], sample) for sample in samples]

    def _added(
        self, collection: Collection, new: Sequence[tuple[Subject, NewSample]], entry: AuditEntry
    ) -> list[SampleRow]:
        """Raises: KeyMoved if the collection's key was rotated between sealing and writing."""
        note, now = self._audit.prepare(entry), self._clock()
        prepared = []
        for subject, sample in new:
            row, key, _ = self._sealer.new_subject(collection, subject, now)
            prepared.append((row, self._sealer.seal_sample(collection, row.key, key, sample, now)))

        def add(rows: RowWriter) -> list[SampleRow]:
            owner = self._row_of(rows, collection)
            self._require_templates(rows, collection, [sample for _, sample in new])
            added = []
            for row, sealed in prepared:
                there = rows.subject_by_lookup(collection.id, row.lookup)
                held = rows.sample_by_id(sealed.new.id)
                if there is None and held is None:
                    self._keyring.require_newest(owner, wrapping_key_id(row.wrapped_key))
                    rows.put_subject(row)
                    added.append(inserted(rows, row, sealed, now))
                elif there is not None and held is not None and held.subject_key == there.key:
                    added.append(held)
                else:
                    raise Conflict("a subject or a sample of this face's id is there, and is not this face")
            note(rows)
            return added

        return self._rows.write(add)

    def erase_subjects(self, collection: Collection, ids: Sequence[str], entry: AuditEntry) -> dict[str, Receipt]:
        def erase(rows: RowWriter) -> dict[str, Receipt]:
            done = {}
            for id in ids:
                with suppress(SubjectNotFound):
                    lookup = self._sealer.subject_lookup(collection, id)
                    done[id] = self._erased(rows, collection, lookup, replace(entry, subject=id))
            return done

        receipts = self._rows.write(erase)
        return dict(zip(receipts, self._erasure.finish_all(list(receipts.values())), strict=True))

    def sample(self, collection: Collection, sample_id: str) -> tuple[Subject, Sample]:
        row = self._rows.read().sample_by_id(sample_id)
        if row is not None and row.collection_id == collection.id:
            owners = self.subjects(collection, [row.subject_key])
            samples = self._in_own_spaces(collection, [row])
            if owners and samples:
                return owners[row.subject_key], samples[0]
        raise SampleNotFound("there is no such face in this collection")

    def change_same(
        self,
        collection: Collection,
        subject: Subject,
        change: Callable[[Subject], Subject],
        entry: AuditEntry,
        *,
        overwrites: bool = True,
    ) -> Subject:
        def changed(now: Subject) -> Subject:
            if now.key != subject.key:
                raise SubjectNotFound("there is no such subject")
            return change(now)

        return self.change_subject(collection, subject.id, changed, entry, overwrites=overwrites)

    def _in_own_spaces(self, collection: Collection, rows: Sequence[SampleRow]) -> list[Sample]:
        return self._opened(rows, lambda row: (collection.space_named(row.space), None))
