"""The use cases of what is kept: collections, subjects, samples already enrolled, and the record of who asked."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any, Final

from lookalike import domain, inputs
from lookalike.answers import Caller, CollectionInfo
from lookalike.consent import require_consent
from lookalike.domain import (
    AuditEntry,
    Collection,
    Consent,
    Keep,
    Kind,
    Page,
    Permission,
    Receipt,
    Sample,
    Subject,
)
from lookalike.errors import (
    IndexUnavailable,
    InvalidInput,
    ModelNotAvailable,
    PermissionDenied,
    SubjectNotFound,
)
from lookalike.face_marks import with_marks_of
from lookalike.on_record import SUBJECT_KEY, Operation, on_record
from lookalike.ports import AuditLog, Models, Records
from lookalike.rosters import Rosters

UNSET: Final = object()
"""Says that a field is to be left as it is, where None has a meaning of its own."""


INDEX: Final = "index"
"""In a receipt's `pending`: vectors of the erased are still in the index server. They match nobody any more."""


class Register:
    """Collections and subjects: create, read, change, erase. Thread-safe; it sees no pictures."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        rosters: Rosters,
        models: Models,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._records = records
        self._audit = audit
        self._rosters = rosters
        self._models = models

    @property
    def model(self) -> str:
        """The model of new collections of faces."""
        return self._models.default(Kind.FACE).model

    def readiness(self) -> str | None:
        """Why the service cannot answer truly at present; None while it can."""
        return self._rosters.trouble

    # ---------------------------------------------------------------------------------------- collections

    def create_collection(
        self,
        caller: Caller,
        name: str,
        *,
        kind: Kind = Kind.FACE,
        keep: Keep = Keep.CROP,
        target_fpir: float = 0.01,
        retention_days: int | None = None,
        model: str | None = None,
        keep_unknown_days: int | None = None,
    ) -> CollectionInfo:
        """Raises: CollectionExists, InvalidInput, ModelNotAvailable."""
        with self._on_record(caller, "collection.create", Permission.MANAGE_COLLECTIONS, name) as record:
            space = self._models.default(kind) if model is None else self._models.space(kind, model)
            if kind is Kind.FACE and self._models.calibration(space) is None:
                raise ModelNotAvailable(f"the model {space.model!r} has no calibration: re-index a collection to it")
            collection = Collection(
                id=secrets.token_hex(16),
                name=domain.collection_name(name),
                kind=kind,
                space=space,
                keep=keep,
                target_fpir=inputs.rate(target_fpir, "target_fpir"),
                retention_days=inputs.retention(retention_days),
                created_at=self._clock(),
                keep_unknown_days=_unknown_days(kind, keep_unknown_days),
            )
            self._records.create_collection(collection, record.commit())
        return CollectionInfo(collection, 0, 0, self._shipped(collection))

    def collections(self, caller: Caller) -> list[CollectionInfo]:
        """Those that the caller may read."""
        with self._on_record(caller, "collection.list", None):
            if not caller.principal.may_anywhere(Permission.READ):
                raise PermissionDenied("this needs the permission 'read', which the credential lacks")
            found = self._records.collections()
            return [self._info(c) for c in found if caller.principal.may(Permission.READ, c.name)]

    def collection(self, caller: Caller, name: str) -> CollectionInfo:
        """With how its index answers, which is loaded for that where it is not. Raises: CollectionNotFound."""
        with self._on_record(caller, "collection.read", Permission.READ, name):
            info = self._info(self._records.collection(name))
            with suppress(IndexUnavailable):  # what is on record is told all the same
                info = replace(info, index=self._rosters.of(info.collection).index.describe())
            return info

    def update_collection(
        self,
        caller: Caller,
        name: str,
        *,
        keep: Keep | None = None,
        target_fpir: float | None = None,
        retention_days: object = UNSET,
        keep_unknown_days: object = UNSET,
    ) -> CollectionInfo:
        """Change what is given. Raises: CollectionNotFound, InvalidInput."""
        with self._on_record(caller, "collection.update", Permission.MANAGE_COLLECTIONS, name) as record:
            changes: dict[str, Any] = {}
            if keep is not None:
                changes["keep"] = keep
            if target_fpir is not None:
                changes["target_fpir"] = inputs.rate(target_fpir, "target_fpir")
            if retention_days is not UNSET:
                changes["retention_days"] = inputs.retention(retention_days)
            collection = self._records.collection(name)
            if keep_unknown_days is not UNSET:
                changes["keep_unknown_days"] = _unknown_days(collection.kind, keep_unknown_days)
            return self._info(
                self._records.change_collection(collection, lambda c: replace(c, **changes), record.commit())
            )

    def delete_collection(self, caller: Caller, name: str) -> Receipt:
        """Destroys the collection's key and everything under it. Raises: CollectionNotFound, LegalHold."""
        with self._on_record(caller, "collection.delete", Permission.DELETE_COLLECTIONS, name) as record:
            where = self._records.collection(name)
            receipt = self._records.delete_collection(where, record.commit())
            self._rosters.catch_up()
            return self._told_pending(where, receipt)

    def _info(self, collection: Collection) -> CollectionInfo:
        subjects, samples = self._records.count(collection)
        own = self._records.calibration(collection) is not None
        return CollectionInfo(collection, subjects, samples, "collection" if own else self._shipped(collection))

    def _shipped(self, collection: Collection) -> str:
        known = collection.kind is Kind.FACE or self._models.calibration(collection.space) is not None
        return "model" if known else "none"

    # ------------------------------------------------------------------------------------------- subjects

    def put_subject(
        self,
        caller: Caller,
        collection: str,
        id: str,
        *,
        metadata: Mapping[str, str],
        consent: Consent | None = None,
        valid_from: str | None = None,
        valid_until: str | None = None,
    ) -> Subject:
        """Create a subject, or replace what is known of it.

        Raises: CollectionNotFound, InvalidInput, ConsentRequired; LegalHold if anything would be overwritten.
        """
        with self._on_record(caller, "subject.put", Permission.ENROL, collection, id) as record:
            where = self._records.collection(collection)
            subject = Subject(
                key="",
                id=domain.subject_id(id),
                metadata=with_marks_of(self._metadata_of(where, id), inputs.metadata(metadata)),
                consent=None if consent is None else inputs.consent(consent),
                valid_from=inputs.moment(valid_from, "valid_from"),
                valid_until=inputs.moment(valid_until, "valid_until"),
            )
            require_consent(where, subject.consent, self._clock())
            stored = self._records.put_subject(where, subject, record.commit())
            self._rosters.catch_up()
            return stored

    def _metadata_of(self, where: Collection, id: str) -> Mapping[str, str]:
        try:
            return self._records.subject(where, id).metadata
        except SubjectNotFound:
            return {}

    def subject(self, caller: Caller, collection: str, id: str) -> tuple[Subject, list[Sample]]:
        """A subject with its samples. Raises: CollectionNotFound, SubjectNotFound."""
        with self._on_record(caller, "subject.read", Permission.READ, collection, id):
            where = self._records.collection(collection)
            subject = self._records.subject(where, id)
            return subject, self._records.samples(where, subject)

    def list_subjects(
        self, caller: Caller, collection: str, limit: int, cursor: str | None, metadata: Mapping[str, str]
    ) -> Page[Subject]:
        """Raises: CollectionNotFound, InvalidInput for a limit outside 1-100 or a foreign cursor."""
        with self._on_record(caller, "subject.list", Permission.READ, collection):
            if not 1 <= limit <= 100:
                raise InvalidInput("limit: 1 to 100 are allowed")
            return self._records.list_subjects(self._records.collection(collection), limit, cursor, metadata)

    def erase_subject(
        self,
        caller: Caller,
        collection: str,
        id: str,
        only_if: Callable[[Subject, float], bool] | None = None,
        why: str = "",
    ) -> Receipt:
        """Destroy a subject's key and all that it opens.

        only_if: as `Records.erase_subject` takes it; why: a rule's word for it, where it was not asked for.
        Raises: CollectionNotFound, SubjectNotFound, LegalHold; Conflict where `only_if` says no.
        """
        with self._on_record(caller, "subject.erase", Permission.ERASE, collection, id) as record:
            if why:
                record.details["why"] = why
            where = self._records.collection(collection)
            record.details[SUBJECT_KEY] = self._records.subject(where, id).key
            receipt = self._records.erase_subject(where, id, record.commit(), only_if)
            self._rosters.catch_up()
            return self._told_pending(where, receipt)

    def _told_pending(self, where: Collection, receipt: Receipt) -> Receipt:
        """The receipt, with the index as pending where a server that has it cannot be told of the erasure now."""
        return replace(receipt, pending=(INDEX, *receipt.pending)) if self._rosters.owes(where) else receipt

    def delete_sample(self, caller: Caller, collection: str, id: str, sample_id: str) -> None:
        """Raises: CollectionNotFound, SubjectNotFound, SampleNotFound, LegalHold."""
        with self._on_record(caller, "sample.delete", Permission.ERASE, collection, id) as record:
            where = self._records.collection(collection)
            subject = self._records.subject(where, id)
            self._records.delete_sample(where, subject, sample_id, record.commit())
            self._rosters.catch_up()

    def crop(self, caller: Caller, collection: str, id: str, sample_id: str) -> bytes:
        """What was kept as JPEG: the aligned face, or the picture made smaller.

        Raises: CollectionNotFound, SubjectNotFound, SampleNotFound.
        """
        with self._on_record(caller, "sample.crop", Permission.READ_CROPS, collection, id):
            where = self._records.collection(collection)
            return self._records.picture(where, self._records.subject(where, id), sample_id, Keep.CROP)

    # ------------------------------------------------------------------------------------------- the record

    def audit_page(self, caller: Caller, after_seq: int, limit: int) -> list[AuditEntry]:
        """Audit entries after a sequence number, oldest first."""
        with self._on_record(caller, "audit.read", Permission.READ_AUDIT):
            return self._audit.page(after_seq, limit)

    def audit_recent(self, caller: Caller, before_seq: int | None, limit: int) -> list[AuditEntry]:
        """The audit entries before a sequence number, None for the log's end, newest first."""
        with self._on_record(caller, "audit.read", Permission.READ_AUDIT):
            end = self._audit.last_seq() + 1 if before_seq is None else before_seq
            first = max(end - limit, 1)
            return self._audit.page(first - 1, end - first)[::-1] if end > first else []

    def _on_record(
        self,
        caller: Caller,
        action: str,
        permission: Permission | None,
        collection: str | None = None,
        subject: str | None = None,
    ) -> AbstractContextManager[Operation]:
        return on_record(self._audit, caller, action, permission, collection, subject)


def _unknown_days(kind: Kind, days: object) -> int | None:
    """Raises: InvalidInput, also where there are no faces."""
    found = inputs.keep_unknown(days)
    if found is not None and kind is not Kind.FACE:
        raise InvalidInput("keep_unknown_days: faces are kept, and this is a collection of pictures")
    return found
