"""An operation on record: the right is checked first, the outcome is audited before the answer leaves.

A write commits its audit entry in its own transaction; a read appends one. If that fails, the operation is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Permission
from lookalike.errors import LookalikeError, PermissionDenied
from lookalike.ports import AuditLog
from lookalike.stages import Stage, stage

SUBJECT_KEY = "key"
"""The detail with the random key of the subject that an operation is about."""

OF_MATCHES = frozenset({"matched", "similarities", "fpirs", "unmatched"})
"""The details of whom an operation found, which one that was refused after all does not keep."""


@dataclass(slots=True)
class Operation:
    """What is known of an operation so far, for its audit entry."""

    action: str
    caller: Caller
    collection: str | None
    subject: str | None
    details: dict[str, str | int | float | None] = field(default_factory=dict)
    written: bool = False

    def entry(self, outcome: str = "ok") -> AuditEntry:
        return AuditEntry(
            action=self.action,
            principal=self.caller.principal.id,
            outcome=outcome,
            request_id=self.caller.request_id,
            collection=self.collection,
            subject=self.subject,
            details=dict(self.details),
        )

    def commit(self) -> AuditEntry:
        """The entry that a write takes into its own transaction."""
        self.written = True
        return self.entry()


@contextmanager
def on_record(
    audit: AuditLog,
    caller: Caller,
    action: str,
    permission: Permission | None,
    collection: str | None = None,
    subject: str | None = None,
) -> Iterator[Operation]:
    """Check the right, run the body, and put the outcome on record.

    permission: None where holding it anywhere is enough, or the body checks by itself.
    """
    record = Operation(action, caller, collection, subject)
    try:
        if permission is not None:
            caller.principal.require(permission, collection)
        yield record
    except LookalikeError as error:
        record.details = {k: v for k, v in record.details.items() if k not in OF_MATCHES}
        with stage(Stage.AUDIT):
            audit.append(record.entry("denied" if isinstance(error, PermissionDenied) else error.code))
        raise
    if not record.written:
        with stage(Stage.AUDIT):
            audit.append(record.entry())
