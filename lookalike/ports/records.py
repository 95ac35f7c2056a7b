"""Ports to the system of record in domain values, its audit log, and sealed snapshots of derived data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from lookalike.domain import (
    AuditEntry,
    Change,
    Collection,
    Consent,
    Copy,
    Floats,
    Keep,
    NewSample,
    Page,
    Receipt,
    Sample,
    Space,
    Subject,
)
from lookalike.ports.rows import AuditProof


class Records(Protocol):
    """The system of record in domain values. Every write commits its audit entry in the same transaction.

    `entry` says what is being done; the implementation stamps seq and time. A write returns once it is durable.
    """

    # collections
    def create_collection(self, collection: Collection, entry: AuditEntry) -> None:
        """Raises: CollectionExists."""
        ...

    def collection(self, name: str) -> Collection:
        """Raises: CollectionNotFound."""
        ...

    def collections(self) -> list[Collection]: ...
    def change_collection(
        self, collection: Collection, change: Callable[[Collection], Collection], entry: AuditEntry
    ) -> Collection:
        """Replace a collection by what `change` makes of its newest state, in one transaction.

        Raises: CollectionNotFound, and what `change` raises.
        """
        ...

    def delete_collection(self, collection: Collection, entry: AuditEntry) -> Receipt:
        """Destroys its key with all its records. Raises: LegalHold if one is on anything of it."""
        ...

    def count(self, collection: Collection) -> tuple[int, int]:
        """(subjects, samples)."""
        ...

    # subjects
    def put_subject(self, collection: Collection, subject: Subject, entry: AuditEntry) -> Subject:
        """Create, or replace metadata, consent and validity of the subject with this `id`; `key` is ignored.

        A consent that was withdrawn stays so unless another is given. Raises: LegalHold if anything would be lost.
        """
        ...

    def change_subject(
        self,
        collection: Collection,
        subject_id: str,
        change: Callable[[Subject], Subject],
        entry: AuditEntry,
        *,
        overwrites: bool = True,
    ) -> Subject:
        """Replace a subject by what `change` makes of its newest state.

        overwrites: something that is known of it is lost with that. Raises: SubjectNotFound, and then LegalHold.
        """
        ...

    def require_unheld(self, collection: Collection, subject_id: str) -> None:
        """Raises: LegalHold if one is on the subject or its collection."""
        ...

    def copies(self, collection: Collection, since: float) -> list[Copy]:
        """Copies that went to other deployments and may hold somebody known since then, oldest first."""
        ...

    def backed_up_at(self) -> float:
        """When the last backup was begun, in seconds since 1970; 0 where there was none."""
        ...

    def kept_receipts(self, collection: Collection) -> list[Receipt]:
        """Receipts of erasures that a rule asked for, oldest first; they go with the collection."""
        ...

    def last_enrolled(self, keys: Iterable[str]) -> dict[str, float]:
        """When the newest sample of each of these subjects was enrolled; those without samples are left out."""
        ...

    def subject(self, collection: Collection, subject_id: str) -> Subject:
        """Raises: SubjectNotFound."""
        ...

    def subjects(self, collection: Collection, keys: Sequence[str]) -> dict[str, Subject]:
        """Opens only these; keys that are gone are left out."""
        ...

    def list_subjects(
        self, collection: Collection, limit: int, cursor: str | None, metadata: Mapping[str, str]
    ) -> Page[Subject]:
        """Raises: InvalidInput for a cursor that this service did not give."""
        ...

    def erase_subject(
        self,
        collection: Collection,
        subject_id: str,
        entry: AuditEntry,
        only_if: Callable[[Subject, float], bool] | None = None,
    ) -> Receipt:
        """Destroys the subject's key with its records.

        only_if: asked within the transaction, with the subject and when its newest sample was enrolled (0 for none).
        Raises: SubjectNotFound, LegalHold; Conflict where `only_if` says no.
        """
        ...

    # samples
    def add_samples(
        self,
        collection: Collection,
        subject_id: str,
        samples: Sequence[NewSample],
        entry: AuditEntry,
        consent: Consent | None = None,
    ) -> tuple[Subject, list[Sample]]:
        """Creates the subject if it is new; samples whose id is there already are returned as they are.

        consent: takes the place of the subject's.
        Raises: GenerationChanged if the collection has got a generation that they have no template for.
        """
        ...

    def samples(self, collection: Collection, subject: Subject) -> list[Sample]:
        """Each in the space it was enrolled in, so that those without a template in the present one are seen too.

        carried: of the template that answers.
        """
        ...

    def samples_lacking(self, collection: Collection, after_number: int, limit: int) -> list[Sample]:
        """Samples without a template in the collection's space, in spaces of their own, by number."""
        ...

    def count_lacking(self, collection: Collection) -> int: ...
    def put_templates(self, collection: Collection, templates: Sequence[tuple[Sample, Floats]]) -> int:
        """Add vectors in the collection's space to samples; those erased meanwhile are left out. Returns how many."""
        ...

    def settle(self, collection: Collection, after_number: int, limit: int) -> int | None:
        """Make templates in the collection's space the own ones of samples whose space no generation has any more.

        It looks at `limit` samples after this number, and returns the last one's, None at the end.
        """
        ...

    def drop_space(self, collection: Collection, space: Space, after_number: int, limit: int) -> int | None:
        """Forget the templates in a space of `limit` samples after this number.

        Returns the last one's, None at the end.
        """
        ...

    def delete_sample(self, collection: Collection, subject: Subject, sample_id: str, entry: AuditEntry) -> None:
        """Raises: SampleNotFound, LegalHold."""
        ...

    def picture(self, collection: Collection, subject: Subject, sample_id: str, kind: Keep) -> bytes:
        """The kept crop or image. Raises: SampleNotFound."""
        ...

    def crops(self, collection: Collection, samples: Sequence[Sample]) -> dict[str, bytes]:
        """The kept crops of these samples by sample id; those without one are left out."""
        ...

    # what the live view follows
    def last_seq(self) -> int: ...
    def changes(self, after: int, limit: int = 1000) -> list[Change]: ...
    def samples_numbered(self, collection: Collection, numbers: Sequence[int]) -> list[Sample]: ...
    def stream_samples(
        self, collection: Collection, batch: int = 2000, after_number: int = 0
    ) -> Iterator[list[Sample]]: ...
    def stream_subjects(self, collection: Collection, batch: int = 2000) -> Iterator[list[Subject]]: ...

    # what a collection learned from itself (lookalike/thresholds.py gives the JSON)
    def calibration(self, collection: Collection) -> str | None: ...
    def put_calibration(self, collection: Collection, calibration: str, entry: AuditEntry) -> None: ...

    # idempotent answers
    def remembered(self, key: str, digest: bytes) -> bytes | None:
        """The answer given for this idempotency key. Raises: IdempotencyMismatch if the body differed."""
        ...

    def remember(self, key: str, digest: bytes, answer: bytes) -> None: ...
    def derived_id(self, key: str, ordinal: int) -> str:
        """A sample id that is the same for the same idempotency key: 32 hex characters."""
        ...


