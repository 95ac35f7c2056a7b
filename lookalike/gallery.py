"""A gallery: enrolment and search with verify, compare, detect, erase, and what is learned from the enrolled."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

from lookalike.answers import (
    CalibrationReport,
    Caller,
    CollectionInfo,
    Comparison,
    Verification,
)
from lookalike.calibration import Calibration
from lookalike.domain import (
    Collection,
    EncodedFace,
    Face,
    Kind,
    Permission,
    Receipt,
    Subject,
)
from lookalike.errors import (
    FaceNotFound,
    LegalHold,
    ModelNotAvailable,
    NotFound,
    PermissionDenied,
    SampleNotFound,
)
from lookalike.face_marks import HAS_FACES, USER_ID
from lookalike.gallery_scores import ScoresOfGalleries
from lookalike.live import base_calibration
from lookalike.pending import refuse_alone
from lookalike.ports import FaceEncoder
from lookalike.register import UNSET
from lookalike.searching import Searcher, explicit, for_fmr
from lookalike.standing import Standing
from lookalike.thresholds import recalibrate

__all__ = ["UNSET", "Gallery"]


class Gallery(Searcher):
    """Enrol, identify, verify, erase, and what belongs to them. Thread-safe."""

    @cached_property
    def scores(self) -> ScoresOfGalleries:
        """How the enrolled and strangers score here."""
        return ScoresOfGalleries(self._records, self._audit, self._live)

    def calibrate(self, caller: Caller, name: str) -> CalibrationReport:
        """Learn a collection's thresholds from its own non-matching pairs. Raises: NotCalibratable."""
        with self._on_record(caller, "collection.calibrate", Permission.MANAGE_COLLECTIONS, name) as record:
            live = self._live.of(self._records.collection(name))
            collection, roster = live.collection, live.roster
            learned = recalibrate(self._base(collection), *roster.all_templates(), fusion=roster.fusion)
            record.details.update(subjects=learned.subjects, pairs=learned.pairs)
            before = live.threshold(collection.target_fpir)
            self._records.put_calibration(collection, learned.calibration.to_json(), record.commit())
            self._rosters.catch_up()
            after = learned.calibration.threshold(collection.target_fpir, len(roster))
            return CalibrationReport(learned.subjects, learned.pairs, learned.dropped_pairs, before, after)

    def overdue(self, subjects: int) -> list[Collection]:
        """Live collections of so many subjects or more that never learned from their own pairs, or doubled since."""
        due = []
        for live in self._live.loaded():
            learned_from = int(live.calibration.provenance.get("subjects", 0)) if live.learned else 0
            if len(live.roster) >= max(subjects, 2 * learned_from):
                due.append(live.collection)
        return due

    def _base(self, collection: Collection) -> Calibration:
        found = base_calibration(self._models, collection)
        if found is None:
            raise ModelNotAvailable(f"the model {collection.space.model!r} has no calibration")
        return found

    # ----------------------------------------------------------------------------- verify, compare, detect

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
        """Whether the picture's largest face, or the picture itself by the collection's kind, is this subject.

        Raises: FaceNotFound, SubjectNotFound, SampleNotFound, NotCalibrated.
        """
        with self._on_record(caller, "verify", Permission.IDENTIFY, collection, id) as record:
            live = self._live.of(self._records.collection(collection))
            refuse_alone(live.collection)
            subject = self._records.subject(live.collection, id)
            face = _largest(live.encoder, image)
            found = live.roster.similarity(face.vector, subject.key)
            if found is None:
                raise SampleNotFound("the subject has no sample to compare with")
            bar = explicit(threshold, 1) or for_fmr(live.calibration, fmr)
            good = self._standings(live.collection, {subject.key: subject})[subject.key] is Standing.GOOD
            match = found[0] >= bar.similarity and good
            record.details.update(match=int(match))
            rate = None if live.known is None else live.known.fmr(found[0])
            return Verification(match, found[0], bar, rate, face.face)

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
            space = self._models.default(Kind.FACE)
            encoder, calibration = self._models.encoder(space), self._models.calibration(space)
            if calibration is None:
                raise ModelNotAvailable(f"the model {space.model!r} has no calibration")
            a, b = _largest(encoder, image_a, "image_a"), _largest(encoder, image_b, "image_b")
            similarity = float(a.vector @ b.vector)
            bar = explicit(threshold, 1) or for_fmr(calibration, fmr)
            match = similarity >= bar.similarity
            record.details.update(match=int(match))
            return Comparison(match, similarity, bar, calibration.fmr(similarity), a.face, b.face)

    def detect(self, caller: Caller, image: bytes) -> list[Face]:
        """The faces of a picture, largest first; an empty list is an answer."""
        with self._on_record(caller, "detect", None) as record:
            self._require_anywhere(caller, Permission.IDENTIFY)
            faces = self._models.encoder(self._models.default(Kind.FACE)).detect(image)
            record.details.update(faces=len(faces))
            return faces

    # ------------------------------------------------------------------------- what is kept of unknown faces

    def update_collection(self, caller: Caller, name: str, **changes: Any) -> CollectionInfo:
        """Change what is given; a collection that keeps unknown faces no more forgets those that it has."""
        info = super().update_collection(caller, name, **changes)
        if changes.get("keep_unknown_days", UNSET) is None:
            self.unknowns.clear(caller, info.collection)
        return info

    def erase_subject(
        self,
        caller: Caller,
        collection: str,
        id: str,
        only_if: Callable[[Subject, float], bool] | None = None,
        why: str = "",
    ) -> Receipt:
        """Destroy a subject's key and all that it opens.

        Before that go the faces that were given to it one by one, what waits for two people and names it, and the
        unknown faces that look like it.
        """
        if caller.principal.may(Permission.ERASE, collection):
            with contextlib.suppress(NotFound, KeyError):  # what is not there, or no longer, is refused below
                where = self._records.collection(collection)
                subject = self._records.subject(where, id)
                newest = self._records.last_enrolled([subject.key]).get(subject.key, 0.0)
                if self._is_free(where, subject) and (only_if is None or only_if(subject, newest)):
                    # Those that are held come first, and refuse all of it.
                    for face in sorted(self._given_faces(where, subject), key=lambda face: self._is_free(where, face)):
                        super().erase_subject(caller, collection, face.id, why=why)
                    self.pending.forget(caller, where, subject.key)
                    if where.keep_unknown_days is not None:
                        roster = self._live.of(where).roster
                        numbers = roster.numbers(subject.key)
                        self.unknowns.forget_like(caller, where, roster.index.vectors(numbers))
        return super().erase_subject(caller, collection, id, only_if, why)

    def _is_free(self, where: Collection, subject: Subject) -> bool:
        """Whether no legal hold is on a subject."""
        try:
            self._records.require_unheld(where, subject.id)
        except LegalHold:
            return False
        return True

    def _given_faces(self, where: Collection, subject: Subject) -> list[Subject]:
        """The single faces that were given to a subject as a user."""
        if HAS_FACES not in subject.metadata:
            return []
        roster = self._live.of(where).roster
        found = roster.labels_with({USER_ID: subject.id})
        labels = [] if found is None else found[0].tolist()
        owners = sorted({key for label in labels if (key := roster.owner(label)) is not None})
        return list(self._records.subjects(where, owners).values())

    @staticmethod
    def _require_anywhere(caller: Caller, permission: Permission) -> None:
        if not caller.principal.may_anywhere(permission):
            raise PermissionDenied(f"this needs the permission {permission.value!r}, which the credential lacks")


def _largest(encoder: FaceEncoder, image: bytes, which: str = "image") -> EncodedFace:
    faces = encoder.encode(image, largest_only=True)
    if not faces:
        raise FaceNotFound(f"no face was found in {which}")
    return faces[0]
