"""Subjects in domain values, over rows that hold ciphertext only: found, listed, changed, and erased with a receipt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from lookalike.domain import (
    AuditEntry,
    Collection,
    Copy,
    Page,
    Receipt,
    Subject,
)
from lookalike.errors import (
    Conflict,
    KeyMoved,
    SubjectNotFound,
)
from lookalike.ports import RowReader, RowWriter, SubjectRow
from lookalike.standing import still_withdrawn
from security.collection_keys import mark_due
from security.elsewhere import backed_up_at, copies_of, elsewhere
from security.holds import require_free
from security.key_wrap import wrapping_key_id
from security.keys import until_unmoved
from security.sealed_collections import SealedCollections

SCAN_LIMIT = 50_000
"""Subjects that one page of a filtered list looks at; the page may then be short, and its cursor goes on."""

_SCAN_PAGE = 500


class SealedSubjects(SealedCollections):
    """The part of the port Records that is about subjects."""

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

            self._replace(collection, there, row, note, overwrites=overwrites)
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

            self._replace(collection, there, row, note, overwrites=overwrites)
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

    def _replace(
        self,
        collection: Collection,
        there: SubjectRow | None,
        row: SubjectRow,
        note: Callable[[RowWriter], int],
        *,
        overwrites: bool,
    ) -> None:
        """Put a row where the one of before, or none, still is, with its audit entry. Raises: KeyMoved, LegalHold."""

        def put(rows: RowWriter) -> None:
            self._require_unmoved(rows, collection, row, there, unchanged=True)
            if overwrites:
                require_free(rows, collection.id, row.key)
            rows.put_subject(row)
            note(rows)

        self._rows.write(put)

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


def _key_of(row: SubjectRow | None) -> tuple[str, bytes] | None:
    return (row.key, row.wrapped_key) if row is not None else None