class AuditLog(Protocol):
    """Who did what, in one order, sealed and hash-chained."""

    def append(self, entry: AuditEntry) -> None:
        """Durable when it returns. Raises: StorageFull, StorageUnavailable; the operation must then be refused."""
        ...

    def page(self, after_seq: int, limit: int) -> list[AuditEntry]: ...
    def last_seq(self) -> int:
        """The newest entry's sequence number, 0 while there is none."""
        ...

    def sign(self) -> str | None:
        """A signed checkpoint of the log's end, None while it is empty. Raises: TamperedData."""
        ...

    def prove_entry(self, seq: int, size: int | None) -> AuditProof:
        """That this entry is among the first `size`, all by default. Raises: NotFound."""
        ...

    def prove_growth(self, earlier: int, size: int | None) -> AuditProof:
        """That the first `earlier` are the beginning of the first `size`, all by default. Raises: NotFound."""
        ...


@dataclass(frozen=True, slots=True)
class Plaintext:
    """size: in bytes; pieces: all of them in order, once."""

    size: int
    pieces: Iterator[bytes]


class Snapshots(Protocol):
    """Sealed files of derived data, so that a restart need not open every record."""

    def save(self, collection: Collection, chunks: Iterable[bytes]) -> None:
        """Atomic: the old file or the new one, never half. Raises: StorageFull."""
        ...

    def reading(self, collection: Collection) -> AbstractContextManager[Plaintext | None]:
        """The plaintext once every tag was checked; None where there is none or it is damaged.

        Its pieces raise TamperedData or OSError where the file is changed or fails after that.
        """
        ...

    def drop(self, collection_id: str) -> None: ...
