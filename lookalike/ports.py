"""The protocols at which embedder, index and security meet; api/wiring.py joins the implementations.

Two record ports stand one above the other. `Records` speaks in domain values and is what use cases see;
`security/sealed.py` implements it by sealing every value and handing ciphertext to `Rows`, which a database in
`index/` implements. Nothing above `Rows` can forget to encrypt, and nothing below it can read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from lookalike.calibration import Calibration
from lookalike.domain import (
    AuditEntry,
    Box,
    Change,
    Collection,
    Consent,
    Copy,
    Embeddings,
    EncodedFace,
    Face,
    Floats,
    Keep,
    Kind,
    Labels,
    NewSample,
    Page,
    Receipt,
    Sample,
    Space,
    Subject,
)

T = TypeVar("T")


# ------------------------------------------------------------------------------------------------- faces


class FaceEncoder(Protocol):
    """A photo in, its faces out: decode, detect, align, assess and embed. Thread-safe."""

    @property
    def space(self) -> Space: ...

    @property
    def runtime(self) -> str:
        """The runtime and precision in use, as `doctor` and `/readyz` show them: "openvino bf16"."""
        ...

    def detect(self, image: bytes) -> list[Face]:
        """Faces, largest first; an empty list where there is none.

        Raises: UnsupportedImage, ImageTooLarge, ImageTooSmall.
        """
        ...

    def encode(
        self, image: bytes, *, largest_only: bool = False, enrolment: bool = False, crops: bool = False
    ) -> list[EncodedFace]:
        """Faces with unit vectors in `space`, largest first; an empty list where there is none.

        enrolment: spend more on a better template (flip averaging), as is worth it once per sample.
        crops: give each face's aligned crop as JPEG too.
        Raises: as `detect`.
        """
        ...

    def enrollable(self, image: bytes) -> tuple[list[Face], EncodedFace | None]:
        """All faces, largest first, and the largest one's template with its crop, in one pass.

        The template is None where there is no face or where the largest one's quality has a reason against it.
        Raises: as `detect`.
        """
        ...

    def encode_crops(self, crops: Sequence[bytes], *, enrolment: bool = False) -> Embeddings:
        """Embeddings of aligned crops as `encode` gave them: (N, D)."""
        ...


class OpenPicture(Protocol):
    """A decoded picture of which any part can be embedded."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height when upright."""
        ...

    def embed(self, boxes: Sequence[Box]) -> Embeddings:
        """What lies in each box as a probe: (N, D). Boxes lie within the picture."""
        ...

    def face(self, box: Box) -> Face:
        """What the answer says of a part, in whole pixels."""
        ...


@runtime_checkable
class ImageEncoder(FaceEncoder, Protocol):
    """A picture in, itself out, in the place of a face without landmarks: for collections of whole pictures.

    Its crops are the pictures themselves, made smaller.
    """

    def encode_part(self, image: bytes, box: Box) -> EncodedFace:
        """What lies in the box alone, whose part beyond the picture is ignored.

        Raises: as `detect`, and InvalidInput for a box outside the picture.
        """
        ...

    def opened(self, image: bytes) -> OpenPicture:
        """The picture, decoded once, for those who look at many parts of it. Raises: as `detect`."""
        ...

    def likeness(self, image: bytes, crops: Sequence[bytes], box: Box | None = None) -> list[float]:
        """How far each crop is the same picture, encoded, resized or cropped differently: -1 to 1, 1 for a copy."""
        ...


class Models(Protocol):
    """The models at hand, each loaded at its first use. Thread-safe."""

    def default(self, kind: Kind) -> Space:
        """The space of new collections of this kind. Raises: ModelNotAvailable where there is no model for it."""
        ...

    def names(self, kind: Kind) -> list[str]:
        """The models that a collection of this kind can be given, the default one first."""
        ...

    def space(self, kind: Kind, model: str) -> Space:
        """The space of a model by its name. Raises: ModelNotAvailable."""
        ...

    def encoder(self, space: Space) -> FaceEncoder:
        """What encodes into this space: an `ImageEncoder` where the model is one for pictures.

        Raises: ModelNotAvailable where its model is not at hand; SpaceMismatch where that prepares pictures otherwise.
        """
        ...

    def calibration(self, space: Space) -> Calibration | None:
        """What the model's scores mean, as far as that was learned before; None where it was not."""
        ...


# ------------------------------------------------------------------------------------------------ vectors


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A row of an index near a query. label: the sample's number; similarity: cosine."""

    label: int
    similarity: float


@dataclass(frozen=True, slots=True)
class IndexState:
    """How an index answers at present, for an operator to read.

    structure: a stable word, "exact" or "codes" among others; why: a sentence; rows: that can be found; removed: rows
    that are gone and still take room; parts: what a search goes through one by one; memory_bytes: in this process;
    next_change: a sentence on what will change the structure, and when.
    """

    structure: str
    why: str
    rows: int
    dimension: int
    removed: int
    parts: int
    memory_bytes: int
    next_change: str


