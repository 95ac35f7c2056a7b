"""The use cases that see pictures: enrol, identify, verify, compare, detect, and calibrate from what was enrolled."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from lookalike import domain, inputs
from lookalike.answers import (
    CalibrationReport,
    Caller,
    Comparison,
    EnrolConflict,
    EnrolledSample,
    Enrolment,
    Identification,
    IdentifiedFace,
    Picture,
    Rejected,
    Verification,
)
from lookalike.calibration import Calibration
from lookalike.domain import (
    Candidate,
    Collection,
    Embeddings,
    EncodedFace,
    Face,
    Floats,
    Keep,
    NewSample,
    Permission,
    Threshold,
)
from lookalike.errors import (
    AllRejected,
    FaceNotFound,
    InvalidInput,
    LookalikeError,
    PermissionDenied,
    SampleNotFound,
)
from lookalike.ports import AuditLog, FaceEncoder, Records
from lookalike.register import UNSET, Register
from lookalike.roster import Ranked, Roster, Rosters, subject_is_valid
from lookalike.thresholds import recalibrate

DEFAULT_FMR = 0.001
"""The false match rate that verify and compare aim at unless asked for another."""

DIFFERENT_FMR = 0.05
"""A sample less like its own subject than one impostor in twenty is flagged."""


class Gallery(Register):
    """Enrol, identify, verify, erase, and what belongs to them. Thread-safe."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        encoder: FaceEncoder,
        rosters: Rosters,
        calibration: Calibration,
        today: Callable[[], str] = lambda: datetime.datetime.now(datetime.UTC).date().isoformat(),
    ) -> None:
        super().__init__(records, audit, rosters, encoder.space)
        self._encoder = encoder
        self._model_calibration = calibration
        self._own_calibrations: dict[str, Calibration | None] = {}
        self._today = today

    def calibrate(self, caller: Caller, name: str) -> CalibrationReport:
        """Learn a collection's thresholds from its own non-matching pairs. Raises: NotCalibratable."""
        with self._on_record(caller, "collection.calibrate", Permission.MANAGE_COLLECTIONS, name) as record:
            collection = self._records.collection(name)
            roster = self._roster(collection)
            learned = recalibrate(self._model_calibration, *_templates(roster))
            record.details.update(subjects=learned.subjects, pairs=learned.pairs)
            before = self._calibration(roster).threshold(collection.target_fpir, len(roster))
            self._records.put_calibration(collection, learned.calibration.to_json(), record.commit())
            self._rosters.catch_up()
            after = learned.calibration.threshold(collection.target_fpir, len(roster))
            return CalibrationReport(learned.subjects, learned.pairs, learned.dropped_pairs, before, after)

    def overdue(self, subjects: int) -> list[str]:
        """Live collections of so many subjects or more that never learned from their own pairs, or doubled since."""
        names = []
        for roster in self._rosters.loaded():
            own = self._calibration(roster)
            learned_from = 0 if own is self._model_calibration else int(own.provenance.get("subjects", 0))
            if len(roster) >= max(subjects, 2 * learned_from):
                names.append(roster.collection.name)
        return names

    # ----------------------------------------------------------------------------------------------- enrol

    def enrol(
        self,
        caller: Caller,
        collection: str,
        id: str,
        pictures: Sequence[Picture],
        *,
        idempotency_key: str | None = None,
    ) -> Enrolment:
        """Enrol the largest face of each picture; all that pass are committed together, or none.

        idempotency_key: makes a retry find the samples that it enrolled.
        Raises: AllRejected, CollectionNotFound, InvalidInput.
        """
        with self._on_record(caller, "sample.enrol", Permission.ENROL, collection, id) as record:
            domain.subject_id(id)
            where = self._records.collection(collection)
            roster = self._roster(where)
            encoded: list[tuple[Picture, EncodedFace, tuple[domain.Box, ...]]] = []
            rejected: list[Rejected] = []
            for picture in pictures:
                try:
                    encoded.append((picture, *self._enrollable(picture)))
                except _Refused as refusal:
                    rejected.append(Rejected(picture.filename, refusal.reasons))
            record.details.update(samples=len(encoded), rejected=len(rejected))
            if not encoded:
                raise AllRejected("no picture could be enrolled", [(r.filename, r.reasons) for r in rejected])
            conflicts = [self._conflict(roster, where, id, face.vector) for _, face, _ in encoded]
            record.details["conflicts"] = sum(conflict is not None for conflict in conflicts)
            new = [
                self._new_sample(where, face, picture, self._sample_id(idempotency_key, ordinal))
                for ordinal, (picture, face, _) in enumerate(encoded)
            ]
            subject, samples = self._records.add_samples(where, id, new, record.commit())
            self._rosters.catch_up()
            enrolled = tuple(
                EnrolledSample(sample, picture.filename, conflict, others)
                for sample, (picture, _, others), conflict in zip(samples, encoded, conflicts, strict=True)
            )
            return Enrolment(subject, enrolled, tuple(rejected))

    def _enrollable(self, picture: Picture) -> tuple[EncodedFace, tuple[domain.Box, ...]]:
        """The largest face, if its quality allows, and the boxes of the others. Raises: _Refused."""
        try:
            faces, template = self._encoder.enrollable(picture.data)
        except InvalidInput as error:
            raise _Refused((error.code,)) from error
        if template is None:
            raise _Refused(faces[0].quality.reasons if faces else (FaceNotFound.code,))
        return template, tuple(face.box for face in faces[1:])

    def _sample_id(self, idempotency_key: str | None, ordinal: int) -> str:
        if idempotency_key is None:
            return secrets.token_hex(16)
        return self._records.derived_id(idempotency_key, ordinal)

    @staticmethod
    def _new_sample(collection: Collection, face: EncodedFace, picture: Picture, id: str) -> NewSample:
        return NewSample(
            id=id,
            box=face.face.box,
            quality=face.face.quality,
            vector=face.vector,
            crop=face.crop if collection.keep is not Keep.NONE else None,
            image=picture.data if collection.keep is Keep.IMAGE else None,
        )

    def _conflict(self, roster: Roster, collection: Collection, id: str, vector: Floats) -> EnrolConflict | None:
        """Whether this face is already someone else, or unlike the subject's own samples."""
        calibration = self._calibration(roster)
        query = Embeddings(collection.space, vector[None, :])
        ranked = roster.rank(query, 2)[0]
        subjects = self._records.subjects(collection, [r.subject_key for r in ranked])
        bar = calibration.threshold(collection.target_fpir, len(roster)).similarity
        for r in ranked:
            other = subjects.get(r.subject_key)
            if other is not None and other.id != id and r.similarity >= bar:
                return EnrolConflict("matches_other_subject", r.similarity, other.id)
        own = next((s.key for s in subjects.values() if s.id == id), None) or self._key_of(collection, id)
        similarity = roster.similarity(vector, own) if own is not None else None
        if similarity is not None and similarity[0] < calibration.threshold_for_fmr(DIFFERENT_FMR).similarity:
            return EnrolConflict("differs_from_own_samples", similarity[0])
        return None

    def _key_of(self, collection: Collection, id: str) -> str | None:
        try:
            return self._records.subject(collection, id).key
        except LookalikeError:
            return None

    # ---------------------------------------------------------------------------------- identify and verify

    def identify(
        self,
        caller: Caller,
        collection: str,
        image: bytes,
        *,
        limit: int = 5,
        largest_only: bool = False,
        threshold: float | None = None,
        fpir: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Identification:
        """Search each face among the enrolled; whoever is not enrolled gets no candidate.

        threshold: a similarity, 0 to 1; fpir: the false-alarm rate to aim at instead of the collection's own.
        Raises: FaceNotFound, CollectionNotFound, InvalidInput.
        """
        with self._on_record(caller, "identify", Permission.IDENTIFY, collection) as record:
            if not 1 <= limit <= 100:
                raise InvalidInput("limit: 1 to 100 are allowed")
            where = self._records.collection(collection)
            roster = self._roster(where)
            faces = self._encoder.encode(image, largest_only=largest_only)
            if not faces:
                raise FaceNotFound("no face was found in the picture")
            selection = roster.labels_with(metadata or {})
            size = len(roster) if selection is None else selection[1]
            calibration = self._calibration(roster)
            bar = _decide(calibration, size, threshold, fpir if fpir is not None else where.target_fpir)
            queries = Embeddings(where.space, np.stack([face.vector for face in faces]))
            ranked = roster.rank(queries, limit, None if selection is None else selection[0])
            hits = [[r for r in row if r.similarity >= bar.similarity] for row in ranked]
            answers = self._candidates(where, calibration, size, hits)
            record.details.update(
                faces=len(faces),
                threshold=round(bar.similarity, 4),
                matched=_joined(r.subject_key for h in hits for r in h),
            )
            identified = tuple(IdentifiedFace(f.face, c) for f, c in zip(faces, answers, strict=True))
            return Identification(identified, bar, self.model)

    def _candidates(
        self, collection: Collection, calibration: Calibration, size: int, hits: list[list[Ranked]]
    ) -> list[tuple[Candidate, ...]]:
        """Open the matched records, and no others."""
        matched = [r for row in hits for r in row]
        if not matched:
            return [() for _ in hits]
        today = self._today()
        subjects = self._records.subjects(collection, sorted({r.subject_key for r in matched}))
        samples = {s.number: s.id for s in self._records.samples_numbered(collection, [r.number for r in matched])}
        return [
            tuple(
                Candidate(subject, samples[r.number], r.similarity, calibration.fpir(r.similarity, size))
                for r in row
                if (subject := subjects.get(r.subject_key)) is not None
                and r.number in samples
                and subject_is_valid(subject, today)
            )
            for row in hits
        ]

    def verify(
        self,
        caller: Caller,
        collection: str,
        id: str,
        image: bytes,
        *,
        threshold: float | None = None,
        fmr: float | None = None,
    ) -> Verification:
        """Whether the picture's largest face is this subject. Raises: FaceNotFound, SubjectNotFound, SampleNotFound."""
        with self._on_record(caller, "verify", Permission.IDENTIFY, collection, id) as record:
            where = self._records.collection(collection)
            subject = self._records.subject(where, id)
            face = self._largest(image)
            roster = self._roster(where)
            found = roster.similarity(face.vector, subject.key)
            if found is None:
                raise SampleNotFound("the subject has no sample to compare with")
            calibration = self._calibration(roster)
            bar = _decide_pair(calibration, threshold, fmr)
            match = found[0] >= bar.similarity and subject_is_valid(subject, self._today())
            record.details.update(match=int(match))
            return Verification(match, found[0], bar, calibration.fmr(found[0]), face.face)

    def compare(
        self,
        caller: Caller,
        image_a: bytes,
        image_b: bytes,
        *,
        threshold: float | None = None,
        fmr: float | None = None,
    ) -> Comparison:
        """Whether the largest faces of two pictures are one person. Raises: FaceNotFound."""
        with self._on_record(caller, "compare", None) as record:
            self._require_anywhere(caller, Permission.IDENTIFY)
            a, b = self._largest(image_a, "image_a"), self._largest(image_b, "image_b")
            similarity = float(a.vector @ b.vector)
            calibration = self._model_calibration
            bar = _decide_pair(calibration, threshold, fmr)
            match = similarity >= bar.similarity
            record.details.update(match=int(match))
            return Comparison(match, similarity, bar, calibration.fmr(similarity), a.face, b.face)

    def detect(self, caller: Caller, image: bytes) -> list[Face]:
        """The faces of a picture, largest first; an empty list is an answer."""
        with self._on_record(caller, "detect", None) as record:
            self._require_anywhere(caller, Permission.IDENTIFY)
            faces = self._encoder.detect(image)
            record.details.update(faces=len(faces))
            return faces

    def _largest(self, image: bytes, which: str = "image") -> EncodedFace:
        faces = self._encoder.encode(image, largest_only=True)
        if not faces:
            raise FaceNotFound(f"no face was found in {which}")
        return faces[0]

    @staticmethod
    def _require_anywhere(caller: Caller, permission: Permission) -> None:
        if not caller.principal.may_anywhere(permission):
            raise PermissionDenied(f"this needs the permission {permission.value!r}, which the credential lacks")

    # ------------------------------------------------------------------------------------------ live view

    def _roster(self, collection: Collection) -> Roster:
        self._encoder.space.require(collection.space)
        return self._rosters.of(collection)

    def _calibration(self, roster: Roster) -> Calibration:
        """The collection's own calibration where it has one, else the model's."""
        id = roster.collection.id
        if roster.calibration_stale or id not in self._own_calibrations:
            roster.calibration_stale = False
            text = self._records.calibration(roster.collection)
            self._own_calibrations[id] = Calibration.from_json(text) if text is not None else None
        return self._own_calibrations[id] or self._model_calibration


__all__ = ["UNSET", "Gallery"]


class _Refused(Exception):
    """A picture that is not enrolled, with the reasons."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


def _decide(calibration: Calibration, size: int, threshold: float | None, fpir: float) -> Threshold:
    if threshold is not None:
        return Threshold(inputs.similarity(threshold), "explicit", None, size)
    return calibration.threshold(inputs.rate(fpir, "fpir"), size)


def _decide_pair(calibration: Calibration, threshold: float | None, fmr: float | None) -> Threshold:
    if threshold is not None:
        return Threshold(inputs.similarity(threshold), "explicit", None, 1)
    return calibration.threshold_for_fmr(inputs.rate(DEFAULT_FMR if fmr is None else fmr, "fmr"))


def _joined(keys: Iterator[str]) -> str:
    return ",".join(dict.fromkeys(keys))


def _templates(roster: Roster) -> tuple[Floats, list[str]]:
    """All enrolled vectors (N, D) and whose they are."""
    labels, vectors = roster.index.dump()
    owners = [roster.owner(n) for n in labels.tolist()]
    kept = [i for i, owner in enumerate(owners) if owner is not None]
    return vectors[kept], [owner for owner in owners if owner is not None]
