"""Reading the audit log is an operation like any other: it needs the right, and is on record itself."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Permission
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, AuditProof

MOST_OPENED = 2_000
"""Entries that one page opens at most; a filter that takes few of them gives short pages."""

_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None takes all. since, until: seconds since 1970, from then on and before then."""

    since: float | None = None
    until: float | None = None
    action: str | None = None
    principal: str | None = None
    outcome: str | None = None
    collection: str | None = None

    def takes(self, entry: AuditEntry) -> bool:
        """Whether an entry is wanted."""
        wanted = (
            (self.action, entry.action),
            (self.principal, entry.principal),
            (self.outcome, entry.outcome),
            (self.collection, entry.collection),
        )
        in_time = (self.since is None or self.since <= entry.at) and (self.until is None or entry.at < self.until)
        return in_time and all(value is None or value == held for value, held in wanted)


class AuditBook:
    """The use cases of whoever may read the log."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def page(
        self, caller: Caller, after_seq: int, limit: int, wanted: AuditFilter
    ) -> tuple[list[AuditEntry], int | None]:
        """Entries after a number, oldest first, and the number to go on after, None at the end of the log.

        A page may hold fewer than `limit`, even none, and still have a next one.
        """
        with on_record(self._audit, caller, "audit.read", Permission.READ_AUDIT):
            found: list[AuditEntry] = []
            opened, after = 0, after_seq
            while opened < MOST_OPENED:
                asked = min(_AT_ONCE, MOST_OPENED - opened)
                entries = self._audit.page(after, asked)
                for entry in entries:
                    after = entry.seq
                    if wanted.takes(entry):
                        found.append(entry)
                    if len(found) == limit:
                        return found, after
                if len(entries) < asked:
                    return found, None
                opened += len(entries)
            return found, after

    def checkpoint(self, caller: Caller) -> str | None:
        """The log's end, signed anew: one line of JSON, None while the log is empty. Raises: TamperedData."""
        with on_record(self._audit, caller, "audit.checkpoint", Permission.READ_AUDIT):
            return self._audit.sign()

    def proof_of_entry(self, caller: Caller, seq: int, size: int | None) -> AuditProof:
        """That an entry is among the first `size`, or all that there are. Raises: NotFound."""
        with on_record(self._audit, caller, "audit.prove", Permission.READ_AUDIT):
            return self._audit.prove_entry(seq, size)

    def proof_of_growth(self, caller: Caller, earlier: int, size: int | None) -> AuditProof:
        """That the first `earlier` entries are the beginning of the first `size`. Raises: NotFound."""
        with on_record(self._audit, caller, "audit.prove", Permission.READ_AUDIT):
            return self._audit.prove_growth(earlier, size)
