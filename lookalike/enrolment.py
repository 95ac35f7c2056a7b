"""The use case of enrolling pictures: of each the largest face, or all of it in collections of pictures.

Those of one call are committed together, in every space that is needed.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lookalike import domain, inputs
from lookalike.answers import Caller, EnrolConflict, EnrolledSample, Enrolment, Picture, Rejected
from lookalike.consent import require_consent
from lookalike.domain import (
    AuditEntry,
    Collection,
    Consent,
    Embeddings,
    EncodedFace,
    Floats,
    Keep,
    Kind,
    NewSample,
    Permission,
    Sample,
    Space,
    Subject,
)
from lookalike.errors import (
    AllRejected,
    Conflict,
    FaceNotFound,
    GenerationChanged,
    IndexUnavailable,
    InvalidInput,
    LookalikeError,
    SubjectNotFound,
)
from lookalike.live import Answering, Live
from lookalike.ports import AuditLog, FaceEncoder, Models, Records
from lookalike.register import Register
from lookalike.rosters import Rosters
from lookalike.stages import Stage, stage

DIFFERENT_FMR = 0.05
"""A sample less like its own subject than one impostor in twenty is flagged."""

_ATTEMPTS = 8


class Enroller(Register):
    """Adds pictures to subjects. Thread-safe."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        rosters: Rosters,
        models: Models,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(records, audit, rosters, models, clock)
        self._live = Live(records, models, rosters)

    def enrol(
        self,
        caller: Caller,
        collection: str,
        id: str,
        pictures: Sequence[Picture],
        *,
        idempotency_key: str | None = None,
        consent: Consent | None = None,
    ) -> Enrolment:
        """Enrol the largest face of each picture, or the picture itself, as the collection's kind is.

        All that pass are committed together, or none.

        idempotency_key: makes a retry find the samples that it enrolled; consent: takes the place of the subject's.
        Raises: AllRejected, CollectionNotFound, ConsentRequired, InvalidInput; IndexUnavailable, with nothing stored
        unless it says so.
        """
        with self._on_record(caller, "sample.enrol", Permission.ENROL, collection, id) as record:
            domain.subject_id(id)
            where = self._records.collection(collection)
            self._require_consent(where, id, None if consent is None else inputs.consent(consent))
            live = self._live.of(where)
            live.roster.settle()  # an index that cannot take what is enrolled refuses before anything is stored
            encoded: list[tuple[Picture, EncodedFace, tuple[domain.Box, ...]]] = []
            rejected: list[Rejected] = []
            for picture in pictures:
                try:
                    encoded.append((picture, *_enrollable(live.encoder, picture)))
                except _Refused as refusal:
                    rejected.append(Rejected(picture.filename, refusal.reasons))
            record.details.update(samples=len(encoded), rejected=len(rejected))
            if not encoded:
                raise AllRejected("no picture could be enrolled", [(r.filename, r.reasons) for r in rejected])
            conflicts = [self._conflict(live, id, face.vector) for _, face, _ in encoded]
            record.details["conflicts"] = sum(conflict is not None for conflict in conflicts)
            faces = [(picture, face) for picture, face, _ in encoded]
            subject, samples = self._commit(live.collection, id, faces, idempotency_key, consent, record.commit())
            self._rosters.catch_up()
            require_found(live)
            enrolled = tuple(
                EnrolledSample(sample, picture.filename, conflict, others)
                for sample, (picture, _, others), conflict in zip(samples, encoded, conflicts, strict=True)
            )
            return Enrolment(subject, enrolled, tuple(rejected))

    def _commit(
        self,
        seen: Collection,
        id: str,
        faces: Sequence[tuple[Picture, EncodedFace]],
        idempotency_key: str | None,
        consent: Consent | None,
        entry: AuditEntry,
    ) -> tuple[Subject, list[Sample]]:
        """Store the faces in every space that the collection has at the moment of the commit.

        seen: the collection as the generation that encoded the faces shows it.
        """
        ids = [self._sample_id(idempotency_key, ordinal) for ordinal in range(len(faces))]
        for _ in range(_ATTEMPTS):
            where = self._records.collection(seen.name)
            vectors = in_each_space(self._models, where, seen.space, [face for _, face in faces])
            new = [
                new_sample(where, face, picture, sample_id, {space: rows[i] for space, rows in vectors.items()})
                for i, ((picture, face), sample_id) in enumerate(zip(faces, ids, strict=True))
            ]
            try:
                with stage(Stage.RECORDS):
                    return self._records.add_samples(where, id, new, entry, consent)
            except GenerationChanged:
                continue
        raise Conflict("the collection's generations change again and again; try later")

    def _require_consent(self, where: Collection, id: str, given: Consent | None) -> None:
        """Raises: ConsentRequired, before anything is looked for in the pictures."""
        if where.require_consent and given is None:
            with contextlib.suppress(SubjectNotFound):
                given = self._records.subject(where, id).consent
        require_consent(where, given, self._clock())

    def _sample_id(self, idempotency_key: str | None, ordinal: int) -> str:
        if idempotency_key is None:
            return secrets.token_hex(16)
        return self._records.derived_id(idempotency_key, ordinal)

    def _conflict(self, live: Answering, id: str, vector: Floats) -> EnrolConflict | None:
        """Whether this face is already someone else, or unlike the subject's own samples."""
        collection, roster, calibration = live.collection, live.roster, live.known
        if calibration is None:
            return None
        query = Embeddings(collection.space, vector[None, :])
        ranked = roster.rank(query, 2)[0]
        subjects = self._records.subjects(collection, [r.subject_key for r in ranked])
        bar = calibration.threshold(collection.target_fpir, len(roster)).similarity
        for r in ranked:
            other = subjects.get(r.subject_key)
            if other is not None and other.id != id and r.similarity >= bar:
                # Where two people confirm who it is, enrolling must not tell one alone.
                named = None if collection.four_eyes_days is not None else other.id
                return EnrolConflict("matches_other_subject", r.similarity, named)
        own = next((s.key for s in subjects.values() if s.id == id), None) or self._key_of(collection, id)
        similarity = roster.similarity(vector, own) if own is not None else None
        alike = collection.kind is Kind.FACE  # the sides of a thing need not resemble each other
        if alike and similarity is not None and similarity[0] < calibration.threshold_for_fmr(DIFFERENT_FMR).similarity:
            return EnrolConflict("differs_from_own_samples", similarity[0])
        return None

    def _key_of(self, collection: Collection, id: str) -> str | None:
        try:
            return self._records.subject(collection, id).key
        except LookalikeError:
            return None


