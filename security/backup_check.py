"""Looks into a backup's records as far as a root key goes: what is wrapped unwraps, and what is sealed opens.

All collections and their calibrations are opened; of subjects with their samples and pictures, and of audit entries,
every so many. Without a root key only the audit log's chain and the ledger's are checked, which need none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from lookalike.domain import Collection, Keep
from lookalike.errors import KeyUnavailable, TamperedData
from lookalike.ports import AuditRow, CollectionRow, RowWriter, SampleRow
from security.audit_tree import chained, genesis
from security.backup_file import Statement
from security.backup_records import (
    KINDS,
    AuditRecord,
    CollectionRecord,
    Record,
    RootKey,
    SampleRecord,
    SettingRecord,
    SubjectRecord,
)
from security.envelope import open_sealed
from security.keys import KeyRing
from security.ledger import LINES, read_ledger
from security.sealed_rows import RowSealer
from security.secret_key import SecretKey

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """counts: records by kind; opened: how many envelopes and wrapped keys were opened; None without a root key."""

    counts: Counter[str]
    opened: int | None


@dataclass(slots=True)
class _Held:
    """The port KeyStore over what a backup holds of it."""

    settings: dict[str, bytes] = field(default_factory=dict)
    rows: list[CollectionRow] = field(default_factory=list)

    def read(self) -> _Held:
        return self

    def get_setting(self, name: str) -> bytes | None:
        return self.settings.get(name)

    def collections(self) -> list[CollectionRow]:
        return self.rows

    def write(self, work: Callable[[RowWriter], T]) -> T:
        raise TamperedData("the backup holds no keys of a deployment")


class BackupCheck:
    """Is given a backup's records in order. every: of subjects and audit entries, 1 for all."""

    def __init__(self, statement: Statement, every: int, root_key: Callable[[], SecretKey | None]) -> None:
        """root_key: asked where the backup holds none itself."""
        self._statement = statement
        self._every = every
        self._ask = root_key
        self._root: SecretKey | None = None
        self._held = _Held()
        self._keyring: KeyRing | None = None
        self._looked = False
        self._collections: dict[str, Collection] = {}
        self._keys: dict[str, SecretKey] = {}
        self._counts: Counter[str] = Counter()
        self._opened = 0
        self._before, self._seq = genesis(statement.deployment), 0

    def run(self, records: Iterable[Record]) -> Found:
        """Raises: what reading the records does; TamperedData; KeyUnavailable where the backup holds another's key."""
        for record in records:
            self._take(record)
        return self._finish()

    def _take(self, record: Record) -> None:
        name = KINDS.get(record.kind.decode())
        if name is not None:
            self._counts[name] += 1
        match record:
            case RootKey():
                self._root = SecretKey(record.material)
            case SettingRecord():
                self._held.settings[record.name] = record.value
            case CollectionRecord():
                self._collection(record)
            case SubjectRecord():
                self._subject(record)
            case SampleRecord():
                self._sample(record)
            case AuditRecord():
                self._audit(record.row)

    def _finish(self) -> Found:
        """Raises: TamperedData where the logs inside do not end as the statement says."""
        said = self._statement
        if (self._seq, self._before.hex()) != (said.audit_seq, said.audit_chain):
            raise TamperedData("the backup's audit log does not end where its statement says")
        lines = [value for name, value in sorted(self._held.settings.items()) if name.startswith(LINES)]
        number, head = 0, ""
        for line in read_ledger(lines, said.deployment, bytes.fromhex(said.public_key)):
            number, head = line.number, line.head.hash.hex()
        if (number, head) != (said.ledger_number, said.ledger_head):
            raise TamperedData("the backup's ledger does not end where its statement says")
        return Found(self._counts, self._opened if self._ring() is not None else None)

    def _ring(self) -> KeyRing | None:
        """The deployment's keys, made once all settings were read. Raises: KeyUnavailable, TamperedData."""
        if not self._looked:
            self._looked = True
            self._keyring = self._opened_ring()
        return self._keyring

    def _opened_ring(self) -> KeyRing | None:
        if self._root is not None:
            keyring = KeyRing(self._held, self._root)
        elif (found := self._ask()) is not None:
            try:
                keyring = KeyRing(self._held, found)
            except KeyUnavailable:
                return None  # what is at hand is another deployment's
        else:
            return None
        said = self._statement
        if (keyring.deployment, keyring.public_key.hex()) != (said.deployment, said.public_key):
            raise TamperedData("the backup was signed by another deployment than the one that it holds")
        return keyring

    def _collection(self, record: CollectionRecord) -> None:
        self._held.rows.append(record.row)
        keyring = self._ring()
        if keyring is not None:
            sealer = RowSealer(keyring)
            collection = self._collections[record.id] = sealer.open_collection(record.row)
            for payload in record.calibrations.values():
                sealer.open_calibration(collection, payload)
            self._opened += 2 + len(record.calibrations)

    def _subject(self, record: SubjectRecord) -> None:
        keyring = self._ring()
        if keyring is not None and self._counts["subjects"] % self._every == 0:
            sealer = RowSealer(keyring)
            sealer.open_subject(record.row)
            self._keys[record.key] = sealer.subject_key(record.row)
            self._opened += 2

    def _sample(self, record: SampleRecord) -> None:
        keyring, key = self._ring(), self._keys.get(record.subject_key)
        if keyring is None or key is None:
            return
        sealer, collection = RowSealer(keyring), self._collections[record.collection_id]
        row = SampleRow(
            record.id, 0, record.collection_id, record.subject_key, record.payload, record.created_at, record.space
        )
        for template, space in [(None, record.space), *((data, space) for space, data in record.templates.items())]:
            known = collection.space_named(space)
            if known is not None:
                sealer.open_sample(known, key, row, template)
                self._opened += 1
        for kind, blob in record.blobs.items():
            sealer.open_picture(key, row, Keep(kind), blob)
            self._opened += 1

    def _audit(self, row: AuditRow) -> None:
        if row.seq != self._seq + 1 or row.chain != chained(self._before, row.seq, row.at, row.payload):
            raise TamperedData(f"the backup's audit log is broken at entry {self._seq + 1}")
        self._before, self._seq = row.chain, row.seq
        keyring = self._ring()
        if keyring is not None and row.seq % self._every == 0:
            open_sealed(keyring.audit_key, row.payload, keyring.context("audit", version=row.seq))
            self._opened += 1
