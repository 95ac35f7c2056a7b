"""The rows of a deployment as one stream of records and back: what a backup holds inside its seal.

A record is its kind (1 byte), the length of its body (4, big-endian) and the body, whose fields stand in the order of
the table below: text and bytes with their length before them (4), numbers in 8 bytes, a map as the count of its pairs
and the pairs. The rows come as they lie in the store, sealed and wrapped; nothing is opened here. First comes START,
last END with how many records of each kind there were.

Not among them: remembered answers of idempotent requests, jobs, the change sequence and snapshots, which are of a
running service or derived; and unknown faces, which would come back after they were erased or past their time.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar, get_args

from lookalike.errors import BadBackup, DataTooNew
from lookalike.ports import AuditRow, CollectionRow, RowReader, SubjectRow
from security.root import HANDOVER
from security.sealed_pending import of_pending
from security.sealed_unknowns import of_unknowns

MAX_BODY_BYTES = 1 << 28
_HEAD = struct.Struct(">cI")
_LENGTH = struct.Struct(">I")
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Start:
    """last_number, last_seq: the greatest that were ever given."""

    kind: ClassVar[bytes] = b"0"
    last_number: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class RootKey:
    """The root key itself, where the operator lets it travel with the backup."""

    kind: ClassVar[bytes] = b"R"
    material: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SettingRecord:
    kind: ClassVar[bytes] = b"s"
    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """calibrations: sealed, by space."""

    kind: ClassVar[bytes] = b"c"
    id: str
    lookup: bytes
    wrapped_key: bytes
    payload: bytes
    created_at: float
    calibrations: Mapping[str, bytes]

    @property
    def row(self) -> CollectionRow:
        return CollectionRow(self.id, self.lookup, self.wrapped_key, self.payload, self.created_at)


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    kind: ClassVar[bytes] = b"p"
    key: str
    collection_id: str
    lookup: bytes
    wrapped_key: bytes
    payload: bytes
    created_at: float
    updated_at: float

    @property
    def row(self) -> SubjectRow:
        return SubjectRow(*(getattr(self, each.name) for each in fields(SubjectRow)))


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """blobs: pictures by kind; templates: by space. Its number is not kept: a restore gives new ones, in this order."""

    kind: ClassVar[bytes] = b"m"
    id: str
    collection_id: str
    subject_key: str
    payload: bytes
    created_at: float
    space: str
    blobs: Mapping[str, bytes]
    templates: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    kind: ClassVar[bytes] = b"k"
    id: str
    lookup: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class AuditRecord:
    kind: ClassVar[bytes] = b"a"
    seq: int
    at: float
    chain: bytes
    payload: bytes

    @property
    def row(self) -> AuditRow:
        return AuditRow(self.seq, self.at, self.chain, self.payload)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A piece of a file of the data folder; the pieces of one follow each other."""

    kind: ClassVar[bytes] = b"f"
    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """counts: of each kind, 8 bytes."""

    kind: ClassVar[bytes] = b"e"
    counts: Mapping[str, bytes]


Record = (
    Start
    | RootKey
    | SettingRecord
    | CollectionRecord
    | SubjectRecord
    | SampleRecord
    | ApiKeyRecord
    | AuditRecord
    | FileRecord
    | End
)
_KINDS: Mapping[bytes, type[Record]] = {kind.kind: kind for kind in get_args(Record)}

KINDS: Mapping[str, str] = {
    SettingRecord.kind.decode(): "settings",
    CollectionRecord.kind.decode(): "collections",
    SubjectRecord.kind.decode(): "subjects",
    SampleRecord.kind.decode(): "samples",
    ApiKeyRecord.kind.decode(): "api_keys",
    AuditRecord.kind.decode(): "audit_entries",
    FileRecord.kind.decode(): "pieces_of_files",
}
"""Kind of a record → what people call it."""


def rows_of(reader: RowReader) -> Iterator[Record]:
    """Every row of a snapshot that a backup holds, Start first and End left to whoever adds more."""
    yield Start(reader.last_number(), reader.last_seq())
    for name, value in reader.settings("").items():
        if not (of_unknowns(name) or of_pending(name) or name.startswith(HANDOVER)):
            yield SettingRecord(name, value)
    collections = reader.collections()
    for row in collections:
        found = reader.calibrations(row.id)
        yield CollectionRecord(row.id, row.lookup, row.wrapped_key, row.payload, row.created_at, found)
    for row in collections:
        yield from _subjects(reader, row.id)
        yield from _samples(reader, row.id)
    for id, lookup, payload in reader.api_keys():
        yield ApiKeyRecord(id, lookup, payload)
    after = 0
    while page := reader.audit_page(after, _PAGE):
        for entry in page:
            yield AuditRecord(entry.seq, entry.at, entry.chain, entry.payload)
        after = page[-1].seq