def require_found(live: Answering) -> None:
    """Raises: IndexUnavailable if what was committed cannot be searched yet."""
    try:
        live.roster.settle()
    except IndexUnavailable as error:
        raise IndexUnavailable(
            f"{error}; the samples are stored and will be found once the index is back: do not enrol them again, or do "
            "so with the same Idempotency-Key"
        ) from error


def _enrollable(encoder: FaceEncoder, picture: Picture) -> tuple[EncodedFace, tuple[domain.Box, ...]]:
    """The largest face, if its quality allows, and the boxes of the others. Raises: _Refused."""
    try:
        faces, template = encoder.enrollable(picture.data)
    except InvalidInput as error:
        raise _Refused((error.code,)) from error
    if template is None:
        raise _Refused(faces[0].quality.reasons if faces else (FaceNotFound.code,))
    return template, tuple(face.box for face in faces[1:])


def in_each_space(models: Models, where: Collection, done: Space, faces: Sequence[EncodedFace]) -> dict[Space, Floats]:
    """The vectors, (N, D), of faces with crops in each space of the collection. done: the one that they are in."""
    crops = [face.crop or b"" for face in faces]
    found = {done: np.stack([face.vector for face in faces])}
    return {
        space: found[space] if space in found else models.encoder(space).encode_crops(crops, enrolment=True).vectors
        for space in where.spaces
    }


def new_sample(
    where: Collection, face: EncodedFace, picture: Picture, id: str, vectors: Mapping[Space, Floats]
) -> NewSample:
    """A face as a sample, with what the collection keeps of its picture. vectors: (D,) in each of its spaces."""
    return NewSample(
        id=id,
        box=face.face.box,
        quality=face.face.quality,
        vector=vectors[where.space],
        crop=face.crop if where.keep is not Keep.NONE else None,
        image=picture.data if where.keep is Keep.IMAGE else None,
        also=tuple((space, vector) for space, vector in vectors.items() if space != where.space),
    )


class _Refused(Exception):
    """A picture that is not enrolled, with the reasons."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(*reasons)
        self.reasons = reasons
