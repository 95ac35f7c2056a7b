"""A backup's records into an empty store, without whoever was erased since: of those nothing is written at all.

The ledger decides. It has to go on from the very line that the backup ends with, and to reach as far as the newest
signed checkpoint at hand says; what it holds beyond the backup are the erasures to be heeded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lookalike.errors import Conflict, LedgerMismatch, RestoreUnfinished
from lookalike.ports import Rows, RowWriter
from security.backup_file import Statement
from security.backup_records import (
    ApiKeyRecord,
    AuditRecord,
    CollectionRecord,
    FileRecord,
    Record,
    RootKey,
    SampleRecord,
    SettingRecord,
    Start,
    SubjectRecord,
)
from security.checkpoints import Checkpoint
from security.keys import RESTORING_SETTING
from security.ledger import BLOCK, ERASED, RESTORE, UNBLOCK, Line, blocked_setting, keep, read_ledger
from security.past import keep_restore

SKIPPED_NUMBERS = 1 << 32
"""More than the store that was lost can have given since the backup: no number comes to mean somebody else."""

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased since a backup was made. lines: the ledger's from there on; ids: kind → random ids."""

    lines: Sequence[Line] = ()
    ids: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def takes(self, kind: str, id: str) -> bool:
        return id in self.ids.get(kind, ())


def erased_since(statement: Statement, lines: Iterable[bytes], checkpoints: Iterable[Checkpoint]) -> Erased:
    """What the ledger holds beyond the backup. checkpoints: of the same deployment, their signatures checked.

    Raises: TamperedData for a ledger that was changed; LedgerMismatch for one that is too short, or another's.
    """
    public_key = bytes.fromhex(statement.public_key)
    newest = {c.ledger.number: c.ledger.hash for c in checkpoints if c.ledger is not None}
    number, since, ids = 0, [], {kind: set[str]() for kind in ERASED}
    for line in read_ledger(lines, statement.deployment, public_key):
        number = line.number
        if number == statement.ledger_number and line.head.hash.hex() != statement.ledger_head:
            raise LedgerMismatch("the ledger and the backup are of different histories")
        if newest.get(number, line.head.hash) != line.head.hash:
            raise LedgerMismatch("the ledger differs from a signed checkpoint: it is of another history")
        if number > statement.ledger_number:
            since.append(line)
            if line.kind in ERASED:
                ids[line.kind].add(str(line.facts[ERASED[line.kind]]))
    if number < statement.ledger_number:
        raise LedgerMismatch(
            f"the ledger has {number} lines, and the backup was made after line {statement.ledger_number}: it is an "
            "older copy of it"
        )
    if number < max(newest, default=0):
        raise LedgerMismatch(
            f"the ledger has {number} lines, and a signed checkpoint says there are {max(newest)}: it is cut short"
        )
    return Erased(since, {kind: frozenset(found) for kind, found in ids.items()})


@dataclass(slots=True)
class Loaded:
    """What came of a backup. counts: records written, by kind; left_out: records of what was erased, by kind.

    root_key: the key that was inside; audit_seq: of the last audit entry.
    """

    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    root_key: bytes | None = field(default=None, repr=False)
    audit_seq: int = 0


def load(records: Iterable[Record], rows: Rows, erased: Erased, take_file: Callable[[FileRecord], None]) -> Loaded:
    """Write records into an empty store, in batches that each commit; it is opened by nobody before `RESTORING_SETTING`
    is taken away.

    take_file: is given pieces of files.
    Raises: Conflict for a store that is not empty, RestoreUnfinished for what an interrupted restore left.
    """
    rows.write(_begin)
    loaded = Loaded()
    batch: list[Record] = []
    for record in records:
        if isinstance(record, RootKey):
            loaded.root_key = record.material
        elif isinstance(record, FileRecord):
            take_file(record)
        elif _is_erased(record, erased):
            loaded.left_out[record.kind.decode()] += 1
            continue
        else:
            batch.append(record)
        loaded.counts[record.kind.decode()] += 1
        if isinstance(record, AuditRecord):
            loaded.audit_seq = record.seq
        if len(batch) >= _BATCH:
            _commit(rows, batch)
            batch = []
    _commit(rows, batch)
    rows.write(lambda tx: _keep_lines(tx, erased.lines))
    return loaded


def _begin(tx: RowWriter) -> None:
    if tx.get_setting(RESTORING_SETTING) is not None:
        raise RestoreUnfinished("a restore into these records was interrupted: drop their schema, then run it again")
    if tx.settings(""):
        raise Conflict("the records are not empty: a backup is restored into an empty store, never over another one")
    tx.put_setting(RESTORING_SETTING, b"1")


def _commit(rows: Rows, batch: Sequence[Record]) -> None:
    def write(tx: RowWriter) -> None:
        for record in batch:
            _write(tx, record)

    rows.write(write)


def _keep_lines(tx: RowWriter, lines: Sequence[Line]) -> None:
    """The ledger as it stands, so that it goes on from its end; whoever was blocked since the backup stays so."""
    for line in lines:
        keep(tx, line.head, line.text)
        if line.kind == RESTORE:
            keep_restore(tx, line)
        elif line.kind == BLOCK:
            name = blocked_setting(str(line.facts["blocked"]))
            if tx.get_setting(name) is None:
                tx.put_setting(name, b"")
        elif line.kind == UNBLOCK:
            tx.delete_setting(blocked_setting(str(line.facts["blocked"])))


def _is_erased(record: Record, erased: Erased) -> bool:
    if isinstance(record, CollectionRecord):
        return erased.takes("collection", record.id)
    if isinstance(record, SubjectRecord):
        return erased.takes("collection", record.collection_id) or erased.takes("subject", record.key)
    if isinstance(record, SampleRecord):
        owner = erased.takes("collection", record.collection_id) or erased.takes("subject", record.subject_key)
        return owner or erased.takes("sample", record.id)
    if isinstance(record, ApiKeyRecord):
        return erased.takes("api_key", record.id)
    if isinstance(record, SettingRecord):
        kind, _, rest = record.name.partition("/")
        return kind == "collection" and erased.takes("collection", rest.partition("/")[0])
    return False


def _write(tx: RowWriter, record: Record) -> None:
    match record:
        case Start():
            tx.skip_to(record.last_number + SKIPPED_NUMBERS, record.last_seq + SKIPPED_NUMBERS)
        case SettingRecord():
            tx.put_setting(record.name, record.value)
        case CollectionRecord():
            tx.put_collection(record.row)
            for space, payload in record.calibrations.items():
                tx.put_calibration(record.id, space, payload)
        case SubjectRecord():
            tx.put_subject(record.row)
        case SampleRecord(id, collection, subject, payload, at, space, blobs, templates):
            number = tx.add_sample(id, collection, subject, payload, at, blobs, space)
            for other, template in templates.items():
                tx.put_template(number, other, template)
        case ApiKeyRecord():
            tx.put_api_key(record.id, record.lookup, record.payload)
        case AuditRecord():
            tx.append_audit(record.row)
