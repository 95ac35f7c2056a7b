"""Rows to domain values and back: which key seals what, and the context that binds each value to its row.

A subject's row, samples and pictures are sealed under the subject's own key; what belongs to a collection as a whole
under the collection's. Lookups are keyed hashes, so that equal names in two collections do not look alike.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lookalike.domain import Collection, Floats, Keep, NewSample, Sample, Space, Subject
from lookalike.errors import TamperedData
from lookalike.ports import CollectionRow, SampleRow, SubjectRow
from security.envelope import Context, key_id_of, open_sealed, seal
from security.keys import KeyRing
from security.sealed_codec import (
    decode_collection,
    decode_sample,
    decode_subject,
    encode_collection,
    encode_sample,
    encode_subject,
)
from security.secret_key import SecretKey

_KEY_BYTES = 16


@dataclass(frozen=True, slots=True, repr=False)
class SealedSample:
    """A sample ready to be inserted. blobs: its sealed pictures by kind; also: its templates by `Space.key`."""

    new: NewSample
    payload: bytes
    blobs: Mapping[str, bytes]
    space: str
    also: Mapping[str, bytes]


class RowSealer:
    """Seals domain values into rows and opens rows into domain values. Opening raises TamperedData."""

    def __init__(self, keyring: KeyRing) -> None:
        self._keyring = keyring
        self._opened: dict[str, tuple[CollectionRow, Collection]] = {}

    # ---------------------------------------------------------------------------------------- collections

    def collection_lookup(self, name: str) -> bytes:
        return self._keyring.lookup("collection", _utf8(name))

    def new_collection(self, collection: Collection) -> CollectionRow:
        """Its row, with a fresh key of its own."""
        wrapped = self._keyring.new_collection_key(collection.id)
        row = CollectionRow(collection.id, self.collection_lookup(collection.name), wrapped, b"", collection.created_at)
        key = self._keyring.unwrap_collection(row).newest
        return replace(row, payload=self._collection_payload(key, collection))

    def changed_collection(self, row: CollectionRow, collection: Collection) -> bytes:
        """The payload that replaces its row's, under the newest key that the row has."""
        return self._collection_payload(self._keyring.keys_in(row).newest, collection)

    def open_collection(self, row: CollectionRow) -> Collection:
        """Opened once for as long as its row stays the same to the bit: every call on a collection asks for it."""
        self._keyring.unwrap_collection(row)  # also of a row that was opened before, which may have been put back since
        before = self._opened.get(row.id)
        if before is not None and before[0] == row:
            return before[1]
        # The row's own keys: it may have been read just before a rotation's end.
        key = self._keyring.keys_in(row).by_id.get(key_id_of(row.payload))
        if key is None:
            raise TamperedData("a sealed record names a key that its collection does not have, or has no longer")
        context = self._keyring.context("collection", collection=row.id, version=micros(row.created_at))
        opened = decode_collection(row.id, row.created_at, open_sealed(key, row.payload, context))
        self._opened[row.id] = row, opened
        return opened

    def _collection_payload(self, key: SecretKey, collection: Collection) -> bytes:
        context = self._keyring.context("collection", collection=collection.id, version=micros(collection.created_at))
        return seal(key, encode_collection(collection), context)

    def seal_calibration(self, row: CollectionRow, text: str) -> bytes:
        return self.seal_of(row, "calibration", text.encode())

    def open_calibration(self, collection: Collection, payload: bytes) -> str:
        return self.open_of(collection, "calibration", payload).decode()

    def seal_of(self, row: CollectionRow, type: str, data: bytes, record: str = "") -> bytes:
        """Something that belongs to a collection as a whole, under the newest key in its row.

        row: as the transaction sees it that writes what is sealed, or a rotation could destroy the key in between.
        """
        key = self._keyring.keys_in(row).newest
        return seal(key, data, self._keyring.context(type, collection=row.id, record=record))

    def open_of(self, collection: Collection, type: str, payload: bytes, record: str = "") -> bytes:
        key = self._keyring.key_for(collection.id, payload)
        return open_sealed(key, payload, self._keyring.context(type, collection=collection.id, record=record))

    # ------------------------------------------------------------------------------------------- subjects

    def subject_lookup(self, collection: Collection, subject_id: str) -> bytes:
        return self._keyring.lookup("subject", _utf8(collection.id), _utf8(subject_id))

    def subject_key(self, row: SubjectRow) -> SecretKey:
        return self._keyring.subject_key(row.collection_id, row.key, row.wrapped_key)

    def new_subject(self, collection: Collection, subject: Subject, at: float) -> tuple[SubjectRow, SecretKey, Subject]:
        """The row of a subject that is new, its fresh key, and the subject as stored."""
        stored = replace(subject, key=secrets.token_hex(_KEY_BYTES), created_at=at, updated_at=at)
        key, wrapped = self._keyring.new_subject_key(collection.id, stored.key)
        lookup = self.subject_lookup(collection, subject.id)
        payload = self._subject_payload(collection.id, key, stored)
        return SubjectRow(stored.key, collection.id, lookup, wrapped, payload, at, at), key, stored

    def changed_subject(self, row: SubjectRow, subject: Subject, at: float) -> tuple[SubjectRow, Subject]:
        """The row that replaces `row`, under the same key, and the subject as stored."""
        before = self.open_subject(row)
        renewed = max(before.renewed_at, subject.renewed_at)
        stored = replace(subject, key=row.key, created_at=before.created_at, updated_at=at, renewed_at=renewed)
        payload = self._subject_payload(row.collection_id, self.subject_key(row), stored)
        return replace(row, payload=payload, updated_at=at), stored

    def open_subject(self, row: SubjectRow) -> Subject:
        context = self._keyring.context(
            "subject", collection=row.collection_id, subject=row.key, version=micros(row.updated_at)
        )
        return decode_subject(row.key, row.updated_at, open_sealed(self.subject_key(row), row.payload, context))

    def _subject_payload(self, collection_id: str, key: SecretKey, subject: Subject) -> bytes:
        context = self._keyring.context(
            "subject", collection=collection_id, subject=subject.key, version=micros(subject.updated_at)
        )
        return seal(key, encode_subject(subject), context)

    # -------------------------------------------------------------------------------------------- samples

    def seal_sample(
        self, collection: Collection, subject_key: str, key: SecretKey, new: NewSample, at: float
    ) -> SealedSample:
        """A sample and its pictures, sealed under its subject's key."""
        pictures = {Keep.CROP: new.crop, Keep.IMAGE: new.image}
        row = SampleRow(new.id, 0, collection.id, subject_key, b"", at)
        blobs = {
            kind.value: self.seal_picture(key, row, kind, data) for kind, data in pictures.items() if data is not None
        }
        also = {space.key: self.seal_template(key, row, space, new, vector) for space, vector in new.also}
        payload = self.seal_template(key, row, collection.space, new, new.vector)
        return SealedSample(new, payload, blobs, collection.space.key, also)

    def seal_template(
        self, key: SecretKey, row: SampleRow, space: Space, facts: NewSample | Sample, vector: Floats
    ) -> bytes:
        """A sample's facts with its vector in one space, as its row or a template beside it keeps them."""
        return seal(key, encode_sample(facts, vector), self._sample_context(row, f"{space.model}#{space.key}"))

    def open_sample(self, space: Space, key: SecretKey, row: SampleRow, template: bytes | None = None) -> Sample:
        """The sample in one space: from its row, or from its template there."""
        # Rows of format 1 do not name their space, and are bound to its model alone.
        named = template is not None or row.space
        context = self._sample_context(row, f"{space.model}#{space.key}" if named else space.model)
        plain = open_sealed(key, row.payload if template is None else template, context)
        return decode_sample(row.id, row.number, row.subject_key, row.created_at, plain)

    def _sample_context(self, row: SampleRow, model: str) -> Context:
        return self._keyring.context(
            "sample",
            collection=row.collection_id,
            subject=row.subject_key,
            record=row.id,
            model=model,
            version=micros(row.created_at),
        )

    def seal_picture(self, key: SecretKey, row: SampleRow, kind: Keep, data: bytes) -> bytes:
        return seal(key, data, self._picture_context(row, kind))

    def open_picture(self, key: SecretKey, row: SampleRow, kind: Keep, blob: bytes) -> bytes:
        return open_sealed(key, blob, self._picture_context(row, kind))

    def _picture_context(self, row: SampleRow, kind: Keep) -> Context:
        return self._keyring.context(kind.value, collection=row.collection_id, subject=row.subject_key, record=row.id)


def micros(at: float) -> int:
    """A time of a row as its record's version, so that the time in the clear cannot be changed unseen."""
    return round(at * 1_000_000)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
