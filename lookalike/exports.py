"""A collection as values on their way to another deployment, and the use cases that send and take them in.

What goes along: the collection's settings, subjects with all that is known of them, samples with their vectors in each
space and their kept pictures, and what the collection learned from itself. Ids of subjects and samples stay, so that
whoever counts on them finds them; keys never go along, and everything is sealed anew where it arrives.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from lookalike import domain, inputs
from lookalike.answers import Caller
from lookalike.domain import (
    AuditEntry,
    Box,
    Collection,
    Floats,
    Keep,
    Kind,
    NewSample,
    Permission,
    Quality,
    Sample,
    Space,
    Subject,
)
from lookalike.errors import InvalidInput, LookalikeError, ModelNotAvailable, SampleNotFound
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, FaceEncoder, Models, Records

Progress = Callable[[int, int], None]

BATCH_SAMPLES, BATCH_BYTES = 64, 16 << 20
"""What is taken in together, in one transaction; whichever comes first."""

IMPORTING = ".importing"
"""Ends the name of a collection that is not whole yet."""


@dataclass(frozen=True, slots=True, repr=False)
class ExportHead:
    """What an export is. id: random; origin: the random id of the collection that it was made of.

    spaces: of the samples' vectors, the one that answers first.
    """

    id: str
    origin: str
    at: float
    name: str
    kind: Kind
    keep: Keep
    target_fpir: float
    retention_days: int | None
    spaces: tuple[Space, ...]
    calibration: str | None
    subjects: int
    samples: int
    require_consent: bool = False
    four_eyes_days: int | None = None
    erase_expired_consent: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class ExportedSample:
    """A sample without its place here. vectors: by position in `ExportHead.spaces`; carried: those that were mapped."""

    id: str
    box: Box
    quality: Quality
    created_at: float
    vectors: dict[int, Floats]
    crop: bytes | None = None
    image: bytes | None = None
    carried: frozenset[int] = frozenset()

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return sum(vector.nbytes for vector in self.vectors.values()) + len(self.crop or b"") + len(self.image or b"")


@dataclass(frozen=True, slots=True)
class Taken:
    """How an import went. embedded: anew; left_out: without a picture to embed; before: here before this run."""

    export: str
    collection: str
    model: str
    subjects: int
    samples: int
    embedded: int
    left_out: int
    before: int


Entry = Subject | ExportedSample
"""An export is its head, then each subject before its own samples."""


class Adoption(Protocol):
    """Takes a collection in: sealed under new keys, in transactions, and known by its export's id."""

    def begin(self, head: ExportHead, collection: Collection, entry: AuditEntry, *, again: bool) -> Collection:
        """The collection to fill: a new one, or the one that an import of the same export left unfinished.

        Raises: Conflict where its collection is here already, or was until it was deleted, unless `again`;
        CollectionExists.
        """
        ...

    def adopt(self, collection: Collection, subject: Subject, samples: Sequence[tuple[NewSample, float]]) -> int:
        """A subject with some of its samples and when those were made; what is there stays. Returns how many are new.

        Raises: Conflict for a sample that is in another collection here.
        """
        ...

    def finish(self, head: ExportHead, collection: Collection, name: str, entry: AuditEntry) -> Collection:
        """Give it its name: it is whole. Raises: CollectionExists."""
        ...

    def note_export(self, collection: Collection, export: str, recipient: str, at: float, entry: AuditEntry) -> None:
        """Remember that a copy goes to the recipient's key, for receipts of erasures to name it."""
        ...


