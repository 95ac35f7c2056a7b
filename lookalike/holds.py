"""Legal holds: what must be kept for now, for a stated reason, whatever rules or requests say.

While one is on, its subject is not erased, not overwritten, and loses no sample; one on a collection holds all that is
in it, and the collection is not deleted. A hold keeps a record and does not bring it into use: who is past their time
stays unrecognised. Pictures can still be added. Several holds may be on; each is lifted by itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Collection, Permission
from lookalike.errors import InvalidInput
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Records

MAX_REASON = 1024


@dataclass(frozen=True, slots=True, repr=False)
class Hold:
    """One hold. id: random; subject: the held one's id, None for the whole collection; at: seconds since 1970."""

    id: str
    subject: str | None
    reason: str
    by: str
    at: float


class HoldStore(Protocol):
    """Where holds are kept; they go with their collection."""

    def put(self, collection: Collection, hold: Hold, entry: AuditEntry) -> None:
        """Raises: SubjectNotFound, CollectionNotFound."""
        ...

    def lift(self, collection: Collection, id: str, entry: AuditEntry) -> None:
        """Raises: HoldNotFound."""
        ...

    def holds(self, collection: Collection) -> Sequence[Hold]:
        """Oldest first."""
        ...


class Holds:
    """The use cases of legal holds. Thread-safe."""

    def __init__(
        self, records: Records, audit: AuditLog, store: HoldStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._records = records
        self._audit = audit
        self._store = store
        self._clock = clock

    def set(self, caller: Caller, name: str, subject: str | None, reason: str) -> Hold:
        """Hold a subject, or the whole collection. Raises: CollectionNotFound, SubjectNotFound, InvalidInput."""
        with on_record(self._audit, caller, "hold.set", Permission.HOLD, name, subject) as record:
            hold = Hold(secrets.token_hex(8), subject, _reason(reason), caller.principal.id, self._clock())
            record.details.update(hold=hold.id, reason=hold.reason)
            self._store.put(self._records.collection(name), hold, record.commit())
            return hold

    def lift(self, caller: Caller, name: str, id: str, reason: str) -> None:
        """Take one hold away. Raises: CollectionNotFound, HoldNotFound, InvalidInput."""
        with on_record(self._audit, caller, "hold.lift", Permission.HOLD, name) as record:
            record.details.update(hold=id, reason=_reason(reason))
            self._store.lift(self._records.collection(name), id, record.commit())

    def list(self, caller: Caller, name: str) -> Sequence[Hold]:
        """Those that are on, oldest first. Raises: CollectionNotFound."""
        with on_record(self._audit, caller, "hold.list", Permission.HOLD, name):
            return self._store.holds(self._records.collection(name))


def _reason(text: str) -> str:
    if not 1 <= len(text.strip()) <= MAX_REASON:
        raise InvalidInput(f"reason: 1-{MAX_REASON} characters that say why, such as a file number, are needed")
    return text.strip()
