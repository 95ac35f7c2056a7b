"""Corrections: another name for a subject, and a sample enrolled under the wrong subject moved to the right one.

Nothing is lost with either: keys, samples, pictures and times stay, and the index follows. The old name is in no record
any more; the audit log, which is the proof of what was done, goes on naming it to those who may read that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from lookalike import domain
from lookalike.access import RENAME, RENAMED
from lookalike.answers import Caller
from lookalike.consent import require_consent
from lookalike.domain import AuditEntry, Collection, Permission, Sample, Subject
from lookalike.errors import Conflict, InvalidInput, SubjectNotFound
from lookalike.face_marks import HAS_FACES, IMAGE_ID
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Records
from lookalike.rosters import Rosters


class CorrectionStore(Protocol):
    """What changes records in place. Each change commits with its audit entry."""

    def rename(self, collection: Collection, id: str, new_id: str, entry: AuditEntry) -> Subject:
        """Raises: SubjectNotFound, SubjectExists, LegalHold."""
        ...

    def move(self, collection: Collection, id: str, sample_id: str, to: str, entry: AuditEntry) -> Sample:
        """Under the key of the other subject, which is created if it is new; its own id and time stay.

        Raises: SubjectNotFound, SampleNotFound, LegalHold.
        """
        ...


class Corrections:
    """The use cases of corrections. Thread-safe."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        store: CorrectionStore,
        rosters: Rosters,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._audit = audit
        self._store = store
        self._rosters = rosters
        self._clock = clock

    def rename(self, caller: Caller, name: str, id: str, new_id: str) -> Subject:
        """Give a subject another id.

        Raises: CollectionNotFound, InvalidInput, and as `CorrectionStore.rename`; Conflict where faces name it.
        """
        with on_record(self._audit, caller, RENAME, Permission.ENROL, name, id) as record:
            domain.subject_id(new_id)
            where = self._records.collection(name)
            subject = self._records.subject(where, id)
            _require_unnamed(subject)
            record.details[RENAMED] = subject.key
            renamed = self._store.rename(where, id, new_id, record.commit())
            self._rosters.catch_up()
            return renamed

    def move(self, caller: Caller, name: str, id: str, sample_id: str, to: str) -> Sample:
        """Make a sample another subject's, old or new.

        Raises: CollectionNotFound, ConsentRequired, InvalidInput, and as `CorrectionStore.move`.
        """
        with on_record(self._audit, caller, "sample.move", Permission.ENROL, name, id) as record:
            if domain.subject_id(to) == id:
                raise InvalidInput("subject: the sample is this subject's already")
            where = self._records.collection(name)
            there = self._there(where, to)
            require_consent(where, None if there is None else there.consent, self._clock())
            record.details.update(sample=sample_id, to=None if there is None else there.key)
            moved = self._store.move(where, id, sample_id, to, record.commit())
            self._rosters.catch_up()
            return moved

    def _there(self, where: Collection, id: str) -> Subject | None:
        try:
            return self._records.subject(where, id)
        except SubjectNotFound:
            return None


def _require_unnamed(subject: Subject) -> None:
    """Raises: Conflict for a single face, and for a user whom faces name, since they would go on naming the old id."""
    if IMAGE_ID in subject.metadata:
        raise Conflict("this is a single face, whose id is its own: associate it with a user instead")
    if HAS_FACES in subject.metadata:
        raise Conflict("faces were associated with this user: make another user and associate them with that")