class Transfers:
    """Sends collections to other deployments and takes theirs in. Thread-safe."""

    def __init__(
        self,
        records: Records,
        adoption: Adoption,
        audit: AuditLog,
        models: Models,
        clock: Callable[[], float] = lambda: datetime.datetime.now(datetime.UTC).timestamp(),
    ) -> None:
        self._records = records
        self._adoption = adoption
        self._audit = audit
        self._models = models
        self._clock = clock

    # -------------------------------------------------------------------------------------------- sending

    def begin_export(self, caller: Caller, name: str, recipient: str) -> tuple[ExportHead, Iterator[Entry]]:
        """The head, and the entries as they are asked for. recipient: the fingerprint of the key that they go to.

        It is on record before anything is read. Raises: PermissionDenied, CollectionNotFound.
        """
        with on_record(self._audit, caller, "collection.export", Permission.TRANSFER, name) as record:
            where = self._records.collection(name)
            subjects, samples = self._records.count(where)
            head = ExportHead(
                id=secrets.token_hex(16),
                origin=where.id,
                at=self._clock(),
                name=where.name,
                kind=where.kind,
                keep=where.keep,
                target_fpir=where.target_fpir,
                retention_days=where.retention_days,
                spaces=where.spaces,
                calibration=self._records.calibration(where),
                subjects=subjects,
                samples=samples,
                require_consent=where.require_consent,
                four_eyes_days=where.four_eyes_days,
                erase_expired_consent=where.erase_expired_consent,
            )
            record.details.update(export=head.id, recipient=recipient, subjects=subjects, samples=samples)
            self._adoption.note_export(where, head.id, recipient, head.at, record.commit())
        return head, self._entries(where)

    def _entries(self, where: Collection) -> Iterator[Entry]:
        views = [where, *(where.seen_as(other) for other in where.others)]
        for batch in self._records.stream_subjects(where, 200):
            for subject in batch:
                yield subject
                samples = self._records.samples(where, subject)
                for at in range(0, len(samples), BATCH_SAMPLES):
                    yield from self._samples(where, views, subject, samples[at : at + BATCH_SAMPLES])

    def _samples(
        self, where: Collection, views: Sequence[Collection], subject: Subject, samples: Sequence[Sample]
    ) -> Iterator[ExportedSample]:
        numbers = [sample.number for sample in samples]
        vectors: dict[int, dict[int, Floats]] = {number: {} for number in numbers}
        carried: dict[int, set[int]] = {number: set() for number in numbers}
        for view in views:
            place = where.spaces.index(view.space)
            for found in self._records.samples_numbered(view, numbers):
                vectors[found.number].setdefault(place, found.vector)
                if found.carried:
                    carried[found.number].add(place)
        for sample in samples:
            if vectors[sample.number]:
                crop, image = (self._picture(where, subject, sample, kind) for kind in (Keep.CROP, Keep.IMAGE))
                held, mapped = vectors[sample.number], frozenset(carried[sample.number])
                yield ExportedSample(
                    sample.id, sample.box, sample.quality, sample.created_at, held, crop, image, mapped
                )

    def _picture(self, where: Collection, subject: Subject, sample: Sample, kind: Keep) -> bytes | None:
        try:
            return self._records.picture(where, subject, sample.id, kind)
        except SampleNotFound:
            return None

    # ------------------------------------------------------------------------------------------ taking in

    def take_in(
        self,
        caller: Caller,
        head: ExportHead,
        entries: Iterable[Entry],
        *,
        name: str | None = None,
        model: str | None = None,
        again: bool = False,
        progress: Progress = lambda done, total: None,
    ) -> Taken:
        """Fill a collection, and give it its name once it is whole. Begun again after a kill, it goes on.

        name: instead of the one it has; model: whose vectors are wanted, made from the kept pictures where the export
        has none of its; again: take in what was taken in before and deleted. The caller has verified all of `entries`
        before. Raises: ModelNotAvailable, Conflict, CollectionExists, InvalidInput.
        """
        wanted = domain.collection_name(name or head.name)
        with on_record(self._audit, caller, "collection.import_sealed", Permission.TRANSFER, wanted) as record:
            space, encoder = self._space(head, model)
            made = Collection(
                id=secrets.token_hex(16),
                name=domain.collection_name(wanted + IMPORTING),
                kind=head.kind,
                space=space,
                keep=head.keep,
                target_fpir=inputs.rate(head.target_fpir, "target_fpir"),
                retention_days=inputs.retention(head.retention_days),
                created_at=self._clock(),
                require_consent=head.require_consent,
                four_eyes_days=inputs.four_eyes(head.four_eyes_days),
                erase_expired_consent=head.erase_expired_consent,
            )
            record.details.update(export=head.id, model=space.model)
            where = self._adoption.begin(head, made, record.entry(), again=again)
            if head.calibration is not None and space == head.spaces[0]:
                learned = replace(record.entry(), action="collection.calibrate")
                self._records.put_calibration(where, head.calibration, learned)
            filling = _Filling(self._adoption, where, head, encoder)
            for done, entry in enumerate(entries):
                filling.take(entry)
                if done % BATCH_SAMPLES == 0:
                    progress(min(filling.seen, head.samples), head.samples)
            filling.flush()
            progress(head.samples, head.samples)
            record.details.update(subjects=filling.subjects, samples=filling.samples, left_out=filling.left_out)
            whole = self._adoption.finish(head, where, wanted, record.commit())
        return Taken(
            head.id,
            whole.name,
            space.model,
            filling.subjects,
            filling.samples,
            filling.embedded,
            filling.left_out,
            filling.before,
        )

    def _space(self, head: ExportHead, model: str | None) -> tuple[Space, FaceEncoder]:
        """The space of the new collection and what encodes into it. Raises: ModelNotAvailable, SpaceMismatch."""
        space = head.spaces[0] if model is None else self._models.space(head.kind, model)
        try:
            encoder = self._models.encoder(space)
        except LookalikeError as error:
            raise ModelNotAvailable(
                f"the export is of the model {space.model!r}, which is not here as it was there: import its bundle, or "
                "name another model to embed the kept pictures anew"
            ) from error
        own = head.calibration is not None and space == head.spaces[0]
        if head.kind is Kind.FACE and not own and self._models.calibration(space) is None:
            raise ModelNotAvailable(f"the model {space.model!r} has no calibration, so its scores could not be judged")
        return space, encoder