class VectorIndex(Protocol):
    """The live vectors of one collection, all of one space. Readers never wait for each other."""

    @property
    def space(self) -> Space: ...

    def __len__(self) -> int: ...

    def add(self, labels: Labels, vectors: Embeddings) -> None:
        """(N,) and (N, D). A label that is there already is replaced. Raises: SpaceMismatch."""
        ...

    def remove(self, labels: Iterable[int]) -> int:
        """Forget these labels at once; unknown ones are ignored. Returns how many were there."""
        ...

    def search(self, queries: Embeddings, k: int, allowed: Labels | None = None) -> list[list[Neighbour]]:
        """The k nearest rows of each query, most similar first; only labels in `allowed` when it is given."""
        ...

    def vectors(self, labels: Sequence[int]) -> Floats:
        """The stored vectors, (N, D) float32, of labels that are all present. Raises: KeyError."""
        ...

    def dump(self) -> tuple[Labels, Floats]:
        """All live rows: (N,) labels ascending, (N, D) float32."""
        ...

    def describe(self) -> IndexState:
        """What answers now, and why; at a cost that does not grow with the rows."""
        ...


class LocalIndex(VectorIndex, Protocol):
    """An index of this process alone: it begins empty, and is taken over and handed on block by block."""

    def fill(self, labels: Labels, blocks: Iterable[Floats]) -> None:
        """Add rows that are not there yet and come block by block: labels (N,) ascending, blocks (B, D) of N in all.

        A block belongs to the index from then on. Raises: InvalidInput.
        """
        ...

    def blocks(self) -> tuple[Labels, Iterator[Floats]]:
        """All live rows of one moment: (N,) labels ascending, and in their order blocks of vectors, (B, D) float32."""
        ...


@runtime_checkable
class SharedIndex(VectorIndex, Protocol):
    """An index in a server that several processes write to, and that keeps its rows when they end.

    A label's life is put once, dropped once, and whichever process says so late changes nothing: a put never undoes a
    drop. What the server could not be told is owed: `put` and `drop` take note of it and raise nothing.
    """

    @property
    def lost(self) -> bool:
        """Whether the server no longer has this index, so that it must be opened and reconciled anew."""
        ...

    def put(self, labels: Labels, vectors: Embeddings) -> None:
        """Add rows, whose labels were never dropped, and tell the server if it can be told now. Raises: as `add`."""
        ...

    def fill(self, labels: Labels, vectors: Embeddings) -> None:
        """Add many rows, found after the next `settle`. Raises: as `add`, and IndexUnavailable."""
        ...

    def drop(self, labels: Iterable[int]) -> None:
        """Forget these labels for good, and tell the server if it can be told now."""
        ...

    def mark(self, seq: int) -> None:
        """Have the next write say that it is of this change of the records or before."""
        ...

    def marked(self) -> int:
        """The latest change that a write was of, by any process; 0 where none was. Raises: IndexUnavailable."""
        ...

    def discard(self, why: str) -> None:
        """Delete the index from the server and be lost. Raises: IndexUnavailable, always."""
        ...

    def settle(self) -> None:
        """Tell the server what is owed. Raises: IndexUnavailable while it cannot be told, or did not answer lately."""
        ...

    def labels(self) -> Labels:
        """All live labels, ascending. Raises: IndexUnavailable."""
        ...

    def tidy(self) -> None:
        """Have the server take what was dropped off its disks, if that has not been asked for lately."""
        ...


class IndexServers(Protocol):
    """The servers that the shared indexes of this deployment are in."""

    def check(self) -> None:
        """Raises: IndexUnavailable unless every server answers for all that it has of this deployment."""
        ...

    def forget(self, collection_id: str) -> None:
        """Delete a collection's indexes, of all its generations. Raises: IndexUnavailable."""
        ...

    def drop(self, collection_id: str, labels: Sequence[int], loaded: Sequence[str]) -> None:
        """Drop labels from all generations of a collection but those in `loaded`. Raises: IndexUnavailable."""
        ...

    def keep_only(self, wanted: Callable[[], set[tuple[str, str]]]) -> int:
        """Delete the indexes of all generations but these, (collection id, generation). Returns how many.

        wanted: asked after the servers were, so that one that begins meanwhile is not taken for an orphan.
        Raises: IndexUnavailable.
        """
        ...


# ------------------------------------------------------------------------------- records: ciphertext below


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

    def drop_templates(self, collection_id: str, space: str, limit: int) -> int:
        """Delete at most `limit` templates of a collection in a space. Returns how many."""
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


# ------------------------------------------------------------------------------- records: plaintext above


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

    def drop_space(self, collection: Collection, space: Space, limit: int) -> int:
        """Forget at most `limit` templates in a space. Returns how many."""
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
