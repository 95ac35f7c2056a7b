"""How the audit log stands: what no checkpoint covers yet, and what each receiver has not got; for people to see."""

from __future__ import annotations

import time
from dataclasses import dataclass

from api.audit_receivers import means_of, receiver_of
from lookalike.ports import Rows
from lookalike.settings import Settings
from security.audit import SealedAuditLog
from security.checkpoint_outbox import Outbox


@dataclass(frozen=True, slots=True)
class ReceiverStanding:
    """waiting: checkpoints that it has not got; since: time of the oldest one's entry."""

    name: str
    waiting: int
    since: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """entries: in the log; uncovered: the last ones, that no checkpoint covers."""

    entries: int
    uncovered: int
    receivers: tuple[ReceiverStanding, ...]


def standing(settings: Settings, rows: Rows, audit: SealedAuditLog) -> Standing:
    """Raises: TamperedData where more entries were signed than there are; BadSettings."""
    tail = rows.read().audit_tail()
    return Standing(tail.seq if tail is not None else 0, audit.uncovered(), waiting_at(settings, rows))


def waiting_at(settings: Settings, rows: Rows) -> tuple[ReceiverStanding, ...]:
    """What each receiver of the settings has not got yet. Raises: BadSettings."""
    means, outbox = means_of(settings.audit_push_ca, settings.audit_push_key_file), Outbox(rows, time.time)
    found = []
    for url in settings.audit_push:
        waiting = outbox.waiting(url)
        found.append(ReceiverStanding(receiver_of(url, means).name, waiting.checkpoints, waiting.since))
    return tuple(found)
