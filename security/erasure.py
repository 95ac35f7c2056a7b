"""The end of an erasure: a signed receipt of what was destroyed, on record and in the ledger, and a scrubbed store.

Deleting a subject's row destroys its wrapped key, and with it all that was sealed under it, wherever copies lie. A
store leaves what it deletes in its files for a while; `scrub` has it cleared away as far as it can.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lookalike.domain import AuditEntry, Receipt
from lookalike.ports import Rows, RowWriter, collection_setting
from security.audit import SealedAuditLog
from security.keys import KeyRing
from security.ledger_copy import Ledger
from security.receipts import make_receipt
from security.sealed_codec import canonical

DESTROYED = ("key", "record", "vectors", "pictures")
_RECEIPTS = "receipts/"
_PATIENCE_S = 1.0
_BETWEEN_SCRUBS_S = 0.05

log = logging.getLogger(__name__)


class Erasure:
    """Signs for erasures within their transaction, and scrubs after it."""

    def __init__(self, rows: Rows, keyring: KeyRing, audit: SealedAuditLog, ledger: Ledger) -> None:
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._ledger = ledger

    def sign(self, rows: RowWriter, entry: AuditEntry, facts: Mapping[str, str | int], at: float) -> Receipt:
        """The receipt of what `rows` has just deleted; its digest goes into the audit entry.

        facts: its kind, random ids and counts; at: seconds since 1970. Where a rule asked for it and nobody takes the
        receipt, as the entry's `why` tells, it is kept with the collection.
        """
        body = {
            **facts,
            "destroyed": list(DESTROYED),
            "at": at,
            "by": entry.principal,
            "request_id": entry.request_id,
            "seq": rows.last_seq(),
        }
        receipt = make_receipt(self._keyring, body)
        digest = hashlib.sha256(receipt.body.encode()).hexdigest()
        named = {name: value for name, value in facts.items() if name != "kind"}
        self._audit.prepare(replace(entry, details={**entry.details, **named, "receipt_sha256": digest}))(rows)
        ids = {name: value for name, value in named.items() if isinstance(value, str)}
        self._ledger.enter(rows, str(facts["kind"]), {**ids, "receipt_sha256": digest}, at)
        if "why" in entry.details:
            kept = canonical({"body": receipt.body, "signature": receipt.signature})
            rows.put_setting(collection_setting(str(facts["collection"]), _RECEIPTS + digest), kept)
        return receipt

    def kept_receipts(self, collection_id: str) -> list[Receipt]:
        """Those that were kept with a collection, oldest first. They name nobody, so they lie in the clear."""
        held = self._rows.read().settings(collection_setting(collection_id, _RECEIPTS)).values()
        found = [json.loads(kept) for kept in held]
        public_key = self._keyring.public_key.hex()
        receipts = [Receipt(kept["body"], kept["signature"], public_key) for kept in found]
        return sorted(receipts, key=lambda receipt: int(json.loads(receipt.body)["seq"]))

    def finish(self, receipt: Receipt) -> Receipt:
        """Bring the erasure out of the machine, then out of the write-ahead log; the receipt says how that went."""
        return self.finish_all([receipt])[0]

    def finish_all(self, receipts: Sequence[Receipt]) -> list[Receipt]:
        """As `finish`, once for many."""
        state = self._ledger.publish()
        self.scrub()
        return [replace(receipt, ledger=state) for receipt in receipts]

    def scrub(self) -> None:
        """Have the store clear away what was erased, as `scrub` does."""
        scrub(self._rows)


def scrub(rows: Rows) -> None:
    """Have the store clear away what was erased; if others stand in the way, try again for about a second."""
    deadline = time.monotonic() + _PATIENCE_S
    while not rows.scrub():
        if time.monotonic() >= deadline:
            log.warning("what was erased stays in the store's files or write-ahead log until they are next tidied")
            return
        time.sleep(_BETWEEN_SCRUBS_S)
