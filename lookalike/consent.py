"""Consent: what a subject's record rests on, given, required where a collection says so, and withdrawn.

Whoever withdraws is no candidate from that moment and is erased, with a receipt. A legal hold keeps the record all the
same; then the erasure follows with the first retention job after the hold was lifted.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lookalike import inputs
from lookalike.answers import Caller
from lookalike.domain import Collection, Consent, Permission, Receipt, Subject
from lookalike.errors import ConsentRequired, LegalHold
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Records
from lookalike.retention import Eraser, RetentionStore
from lookalike.standing import Standing, consent_standing


def require_consent(collection: Collection, consent: Consent | None, now: float) -> None:
    """Raises: ConsentRequired where the collection enrols nobody without and this one is not valid now."""
    if not collection.require_consent:
        return
    found = consent_standing(collection, consent, now)
    if found is not Standing.GOOD:
        raise ConsentRequired(f"this collection enrols nobody without a valid consent: {_LACKS[found]}")


_LACKS = {
    Standing.CONSENT_MISSING: "give one as {basis, reference, expires_at}",
    Standing.CONSENT_EXPIRED: "this one has expired",
    Standing.CONSENT_WITHDRAWN: "this one was withdrawn",
}


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What came of it: the receipt of the erasure, or the subject as a legal hold keeps it."""

    receipt: Receipt | None
    kept: Subject | None


class Consents:
    """The use cases of consent. Thread-safe."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        eraser: Eraser,
        store: RetentionStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._audit = audit
        self._eraser = eraser
        self._store = store
        self._clock = clock

    def give(self, caller: Caller, name: str, id: str, consent: Consent) -> Subject:
        """Write down a consent in the place of the one before. Raises: SubjectNotFound, InvalidInput, LegalHold."""
        with on_record(self._audit, caller, "consent.give", Permission.CONSENT, name, id) as record:
            given, where = inputs.consent(consent), self._records.collection(name)
            require_consent(where, given, self._clock())
            return self._records.change_subject(where, id, lambda s: replace(s, consent=given), record.commit())

    def withdraw(self, caller: Caller, name: str, id: str) -> Withdrawal:
        """Take a subject's consent back, and erase it unless a legal hold keeps it. Raises: SubjectNotFound."""
        with on_record(self._audit, caller, "consent.withdraw", Permission.ERASE, name, id) as record:
            now, where = self._clock(), self._records.collection(name)
            said = datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(timespec="seconds")

            def withdrawn(subject: Subject) -> Subject:
                return replace(subject, consent=replace(subject.consent or Consent(""), withdrawn_at=said))

            kept = self._records.change_subject(where, id, withdrawn, record.commit(), overwrites=False)
        try:
            return Withdrawal(self._eraser.erase_subject(caller, name, id, why=Standing.CONSENT_WITHDRAWN.value), None)
        except LegalHold:
            self._store.change(where, lambda state: replace(state, owed=True))
            return Withdrawal(None, kept)