def _subjects(reader: RowReader, collection_id: str) -> Iterator[Record]:
    after = ""
    while page := reader.subjects_page(collection_id, after, _PAGE):
        for row in page:
            yield SubjectRecord(*(getattr(row, each.name) for each in fields(SubjectRecord)))
        after = page[-1].key


def _samples(reader: RowReader, collection_id: str) -> Iterator[Record]:
    after = 0
    while page := reader.samples_page(collection_id, after, _PAGE):
        numbers = [row.number for row in page]
        blobs, templates = _by_number(reader.blobs_of(numbers)), _by_number(reader.templates_of(numbers))
        for row in page:
            mine = blobs.get(row.number, {}), templates.get(row.number, {})
            yield SampleRecord(
                row.id, row.collection_id, row.subject_key, row.payload, row.created_at, row.space, *mine
            )
        after = page[-1].number


def _by_number(rows: list[tuple[int, str, bytes]]) -> dict[int, dict[str, bytes]]:
    found: dict[int, dict[str, bytes]] = {}
    for number, name, payload in rows:
        found.setdefault(number, {})[name] = payload
    return found


# ------------------------------------------------------------------------------------------------ the bytes


def encoded(records: Iterable[Record]) -> Iterator[bytes]:
    """Each record as bytes, and an End that counts them."""
    counts: Counter[bytes] = Counter()
    for record in records:
        counts[record.kind] += 1
        yield _encode(record)
    yield _encode(End({kind.decode(): count.to_bytes(8, "big") for kind, count in counts.items()}))


def decoded(chunks: Iterable[bytes]) -> Iterator[Record]:
    """The records of a stream, whose last is End. Raises: BadBackup, DataTooNew for a kind that is not known."""
    counts: Counter[bytes] = Counter()
    source = _Source(chunks)
    while True:
        kind, length = _HEAD.unpack(source.take(_HEAD.size))
        if kind not in _KINDS:
            raise DataTooNew("the backup holds a kind of record that this release does not know: use a newer one")
        if length > MAX_BODY_BYTES:
            raise BadBackup("a record of the backup is longer than any can be")
        record = _decode(_KINDS[kind], source.take(length))
        if isinstance(record, End):
            expected = {name: int.from_bytes(count, "big") for name, count in record.counts.items()}
            if expected != {name.decode(): count for name, count in counts.items()} or source.more():
                raise BadBackup("the backup does not hold the records that it says it holds")
            yield record
            return
        counts[kind] += 1
        yield record


def _encode(record: Record) -> bytes:
    body = b"".join(_WRITERS[str(each.type)](getattr(record, each.name)) for each in fields(record))
    return _HEAD.pack(record.kind, len(body)) + body


def _sized(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _pairs(held: Mapping[str, bytes]) -> bytes:
    return _LENGTH.pack(len(held)) + b"".join(_sized(name.encode()) + _sized(data) for name, data in held.items())


R = TypeVar("R", bound=Record)


def _decode(kind: type[R], body: bytes) -> R:
    source = _Source([body])
    try:
        values = [_READERS[str(each.type)](source) for each in fields(kind)]
    except UnicodeDecodeError as error:
        raise BadBackup("a record of the backup holds a text that is none") from error
    if source.more():
        raise BadBackup("a record of the backup is longer than its fields")
    return kind(*values)


class _Source:
    """Bytes taken in order from chunks of any sizes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """Raises: BadBackup if there are fewer."""
        while len(self._held) - self._at < size:
            following = next(self._chunks, None)
            if following is None:
                raise BadBackup("a record of the backup is cut short")
            self._held, self._at = self._held[self._at :] + following, 0
        start, self._at = self._at, self._at + size
        return self._held[start : self._at]

    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._held) or any(self._chunks)

    def sized(self) -> bytes:
        return self.take(_LENGTH.unpack(self.take(_LENGTH.size))[0])


def _text(source: _Source) -> str:
    return source.sized().decode()


def _map(source: _Source) -> dict[str, bytes]:
    (count,) = _LENGTH.unpack(source.take(_LENGTH.size))
    return {_text(source): source.sized() for _ in range(count)}


_READERS: Mapping[str, Callable[[_Source], Any]] = {
    "str": _text,
    "bytes": _Source.sized,
    "int": lambda source: struct.unpack(">q", source.take(8))[0],
    "float": lambda source: struct.unpack(">d", source.take(8))[0],
    "Mapping[str, bytes]": _map,
}
"""Type of a field, as it is written above → what reads it."""

_WRITERS: Mapping[str, Callable[[Any], bytes]] = {
    "str": lambda text: _sized(text.encode()),
    "bytes": _sized,
    "int": struct.Struct(">q").pack,
    "float": struct.Struct(">d").pack,
    "Mapping[str, bytes]": _pairs,
}
