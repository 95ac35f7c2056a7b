"""Ports to the store of rows: ciphertext, random ids, keyed hashes and times; no plaintext and no key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from lookalike.domain import (
    Change,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """lookup: HMAC of the name; wrapped_key: the collection key, wrapped by the root; payload: sealed."""

    id: str
    lookup: bytes
    wrapped_key: bytes
    payload: bytes
    created_at: float


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """key: random hex; lookup: HMAC of the caller's id in its collection; wrapped_key: by the collection key."""

    key: str
    collection_id: str
    lookup: bytes
    wrapped_key: bytes
    payload: bytes
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class SampleRow:
    """number: the index's label, given by the store on insert, never reused; payload: sealed vector and facts.

    space: `Space.key` of the payload's vector; empty in rows of format 1, which are in their collection's first space.
    """

    id: str
    number: int
    collection_id: str
    subject_key: str
    payload: bytes
    created_at: float
    space: str = ""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """chain: 32 bytes, binds this entry to all before it; payload: the sealed entry."""

    seq: int
    at: float
    chain: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class AuditProof:
    """Hashes that lead from a leaf or an earlier root to the root of the first `size` entries (RFC 6962).

    row: the entry that is proven, None in a proof of growth; earlier: how many entries the smaller tree has, 0 in one
    of an entry.
    """

    size: int
    path: tuple[bytes, ...]
    root: bytes
    row: AuditRow | None = None
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class JobRow:
    """state: in the clear, so that waiting jobs are found; leased_until: whoever runs it renews this in time."""

    id: str
    collection_id: str | None
    state: str
    created_at: float
    updated_at: float
    leased_until: float
    payload: bytes


def collection_setting(collection_id: str, name: str = "") -> str:
    """The name of a setting that goes with its collection; of all of them the prefix."""
    return f"collection/{collection_id}/{name}"


class RowReader(Protocol):
    """Consistent reads of ciphertext rows."""

    def get_setting(self, name: str) -> bytes | None:
        """A small value of the deployment, such as a wrapped key."""
        ...

    def settings(self, prefix: str) -> dict[str, bytes]:
        """All values whose names begin so."""
        ...

    def count_settings(self, prefix: str) -> int:
        """How many names begin so."""
        ...

    def last_seq(self) -> int:
        """The newest change's sequence number, 0 at first."""
        ...

    def changes(self, after: int, limit: int) -> list[Change]: ...
    def collections(self) -> list[CollectionRow]: ...
    def collection_by_lookup(self, lookup: bytes) -> CollectionRow | None: ...
    def subject_by_lookup(self, collection_id: str, lookup: bytes) -> SubjectRow | None: ...
    def subjects(self, keys: Sequence[str]) -> list[SubjectRow]:
        """Rows of these keys, in any order; those not there are left out."""
        ...

    def subjects_page(self, collection_id: str, after_key: str, limit: int) -> list[SubjectRow]:
        """Rows in order of `key`, after the given one ('' for the start)."""
        ...

    def count(self, collection_id: str) -> tuple[int, int]:
        """(subjects, samples) of a collection, at a cost that does not grow with them."""
        ...

    def count_wrapped(self, collection_id: str, start: int, size: int) -> dict[bytes, int]:
        """How many subjects' wrapped keys have each value in these bytes, from 0. It looks at every one of them."""
        ...

    def samples_of(self, subject_key: str) -> list[SampleRow]:
        """In order of `number`."""
        ...

    def samples_page(self, collection_id: str, after_number: int, limit: int) -> list[SampleRow]: ...
    def samples_numbered(self, numbers: Sequence[int]) -> list[SampleRow]: ...
    def templates(self, numbers: Sequence[int], space: str) -> dict[int, bytes]:
        """Sealed templates in another space than their samples' own; numbers that have none there are left out."""
        ...

    def samples_lacking(
        self, collection_id: str, spaces: Sequence[str], after_number: int, limit: int
    ) -> list[SampleRow]:
        """Samples whose own space is none of `spaces` and that have no template in one of them, by number."""
        ...

    def count_lacking(self, collection_id: str, spaces: Sequence[str]) -> int: ...
    def sample_by_id(self, id: str) -> SampleRow | None: ...
    def blob(self, sample_id: str, kind: str) -> bytes | None:
        """A sealed picture of a sample; kind: "crop" or "image"."""
        ...

    def api_keys(self) -> list[tuple[str, bytes, bytes]]:
        """All (id, lookup, payload)."""
        ...

    def api_key_by_lookup(self, lookup: bytes) -> tuple[str, bytes, bytes] | None: ...
    def audit_page(self, after_seq: int, limit: int) -> list[AuditRow]: ...
    def audit_tail(self) -> AuditRow | None: ...
    def idempotent(self, lookup: bytes) -> tuple[bytes, bytes] | None:
        """(body digest, sealed answer) kept under an idempotency key's HMAC."""
        ...

    def calibration(self, collection_id: str, space: str) -> bytes | None:
        """The sealed calibration that a collection learned from itself in a space; "" as in `SampleRow.space`."""
        ...

    def calibrations(self, collection_id: str) -> dict[str, bytes]:
        """All of them, by space."""
        ...

    def last_number(self) -> int:
        """The greatest number that a sample was ever given, 0 at first."""
        ...

    def blobs_of(self, numbers: Sequence[int]) -> list[tuple[int, str, bytes]]:
        """The sealed pictures of these samples: (number, kind, payload)."""
        ...

    def templates_of(self, numbers: Sequence[int]) -> list[tuple[int, str, bytes]]:
        """The templates of these samples in other spaces than their own: (number, space, payload)."""
        ...

    def jobs(self, limit: int) -> list[JobRow]:
        """Newest first."""
        ...

    def job(self, id: str) -> JobRow | None: ...


