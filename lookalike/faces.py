"""The use cases of faces one by one: index each face of a picture, list them, search by one, delete, compare many.

They stand beside those of `Gallery`, under the same rights, limits and audit, for callers who think in faces and users
(Amazon Rekognition's and CompreFace's). lookalike/face_users.py has the users.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from lookalike.answers import Caller, Picture
from lookalike.consent import require_consent
from lookalike.domain import (
    AuditEntry,
    Box,
    Collection,
    Embeddings,
    EncodedFace,
    Face,
    Floats,
    Kind,
    NewSample,
    Permission,
    Receipt,
    Sample,
    Space,
    Subject,
)
from lookalike.enrolment import in_each_space, new_sample, require_found
from lookalike.errors import (
    Conflict,
    FaceNotFound,
    GenerationChanged,
    InvalidInput,
    ModelNotAvailable,
    NotFound,
    PermissionDenied,
    SampleNotFound,
)
from lookalike.face_marks import FaceRecord, People, face_id, face_of, marks, people_of
from lookalike.gallery import Gallery
from lookalike.inputs import rate
from lookalike.live import Answering
from lookalike.on_record import on_record
from lookalike.pending import refuse_alone
from lookalike.ports import AuditLog, Models, Records
from lookalike.searching import DEFAULT_FMR

MAX_CANDIDATES = 100
"""As many as `identify` gives."""

_ATTEMPTS = 8
_ERASED_TOGETHER = 200
"""Faces whose erasures share a transaction, and the clearing of the store's files after it."""

_PAGE = 500


class FaceRecords(Records, Protocol):
    """Records with what is asked of faces one by one."""

    def add_subjects(
        self, collection: Collection, new: Sequence[tuple[Subject, NewSample]], entry: AuditEntry
    ) -> list[tuple[Subject, Sample]]:
        """Subjects of one sample each, all or none; those whose id is there already are returned as they are.

        Raises: GenerationChanged as `add_samples`.
        """
        ...

    def erase_subjects(self, collection: Collection, ids: Sequence[str], entry: AuditEntry) -> dict[str, Receipt]:
        """As `erase_subject`, together: receipts by id, each on record by itself; those not there are left out."""
        ...

    def sample(self, collection: Collection, sample_id: str) -> tuple[Subject, Sample]:
        """A sample and whose it is. Raises: SampleNotFound."""
        ...

    def change_same(
        self,
        collection: Collection,
        subject: Subject,
        change: Callable[[Subject], Subject],
        entry: AuditEntry,
        *,
        overwrites: bool = True,
    ) -> Subject:
        """As `change_subject`, of this subject alone: SubjectNotFound also if another of its id came after it."""
        ...


@dataclass(frozen=True, slots=True)
class Indexing:
    """What became of a picture's faces. unindexed: with the reasons, stable words; size: of the picture, upright."""

    indexed: tuple[tuple[FaceRecord, Face], ...]
    unindexed: tuple[tuple[Face, tuple[str, ...]], ...]
    size: tuple[float, float]
    space: Space


@dataclass(frozen=True, slots=True)
class FacePage:
    """next_number: asks for the next page, None at the end."""

    faces: tuple[FaceRecord, ...]
    next_number: int | None
    space: Space


@dataclass(frozen=True, slots=True)
class FaceMatch:
    """A face near a probe. fmr: the chance that two people's pictures score as high."""

    face: FaceRecord
    fmr: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """One face of a picture beside the largest one of another. fmr: as in `FaceMatch`."""

    face: Face
    match: bool
    fmr: float


EXCEEDS_MAX_FACES = "exceeds_max_faces"
LOW_QUALITY = "low_quality"


