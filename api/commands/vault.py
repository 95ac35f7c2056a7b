"""Opens the records and keys of the data folder without the models, for commands that look after the folder itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lookalike.errors import BadSettings

if TYPE_CHECKING:
    from lookalike.ports import Rows
    from lookalike.settings import Settings
    from security.audit import SealedAuditLog
    from security.keys import KeyRing
    from security.ledger_copy import Ledger


@dataclass(frozen=True, slots=True, repr=False)
class Vault:
    """What is open. record: puts an entry of this command's doing into the audit log."""

    settings: Settings
    rows: Rows
    keyring: KeyRing
    audit: SealedAuditLog
    ledger: Ledger

    def record(self, action: str, outcome: str = "ok", **details: str | int) -> None:
        """One audit entry in the name of `local:UID`."""
        from lookalike.domain import AuditEntry

        self.audit.append(AuditEntry(action, f"local:{os.getuid()}", outcome, f"local-{os.getpid()}", details=details))


@contextmanager
def open_vault(settings: Settings) -> Iterator[Vault]:
    """Raises: BadSettings where there is no data folder yet, KeyUnavailable, DataTooNew, StorageUnavailable."""
    from api.record_store import open_rows
    from api.root_access import root_access
    from security.audit import SealedAuditLog
    from security.keys import open_key_ring
    from security.ledger_copy import Ledger

    folder = settings.data.absolute()
    if not folder.is_dir():
        raise BadSettings(f"there is no data folder at {folder}: `lookalike serve` makes it, or set LOOKALIKE_DATA")
    with ExitStack() as stack:
        rows = stack.enter_context(open_rows(settings))
        keyring = open_key_ring(settings.keys, folder, rows, access=root_access(settings))
        audit = SealedAuditLog(rows, keyring)
        ledger = Ledger(rows, keyring, audit, settings.ledger)
        ledger.require_current()
        yield Vault(settings, rows, keyring, audit, ledger)
