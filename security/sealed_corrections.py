"""Corrections over rows that hold ciphertext only: a row under another lookup, a sample under another subject's key.

What was there is sealed under keys that stay, so it is scrubbed from the store's files as after an erasure; and that a
sample is no longer where it was stands in the ledger, so that an older backup does not bring it back under the wrong
name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from lookalike.domain import AuditEntry, Collection, Keep, Sample, Subject
from lookalike.errors import (
    CollectionNotFound,
    Conflict,
    KeyMoved,
    SampleNotFound,
    SubjectExists,
    SubjectNotFound,
)
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter, SampleRow, SubjectRow
from security.audit import SealedAuditLog
from security.erasure import scrub
from security.holds import require_free
from security.key_wrap import wrapping_key_id
from security.keys import KeyRing
from security.ledger_copy import Ledger
from security.sealed_rows import RowSealer
from security.secret_key import SecretKey

T = TypeVar("T")

_ATTEMPTS = 32


class _Changed(Exception):
    """A row is no longer as it was when the change was prepared."""


@dataclass(frozen=True, slots=True, repr=False)
class _Moved:
    """A sample as it is sealed for its new subject. templates: by space; blobs: by kind."""

    row: SampleRow
    templates: dict[str, bytes]
    blobs: dict[str, bytes]
    sample: Sample


class SealedCorrections:
    """The port CorrectionStore. Thread-safe, and several processes may share the rows below."""

    def __init__(
        self,
        rows: Rows,
        keyring: KeyRing,
        audit: SealedAuditLog,
        ledger: Ledger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rows = rows
        self._audit = audit
        self._ledger = ledger
        self._keyring = keyring
        self._sealer = RowSealer(keyring)
        self._clock = clock

    def rename(self, collection: Collection, id: str, new_id: str, entry: AuditEntry) -> Subject:
        note = self._audit.prepare(entry)
        lookup = self._sealer.subject_lookup(collection, new_id)

        def attempt() -> Subject:
            there = self._found(collection, id)
            subject = replace(self._sealer.open_subject(there), id=new_id)
            row, stored = self._sealer.changed_subject(there, subject, self._clock())

            def put(rows: RowWriter) -> None:
                self._require(rows, collection)
                if rows.subject_by_lookup(collection.id, there.lookup) != there:
                    raise _Changed
                if lookup != there.lookup and rows.subject_by_lookup(collection.id, lookup) is not None:
                    raise SubjectExists("there is a subject of that id already: move its samples instead")
                require_free(rows, collection.id, there.key)
                rows.put_subject(replace(row, lookup=lookup))
                note(rows)

            self._rows.write(put)
            return stored

        renamed = _until_done(attempt)
        scrub(self._rows)
        return renamed

    def move(self, collection: Collection, id: str, sample_id: str, to: str, entry: AuditEntry) -> Sample:
        note = self._audit.prepare(entry)
        lookup = self._sealer.subject_lookup(collection, to)

        def attempt() -> Sample:
            reader = self._rows.read()
            source, target = self._found(collection, id), reader.subject_by_lookup(collection.id, lookup)
            if target is None:
                owner, key, _ = self._sealer.new_subject(collection, Subject("", to, {}), self._clock())
            else:
                owner, key = target, self._sealer.subject_key(target)
            before = _sample_row(reader, source, sample_id)
            moved = self._resealed(reader, collection, source, before, owner, key)

            def put(rows: RowWriter) -> int:
                where = self._require(rows, collection)
                now = rows.subject_by_lookup(collection.id, lookup)
                if _key_of(now) != _key_of(target) or rows.sample_by_id(sample_id) != before:
                    raise _Changed
                require_free(rows, collection.id, source.key)
                if target is None:
                    self._keyring.require_newest(where, wrapping_key_id(owner.wrapped_key))
                    rows.put_subject(owner)
                number = _replaced(rows, moved)
                note(rows)
                facts = {"collection": collection.id, "subject": source.key, "sample": sample_id}
                self._ledger.enter(rows, "sample", facts, self._clock())
                return number

            return replace(moved.sample, number=self._rows.write(put), subject_key=owner.key)

        sample = _until_done(attempt)
        self._ledger.publish()
        scrub(self._rows)
        return sample

    def _resealed(
        self,
        reader: RowReader,
        collection: Collection,
        source: SubjectRow,
        before: SampleRow,
        owner: SubjectRow,
        key: SecretKey,
    ) -> _Moved:
        """The sample's vectors and pictures, opened with the key of `source` and sealed under `key` for `owner`."""
        old_key, own = self._sealer.subject_key(source), collection.space_named(before.space)
        if own is None:
            raise SampleNotFound("this sample is of a model that the collection has no more")
        sample = self._sealer.open_sample(own, old_key, before)
        row = replace(before, subject_key=owner.key, space=own.key)
        row = replace(row, payload=self._sealer.seal_template(key, row, own, sample, sample.vector))
        templates = {}
        for _, name, sealed in reader.templates_of([before.number]):
            if (space := collection.space_named(name)) is not None:
                held = self._sealer.open_sample(space, old_key, before, sealed)
                templates[name] = self._sealer.seal_template(key, row, space, held, held.vector)
        blobs = {}
        for kind in (Keep.CROP, Keep.IMAGE):
            if (blob := reader.blob(before.id, kind.value)) is not None:
                data = self._sealer.open_picture(old_key, before, kind, blob)
                blobs[kind.value] = self._sealer.seal_picture(key, row, kind, data)
        return _Moved(row, templates, blobs, sample)

    def _found(self, collection: Collection, id: str) -> SubjectRow:
        lookup = self._sealer.subject_lookup(collection, id)
        row = self._rows.read().subject_by_lookup(collection.id, lookup)
        if row is None:
            raise SubjectNotFound("there is no such subject")
        return row

    def _require(self, rows: RowReader, collection: Collection) -> CollectionRow:
        """The collection's row. Raises: CollectionNotFound if it is gone."""
        row = rows.collection_by_lookup(self._sealer.collection_lookup(collection.name))
        if row is None or row.id != collection.id:
            raise CollectionNotFound("there is no such collection")
        return row


def _sample_row(rows: RowReader, subject: SubjectRow, sample_id: str) -> SampleRow:
    row = rows.sample_by_id(sample_id)
    if row is None or row.subject_key != subject.key:
        raise SampleNotFound("this subject has no such sample")
    return row


def _replaced(rows: RowWriter, moved: _Moved) -> int:
    """Put the sample in the place of the one of its id; as a row of its own, since a number never changes hands."""
    row = moved.row
    rows.delete_sample(row.id)
    number = rows.add_sample(
        row.id, row.collection_id, row.subject_key, row.payload, row.created_at, moved.blobs, row.space
    )
    for space, sealed in moved.templates.items():
        rows.put_template(number, space, sealed)
    return number


def _key_of(row: SubjectRow | None) -> tuple[str, bytes] | None:
    return None if row is None else (row.key, row.wrapped_key)


def _until_done(attempt: Callable[[], T]) -> T:
    for _ in range(_ATTEMPTS):
        try:
            return attempt()
        except (_Changed, KeyMoved):
            continue
    raise Conflict("this subject is being changed by others again and again; try later")