class RowWriter(RowReader, Protocol):
    """Writes within one transaction; each put or delete of a record appends to the change sequence.

    A call that raises ends its work: nothing may be written after it.
    """

    def put_setting(self, name: str, value: bytes) -> None: ...
    def delete_setting(self, name: str) -> bool: ...
    def put_collection(self, row: CollectionRow) -> None:
        """Insert, or replace the row of the same id."""
        ...

    def delete_collection(self, collection_id: str) -> None:
        """With all its subjects, samples, blobs and calibrations, and the settings that `collection_setting` names."""
        ...

    def put_subject(self, row: SubjectRow) -> None: ...
    def rewrap_subjects(self, rewrapped: Sequence[tuple[str, bytes, bytes]]) -> int:
        """Replace wrapped keys: (subject's key, wrapped key as it must still be, new one). Returns how many were.

        It is no change of a record: nothing is appended to the change sequence.
        """
        ...

    def delete_subject(self, key: str) -> list[int]:
        """With its samples and blobs. Returns the numbers of its samples."""
        ...

    def add_sample(
        self,
        id: str,
        collection_id: str,
        subject_key: str,
        payload: bytes,
        created_at: float,
        blobs: Mapping[str, bytes],
        space: str = "",
    ) -> int:
        """Insert and return its number; a sample of this id that is there already is left as it is."""
        ...

    def put_template(self, number: int, space: str, payload: bytes) -> bool:
        """Insert or replace a sample's template in another space; False if the sample is gone."""
        ...

    def settle_sample(self, number: int, space: str, payload: bytes) -> bool:
        """Make this a sample's own space and payload and drop its template there; False if the sample is gone."""
        ...

    def drop_templates(self, collection_id: str, space: str, after_number: int, limit: int) -> int | None:
        """Delete the templates in a space of `limit` samples after this number.

        Returns the last one's, None at the end.
        """
        ...

    def delete_sample(self, id: str) -> int | None:
        """Returns its number, None where there was none."""
        ...

    def put_api_key(self, id: str, lookup: bytes, payload: bytes) -> None: ...
    def delete_api_key(self, id: str) -> bool: ...
    def append_audit(self, row: AuditRow) -> None: ...
    def put_idempotent(self, lookup: bytes, digest: bytes, answer: bytes, at: float) -> None: ...
    def forget_idempotent(self, before: float) -> int: ...
    def put_calibration(self, collection_id: str, space: str, payload: bytes) -> None: ...
    def put_job(self, row: JobRow) -> None:
        """Insert, or replace the row of the same id."""
        ...

    def claim_job(self, now: float, until: float) -> JobRow | None:
        """The oldest job, "queued" or "running", whose lease is over: now "running" and leased `until`.

        One that ends later than `latest_lease` was given by a clock that ran ahead, and is over.
        """
        ...

    def delete_jobs(self, before: float) -> int:
        """Forget jobs that ended and were last changed before this time."""
        ...

    def skip_to(self, number: int, seq: int) -> None:
        """Give numbers and change sequence numbers above these from now on, for what stands in for an older store."""
        ...


class Rows(Protocol):
    """A durable, transactional store of ciphertext rows. Thread-safe, and several processes may share one."""

    def read(self) -> RowReader:
        """A reader for the calling thread; each call on it sees the newest committed state."""
        ...

    def snapshot(self) -> AbstractContextManager[RowReader]:
        """A reader, for the thread that asks, whose calls all see the one state that was committed at its start.

        Writers go on meanwhile. What they erase stays in the store's logs until the snapshot is let go of.
        """
        ...

    def write(self, work: Callable[[RowWriter], T]) -> T:
        """Run `work` alone in a transaction and return once it is durable (group commit).

        If `work` raises, nothing of it stays and the error comes through.
        Raises: StorageFull, StorageUnavailable.
        """
        ...

    def scrub(self) -> bool:
        """Take what was erased out of the store's files, as far as docs/data-on-disk.md says.

        False if that must be tried again later.
        """
        ...

    def close(self) -> None: ...