class Faces:
    """Faces of a collection, one by one. Thread-safe, and several processes may share the records."""

    def __init__(self, records: FaceRecords, audit: AuditLog, models: Models, gallery: Gallery) -> None:
        self._records = records
        self._audit = audit
        self._models = models
        self._gallery = gallery
        self._people: dict[tuple[str, str], tuple[int, People]] = {}

    # ---------------------------------------------------------------------------------------------- index

    def index(
        self,
        caller: Caller,
        name: str,
        image: bytes,
        size_of: Callable[[bytes], tuple[float, float]],
        *,
        external_image_id: str | None = None,
        max_faces: int | None = None,
        min_quality: float = 0.5,
    ) -> Indexing:
        """Keep each face of a picture as a subject of its own, largest first; no face is an answer.

        The same picture with the same external id finds the faces that it made before, so a retry is harmless.
        size_of: width and height of a picture that can be decoded; min_quality: 0 to 1.
        Raises: CollectionNotFound, WrongKind, ConsentRequired, UnsupportedImage, ImageTooLarge, IndexUnavailable.
        """
        with on_record(self._audit, caller, "face.index", Permission.ENROL, name) as record:
            live = self._gallery.live.of(self._records.collection(name))
            live.collection.require(Kind.FACE)
            require_consent(live.collection, None, 0.0)
            live.roster.settle()
            found = live.encoder.encode(image, enrolment=True, crops=True)
            fit = [face for face in found if face.face.quality.score >= min_quality]
            chosen = fit[:max_faces]
            refused = [
                (f.face, f.face.quality.reasons or (LOW_QUALITY,)) for f in found if f.face.quality.score < min_quality
            ] + [(face.face, (EXCEEDS_MAX_FACES,)) for face in fit[len(chosen) :]]
            record.details.update(faces=len(chosen), unindexed=len(refused))
            size = size_of(image)
            kept: list[FaceRecord] = []
            if chosen:
                kept = self._commit(live, image, size, chosen, external_image_id, record.commit())
                self._gallery.live.catch_up()
                require_found(live)
            indexed = tuple((face, encoded.face) for face, encoded in zip(kept, chosen, strict=True))
            return Indexing(indexed, tuple(refused), size, live.collection.space)

    def _commit(
        self,
        live: Answering,
        image: bytes,
        size: tuple[float, float],
        faces: Sequence[EncodedFace],
        external_image_id: str | None,
        entry: AuditEntry,
    ) -> list[FaceRecord]:
        """Store the faces in every space that the collection has at the moment of the commit."""
        picture = hashlib.sha256(image).hexdigest()
        origin = json.dumps(["face", live.collection.id, picture, external_image_id])
        image_id = face_id(self._records.derived_id(json.dumps(["picture", live.collection.id, picture]), 0))
        for _ in range(_ATTEMPTS):
            where = self._records.collection(live.collection.name)
            vectors = in_each_space(self._models, where, live.collection.space, faces)
            new = []
            for i, face in enumerate(faces):
                id = self._records.derived_id(origin, i)
                said = marks(image_id, external_image_id, shares(face.face.box, size), face.face.confidence)
                own = {space: rows[i] for space, rows in vectors.items()}
                subject = Subject("", face_id(id), said)
                new.append((subject, new_sample(where, face, Picture("", image), id, own)))
            try:
                added = self._records.add_subjects(where, new, entry)
            except GenerationChanged:
                continue
            return [face_of(subject, sample.id, sample.number) for subject, sample in added]
        raise Conflict("the collection's generations change again and again; try later")

    # --------------------------------------------------------------------------------------- list, delete

    def page(
        self,
        caller: Caller,
        name: str,
        limit: int,
        after_number: int = 0,
        *,
        user: str | None = None,
        ids: Sequence[str] | None = None,
    ) -> FacePage:
        """Faces in the order in which they came. user, ids: only those; ids that are not there are left out.

        Raises: CollectionNotFound, WrongKind.
        """
        with on_record(self._audit, caller, "face.list", Permission.READ, name) as record:
            where = self._records.collection(name)
            where.require(Kind.FACE)
            if ids is not None:
                faces = self._named(where, ids)
            elif user is not None:
                faces = self._of_user(where, user)
            else:
                faces = self._after(where, after_number, limit + 1)
            wanted = sorted(
                (face for face in faces if face.number > after_number and user in (None, face.user)),
                key=lambda face: face.number,
            )
            shown = tuple(wanted[:limit])
            record.details.update(faces=len(shown))
            return FacePage(shown, shown[-1].number if len(wanted) > limit else None, where.space)

    def _after(self, where: Collection, after_number: int, limit: int) -> list[FaceRecord]:
        found: list[FaceRecord] = []
        for batch in self._records.stream_samples(where, min(limit, _PAGE), after_number):
            found += self._described(where, batch)
            if len(found) >= limit:
                break
        return found

    def _of_user(self, where: Collection, user: str) -> list[FaceRecord]:
        numbers = self.numbers_of_user(self._gallery.live.of(where), user)
        return self._described(where, self._records.samples_numbered(where, numbers))

    def numbers_of_user(self, live: Answering, user: str) -> list[int]:
        """The labels of a user's faces: samples of its own, and faces that were associated. Raises: SubjectNotFound."""
        own, people = self._records.subject(live.collection, user).key, self.people(live)
        if own not in people.users:
            return []
        keys = (own, *people.faces.get(user, ()))
        return [number for key in keys for number in live.roster.numbers(key)]

    def people(self, live: Answering) -> People:
        """Who belongs to whom, found once for as long as nothing changes."""
        key, seq = (live.collection.id, live.collection.generation), live.roster.seq
        found = self._people.get(key)
        if found is None or found[0] != seq:
            found = self._people[key] = seq, people_of(live.roster.metadata(), live.roster.numbers)
        return found[1]

    def _described(self, where: Collection, samples: Sequence[Sample]) -> list[FaceRecord]:
        owners = self._records.subjects(where, sorted({sample.subject_key for sample in samples}))
        return [face_of(owners[s.subject_key], s.id, s.number) for s in samples if s.subject_key in owners]

    def _named(self, where: Collection, ids: Sequence[str]) -> list[FaceRecord]:
        found = {id: self.find(where, id) for id in dict.fromkeys(ids)}
        return [face for face in found.values() if face is not None]

    def find(self, where: Collection, id: str) -> FaceRecord | None:
        """The face of this id, 32 hex characters."""
        try:
            subject, sample = self._records.sample(where, id)
        except SampleNotFound:
            return None
        return face_of(subject, sample.id, sample.number)

    def delete(
        self, caller: Caller, name: str, ids: Sequence[str], *, even_of_users: bool = False
    ) -> list[tuple[str, FaceRecord | None, bool]]:
        """Erase faces: for each id what it was, None where there is none, and whether it was erased.

        Faces that belong to a user stay unless `even_of_users`. Each erasure is audited by itself.
        Raises: CollectionNotFound, StorageFull.
        """
        with on_record(self._audit, caller, "face.delete", Permission.ERASE, name) as record:
            where = self._records.collection(name)
            found = {id: self.find(where, id) for id in dict.fromkeys(ids)}
            doomed = [f for f in found.values() if f is not None and (even_of_users or f.user is None)]
            alone = [face for face in doomed if face.alone]
            gone: set[str] = set()
            for start in range(0, len(alone), _ERASED_TOGETHER):
                gone |= self._erase(caller, where, alone[start : start + _ERASED_TOGETHER], record.entry())
            for face in doomed:
                if not face.alone:
                    with suppress(NotFound):  # somebody else was quicker
                        self._gallery.delete_sample(caller, name, face.subject.id, face.id)
                        gone.add(face.id)
            record.details.update(faces=len(gone))
            return [(id, face, id in gone) for id, face in found.items()]

    def _erase(self, caller: Caller, where: Collection, faces: Sequence[FaceRecord], entry: AuditEntry) -> set[str]:
        """Erase faces that are subjects of their own, and the unknown faces that look like them. Returns whose ids.

        Raises: LegalHold if one of them is held; then none is erased.
        """
        for face in faces:
            self._records.require_unheld(where, face.subject.id)
        if where.keep_unknown_days is not None:
            index = self._gallery.live.of(where).roster.index
            with suppress(KeyError):  # one is gone, or has no template in the present model
                self._gallery.unknowns.forget_like(caller, where, index.vectors([face.number for face in faces]))
        by_subject = {face.subject.id: face.id for face in faces}
        receipts = self._records.erase_subjects(where, list(by_subject), replace(entry, action="subject.erase"))
        self._gallery.live.catch_up()
        return {by_subject[id] for id in receipts}

    # ------------------------------------------------------------------------------------ search, compare

    def search(self, caller: Caller, name: str, id: str, *, limit: int, fmr: float) -> tuple[list[FaceMatch], Space]:
        """Faces of other subjects like one that is kept, most similar first.

        Raises: CollectionNotFound, WrongKind, SampleNotFound, InvalidInput.
        """
        with on_record(self._audit, caller, "face.search", Permission.IDENTIFY, name) as record:
            live = self._gallery.live.of(self._records.collection(name))
            live.collection.require(Kind.FACE)
            refuse_alone(live.collection)
            kept, query = self._searchable(live, id)
            bar = live.calibration.threshold_for_fmr(rate(fmr, "fmr")).similarity
            near = live.roster.rank(Embeddings(live.collection.space, query), min(limit, MAX_CANDIDATES) + 1)[0]
            hits = [r for r in near if r.subject_key != kept.subject.key and r.similarity >= bar][:limit]
            (candidates,) = self._gallery.candidates(live, len(live.roster), [hits])
            record.details.update(matched=",".join(c.subject.key for c in candidates))
            matches = [FaceMatch(face_of(c.subject, c.sample_id, 0), c.fmr or 0.0) for c in candidates]
            return matches, live.collection.space

    def verify(self, caller: Caller, name: str, id: str, image: bytes) -> tuple[FaceRecord, list[Likeness]]:
        """Each face of a picture beside one that is kept, largest first, and the latter.

        Raises: CollectionNotFound, WrongKind, SampleNotFound.
        """
        with on_record(self._audit, caller, "face.verify", Permission.IDENTIFY, name) as record:
            live = self._gallery.live.of(self._records.collection(name))
            live.collection.require(Kind.FACE)
            refuse_alone(live.collection)
            kept, own = self._searchable(live, id)
            bar = live.calibration.threshold_for_fmr(DEFAULT_FMR).similarity
            faces = live.encoder.encode(image)
            scores = [float(np.clip(own[0] @ face.vector, -1, 1)) for face in faces]
            found = [
                Likeness(face.face, score >= bar, live.calibration.fmr(score))
                for score, face in zip(scores, faces, strict=True)
            ]
            record.details.update(match=int(any(f.match for f in found)))
            return kept, found

    def _searchable(self, live: Answering, id: str) -> tuple[FaceRecord, Floats]:
        """A face that is kept, and its vector, (1, D). Raises: SampleNotFound."""
        subject, sample = self._records.sample(live.collection, id)
        try:
            return face_of(subject, sample.id, sample.number), live.roster.index.vectors([sample.number])
        except KeyError:
            raise SampleNotFound("this face cannot be searched in the collection's present model") from None

    def compare(self, caller: Caller, source: bytes, target: bytes, fmr: float) -> tuple[Face, list[Likeness]]:
        """The largest face of one picture beside each face of another, most similar first. Raises: FaceNotFound."""
        with on_record(self._audit, caller, "compare", None) as record:
            if not caller.principal.may_anywhere(Permission.IDENTIFY):
                raise PermissionDenied(
                    f"this needs the permission {Permission.IDENTIFY.value!r}, which the credential lacks"
                )
            space = self._models.default(Kind.FACE)
            encoder, calibration = self._models.encoder(space), self._models.calibration(space)
            if calibration is None:
                raise ModelNotAvailable(f"the model {space.model!r} has no calibration")
            bar = calibration.threshold_for_fmr(rate(fmr, "fmr")).similarity
            first = encoder.encode(source, largest_only=True)
            if not first:
                raise FaceNotFound("no face was found in the source image")
            others = encoder.encode(target)
            scores = [float(np.clip(first[0].vector @ face.vector, -1, 1)) for face in others]
            found = [
                Likeness(face.face, score >= bar, calibration.fmr(score))
                for score, face in sorted(zip(scores, others, strict=True), key=lambda pair: -pair[0])
            ]
            record.details.update(match=int(any(f.match for f in found)))
            return first[0].face, found


def shares(box: Box, size: tuple[float, float]) -> Box:
    """A box in pixels as shares of the picture's width and height."""
    width, height = size
    return Box(box.x / width, box.y / height, box.width / width, box.height / height)


def sample_id(text: str) -> str:
    """A face's id, a UUID, as its sample's. Raises: InvalidInput."""
    try:
        return uuid.UUID(text).hex
    except ValueError:
        raise InvalidInput("a face's id is a UUID") from None