@dataclass(slots=True, repr=False)
class _Filling:
    """Entries on their way into a collection, batch by batch."""

    adoption: Adoption
    where: Collection
    head: ExportHead
    encoder: FaceEncoder
    subjects: int = 0
    samples: int = 0
    embedded: int = 0
    left_out: int = 0
    before: int = 0
    seen: int = 0
    _subject: Subject | None = None
    _batch: list[ExportedSample] = field(default_factory=list)
    _bytes: int = 0

    def take(self, entry: Entry) -> None:
        if isinstance(entry, Subject):
            self.flush()
            self._subject, self.subjects = entry, self.subjects + 1
            return
        self._batch.append(entry)
        self._bytes, self.seen = self._bytes + entry.size, self.seen + 1
        if len(self._batch) >= BATCH_SAMPLES or self._bytes >= BATCH_BYTES:
            self._write()

    def flush(self) -> None:
        """Write what is left of the subject in hand, and itself where it has no sample."""
        if self._subject is not None:
            self._write()
            self._subject = None

    def _write(self) -> None:
        if self._subject is None:
            raise InvalidInput("the export has a sample before any subject")
        new = self._adoptable(self._batch)
        added = self.adoption.adopt(self.where, self._subject, new)
        self.samples += len(new)
        self.before += len(new) - added
        self.left_out += len(self._batch) - len(new)
        self._batch, self._bytes = [], 0

    def _adoptable(self, batch: Sequence[ExportedSample]) -> list[tuple[NewSample, float]]:
        place = self.head.spaces.index(self.where.space) if self.where.space in self.head.spaces else -1
        vectors = {sample.id: sample.vectors[place] for sample in batch if place in sample.vectors}
        lacking = [sample for sample in batch if sample.id not in vectors and sample.crop is not None]
        if lacking:
            made = self.encoder.encode_crops([sample.crop or b"" for sample in lacking], enrolment=True).vectors
            vectors |= {sample.id: row for sample, row in zip(lacking, made, strict=True)}
            self.embedded += len(lacking)
        return [
            (
                NewSample(
                    sample.id,
                    sample.box,
                    sample.quality,
                    vectors[sample.id],
                    sample.crop,
                    sample.image,
                    carried=place in sample.carried,
                ),
                sample.created_at,
            )
            for sample in batch
            if sample.id in vectors
        ]


def checked(entry: Entry, spaces: Sequence[Space]) -> Entry:
    """The same. Raises: InvalidInput for what no deployment would have written."""
    if isinstance(entry, Subject):
        domain.subject_id(entry.id)
        inputs.metadata(entry.metadata)
        inputs.moment(entry.valid_from, "valid_from")
        inputs.moment(entry.valid_until, "valid_until")
        if entry.consent is not None and entry.consent.expires_at is not None:
            inputs.moment(entry.consent.expires_at, "consent.expires_at")
        return replace(entry, key="")
    if len(entry.id) != 32 or not set(entry.id) <= set("0123456789abcdef"):
        raise InvalidInput("a sample's id is not one")
    for place, vector in entry.vectors.items():
        if not 0 <= place < len(spaces) or vector.shape != (spaces[place].dimension,):
            raise InvalidInput("a sample's vector does not fit its space")
        if not abs(float(np.linalg.norm(vector)) - 1.0) < 1e-3:
            raise InvalidInput("a sample's vector is not of length 1")
    return entry
