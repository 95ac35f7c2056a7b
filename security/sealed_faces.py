"""The records with what is asked of faces one by one: many subjects in one write, a sample by its id, a safe change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from lookalike.domain import AuditEntry, Collection, NewSample, Receipt, Sample, Subject
from lookalike.errors import Conflict, SampleNotFound, SubjectNotFound
from lookalike.ports import RowWriter, SampleRow, SubjectRow
from security.sealed_records import SealedRecords, inserted

_ATTEMPTS = 32


class SealedFaceRecords(SealedRecords):
    """The port FaceRecords. Thread-safe, and several processes may share the rows below."""

    def add_subjects(
        self, collection: Collection, new: Sequence[tuple[Subject, NewSample]], entry: AuditEntry
    ) -> list[tuple[Subject, Sample]]:
        note, now = self._audit.prepare(entry), self._clock()
        prepared = []
        for subject, sample in new:
            row, key, _ = self._sealer.new_subject(collection, subject, now)
            prepared.append((row, self._sealer.seal_sample(collection, row.key, key, sample, now)))

        def add(rows: RowWriter) -> list[SampleRow]:
            self._row_of(rows, collection)
            self._require_templates(rows, collection, [sample for _, sample in new])
            added = []
            for row, sealed in prepared:
                there = rows.subject_by_lookup(collection.id, row.lookup)
                held = rows.sample_by_id(sealed.new.id)
                if there is None and held is None:
                    rows.put_subject(row)
                    added.append(inserted(rows, row, sealed, now))
                elif there is not None and held is not None and held.subject_key == there.key:
                    added.append(held)
                else:
                    raise Conflict("a subject or a sample of this face's id is there, and is not this face")
            note(rows)
            return added

        samples = self._in_own_spaces(collection, self._rows.write(add))
        owners = self.subjects(collection, [sample.subject_key for sample in samples])
        return [(owners[sample.subject_key], sample) for sample in samples]

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

    def change_subject(
        self, collection: Collection, subject: Subject, change: Callable[[Subject], Subject], entry: AuditEntry
    ) -> Subject:
        for _ in range(_ATTEMPTS):
            there = self._find(collection, subject.id)
            if there is None or there.key != subject.key:
                raise SubjectNotFound("there is no such subject")
            row, stored = self._sealer.changed_subject(there, change(self._sealer.open_subject(there)), self._clock())
            if self._replaced(collection, there, row, entry):
                return stored
        raise Conflict("this subject is being changed by others again and again; try later")

    def _replaced(self, collection: Collection, there: SubjectRow, row: SubjectRow, entry: AuditEntry) -> bool:
        """Whether the row was still as it was read, and is now replaced."""
        note = self._audit.prepare(entry)

        def put(rows: RowWriter) -> bool:
            self._row_of(rows, collection)
            if rows.subject_by_lookup(collection.id, row.lookup) != there:
                return False
            rows.put_subject(row)
            note(rows)
            return True

        return self._rows.write(put)

    def _in_own_spaces(self, collection: Collection, rows: Sequence[SampleRow]) -> list[Sample]:
        return self._opened(rows, lambda row: (collection.space_named(row.space), None))
