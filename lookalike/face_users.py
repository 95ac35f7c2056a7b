"""The use cases of users: people to whom faces are associated, made, listed and searched as one.

A user is a subject that is no single face; its faces are its own samples and the faces that carry its id as a mark. So
a user that was enrolled by the service's own calls is one too. An association moves nothing: each face stays sealed
under its own key, and is erased by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from lookalike import domain
from lookalike.answers import Caller
from lookalike.consent import require_consent
from lookalike.domain import Collection, Embeddings, Face, Floats, Kind, Permission, Space, Subject
from lookalike.errors import Conflict, FaceNotFound, InvalidInput, LimitExceeded, SampleNotFound, SubjectNotFound
from lookalike.face_marks import HAS_FACES, IMAGE_ID, USER_ID, People
from lookalike.faces import FaceRecords, Faces
from lookalike.fusion import fuse, template
from lookalike.gallery import Gallery
from lookalike.inputs import rate
from lookalike.live import Answering
from lookalike.on_record import on_record
from lookalike.pending import refuse_alone
from lookalike.ports import AuditLog

MAX_FACES_OF_USER = 100

OTHER_USER, NOT_FOUND, UNLIKE = "associated_to_a_different_user", "face_not_found", "low_match_confidence"


@dataclass(frozen=True, slots=True)
class UserMatch:
    """A user near a probe. fmr: the chance that two people's pictures score as high."""

    subject: Subject
    fmr: float


@dataclass(frozen=True, slots=True)
class UserSearch:
    """searched: the face of the picture that was searched; others: its smaller faces."""

    matches: tuple[UserMatch, ...]
    space: Space
    searched: Face | None = None
    others: tuple[Face, ...] = ()


@dataclass(frozen=True, slots=True)
class Association:
    """What became of one face. refused: a stable word, None where it was done; user, fmr: where they explain it."""

    id: str
    refused: str | None = None
    user: str | None = None
    fmr: float | None = None


class FaceUsers:
    """Users of a collection. Thread-safe, and several processes may share the records."""

    def __init__(
        self,
        records: FaceRecords,
        audit: AuditLog,
        gallery: Gallery,
        faces: Faces,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._audit = audit
        self._gallery = gallery
        self._faces = faces
        self._clock = clock

    # ------------------------------------------------------------------------------ create, list, delete

    def create(self, caller: Caller, name: str, user: str) -> Subject:
        """Raises: CollectionNotFound, WrongKind, ConsentRequired; Conflict if there is a user or a face of this id."""
        with on_record(self._audit, caller, "user.create", Permission.ENROL, name, user) as record:
            where = self._where(name)
            try:
                self._records.subject(where, domain.subject_id(user))
            except SubjectNotFound:
                require_consent(where, None, 0.0)
                stored = self._records.put_subject(where, Subject("", user, {}), record.commit())
                self._gallery.live.catch_up()
                return stored
            raise Conflict("there is a user of this id already")

    def page(
        self, caller: Caller, name: str, limit: int, after_key: str = ""
    ) -> tuple[list[tuple[Subject, bool]], str | None]:
        """Users with whether each has a face, by their random keys, and where the next page begins, None at the end.

        Raises: CollectionNotFound, WrongKind.
        """
        with on_record(self._audit, caller, "user.list", Permission.READ, name) as record:
            live = self._gallery.live.of(self._where(name))
            people = self._faces.people(live)
            keys = [key for key in people.users if key > after_key][: limit + 1]
            held = self._records.subjects(live.collection, keys[:limit])
            users = [held[key] for key in keys[:limit] if key in held]
            record.details.update(users=len(users))
            shown = [(user, bool(_labels(live, people, user))) for user in users]
            return shown, keys[limit - 1] if len(keys) > limit else None

    def count(self, caller: Caller, name: str) -> int:
        """How many users a collection has. Raises: CollectionNotFound, WrongKind."""
        with on_record(self._audit, caller, "user.list", Permission.READ, name):
            return len(self._faces.people(self._gallery.live.of(self._where(name))).users)

    def delete(self, caller: Caller, name: str, user: str) -> None:
        """Let go of its faces, and erase it with the samples that are its own.

        Raises: CollectionNotFound, WrongKind, SubjectNotFound.
        """
        with on_record(self._audit, caller, "user.delete", Permission.ERASE, name, user) as record:
            where, subject = self._user(name, user)
            people = self._faces.people(self._gallery.live.of(where))
            freed = self._records.subjects(where, people.faces.get(user, ()))
            for face in freed.values():
                self._mark(where, face, user, None, record.entry())
            record.details.update(faces=len(freed))
            self._gallery.live.catch_up()
            self._gallery.erase_subject(caller, name, subject.id)

    # ---------------------------------------------------------------------------- associate, disassociate

    def associate(self, caller: Caller, name: str, user: str, ids: Sequence[str], *, fmr: float) -> list[Association]:
        """Give faces to a user, each that is as like those it has as `fmr` asks; the first one always is.

        Raises: CollectionNotFound, WrongKind, SubjectNotFound, LimitExceeded beyond MAX_FACES_OF_USER.
        """
        with on_record(self._audit, caller, "user.associate", Permission.ENROL, name, user) as record:
            where, subject = self._user(name, user)
            self._records.change_same(where, subject, _with_faces(self._clock()), record.entry(), overwrites=False)
            live = self._gallery.live.of(where)
            bar = live.calibration.threshold_for_fmr(rate(fmr, "fmr")).similarity
            own = self._faces.numbers_of_user(live, user)
            if len(own) + len(set(ids)) > MAX_FACES_OF_USER:
                raise LimitExceeded(f"a user has at most {MAX_FACES_OF_USER} faces")
            vectors = _vectors(live, own)
            done = []
            for id in dict.fromkeys(ids):
                found, vectors = self._associated(live, user, id, vectors, bar, record.entry())
                done.append(found)
            record.details.update(faces=sum(found.refused is None for found in done))
            self._gallery.live.catch_up()
            return done

    def _associated(
        self, live: Answering, user: str, id: str, vectors: Floats, bar: float, entry: domain.AuditEntry
    ) -> tuple[Association, Floats]:
        """What became of a face, and the user's vectors with it. vectors: (N, D)."""
        face = self._faces.find(live.collection, id)
        vector = _vectors(live, [face.number]) if face is not None else vectors[:0]
        if face is None or not len(vector):
            return Association(id, NOT_FOUND), vectors
        if face.user is not None:
            return Association(id, None if face.user == user else OTHER_USER, face.user), vectors
        if len(vectors):
            similarity = float(np.clip(vector[0] @ template(vectors), -1, 1))
            if similarity < bar:
                return Association(id, UNLIKE, None, live.calibration.fmr(similarity)), vectors
        try:
            self._mark(live.collection, face.subject, None, user, entry)
        except SubjectNotFound:
            return Association(id, NOT_FOUND), vectors
        except Conflict:
            return Association(id, OTHER_USER), vectors
        return Association(id), np.concatenate([vectors, vector])

    def disassociate(self, caller: Caller, name: str, user: str, ids: Sequence[str]) -> tuple[list[Association], bool]:
        """Take faces from a user, and whether any is left. Samples of its own stay, as not found.

        Raises: CollectionNotFound, WrongKind, SubjectNotFound.
        """
        with on_record(self._audit, caller, "user.disassociate", Permission.ENROL, name, user) as record:
            where, _ = self._user(name, user)
            done = [self._freed(where, user, id, record.entry()) for id in dict.fromkeys(ids)]
            record.details.update(faces=sum(found.refused is None for found in done))
            self._gallery.live.catch_up()
            return done, bool(self._faces.numbers_of_user(self._gallery.live.of(where), user))

    def _freed(self, where: Collection, user: str, id: str, entry: domain.AuditEntry) -> Association:
        face = self._faces.find(where, id)
        if face is None or face.user is None or not face.alone:
            return Association(id, NOT_FOUND)
        if face.user != user:
            return Association(id, OTHER_USER, face.user)
        try:
            self._mark(where, face.subject, user, None, entry)
        except (SubjectNotFound, Conflict):
            return Association(id, NOT_FOUND)
        return Association(id)

    def _mark(
        self, where: Collection, face: Subject, before: str | None, after: str | None, entry: domain.AuditEntry
    ) -> None:
        """Change whose a face is. Raises: SubjectNotFound; Conflict if it is not `before`'s any more."""

        def marked(now: Subject) -> Subject:
            if now.metadata.get(USER_ID) != before:
                raise Conflict("the face was given to another user meanwhile")
            kept = {name: value for name, value in now.metadata.items() if name != USER_ID}
            return replace(now, metadata=kept if after is None else kept | {USER_ID: after})

        self._records.change_same(where, face, marked, entry, overwrites=before is not None)

    # --------------------------------------------------------------------------------------------- search

    def search(
        self,
        caller: Caller,
        name: str,
        *,
        limit: int,
        fmr: float,
        user: str | None = None,
        face: str | None = None,
        image: bytes | None = None,
        min_quality: float = 0.0,
    ) -> UserSearch:
        """Users like a user, a face that is kept, or the largest face of a picture: exactly one is given.

        Raises: CollectionNotFound, WrongKind, SubjectNotFound, SampleNotFound, FaceNotFound, InvalidInput.
        """
        with on_record(self._audit, caller, "user.search", Permission.IDENTIFY, name, user) as record:
            if [user, face, image].count(None) != 2:
                raise InvalidInput("a user, a face or a picture is searched: give exactly one")
            live = self._gallery.live.of(self._where(name))
            refuse_alone(live.collection)
            seen = live.encoder.encode(image) if image is not None else []
            if image is not None and (not seen or seen[0].face.quality.score < min_quality):
                raise FaceNotFound("no face was found in the picture" if not seen else "the face is of too low quality")
            query = seen[0].vector if seen else self._kept_vector(live, user, face)
            bar = live.calibration.threshold_for_fmr(rate(fmr, "fmr")).similarity
            near = self._near(live, query, limit if user is None else limit + 1)
            matches = tuple(
                UserMatch(subject, live.calibration.fmr(similarity))
                for subject, similarity in near
                if similarity >= bar and subject.id != user
            )[:limit]
            record.details.update(matched=",".join(match.subject.key for match in matches))
            others = tuple(other.face for other in seen[1:])
            return UserSearch(matches, live.collection.space, seen[0].face if seen else None, others)

    def _kept_vector(self, live: Answering, user: str | None, face: str | None) -> Floats:
        """(D,). Raises: SubjectNotFound, SampleNotFound."""
        if user is not None:
            numbers = self._faces.numbers_of_user(live, user)
        else:
            found = self._faces.find(live.collection, face or "")
            numbers = [] if found is None else [found.number]
        vectors = _vectors(live, numbers)
        if not len(vectors):
            raise SampleNotFound("there is no such face, or the user has none")
        return template(vectors)

    def _near(self, live: Answering, query: Floats, limit: int) -> list[tuple[Subject, float]]:
        """The users nearest to a vector (D,), most similar first, each by all its faces."""
        people, roster = self._faces.people(live), live.roster
        total = len(people.labels)
        k = min(total, 4 * limit + 16)
        while k:
            hits = roster.index.search(Embeddings(live.collection.space, query[None, :]), k, people.labels)[0]
            owners = dict.fromkeys(key for hit in hits if (key := roster.owner(hit.label)) is not None)
            users = {key: people.user_of.get(key, key) for key in owners}
            if k >= total or len(set(users.values())) >= limit:
                found = self._scored(live, people, query, users)
                if k >= total or len(found) >= limit:
                    return found[:limit]
            k = min(total, 4 * k)
        return []

    def _scored(
        self, live: Answering, people: People, query: Floats, users: Mapping[str, str]
    ) -> list[tuple[Subject, float]]:
        """The users to whom these subjects belong. users: of a face's key the user's id, of a user's own key itself."""
        own = self._records.subjects(live.collection, [key for key in users if key not in people.user_of])
        found = {subject.id: subject for subject in own.values()}
        for id in {users[key] for key in users if key in people.user_of} - found.keys():
            with suppress(SubjectNotFound):  # whoever was erased by the service's own calls is nobody's user any more
                found[id] = self._records.subject(live.collection, id)
        good, scored = self._gallery.good(live.collection, {subject.key for subject in found.values()}), []
        for subject in found.values():
            vectors = _vectors(live, _labels(live, people, subject))
            if len(vectors) and subject.key in good:
                scored.append((subject, fuse(query, vectors, live.roster.fusion)))
        return sorted(scored, key=lambda pair: -pair[1])

    # --------------------------------------------------------------------------------------------- inside

    def _where(self, name: str) -> Collection:
        where = self._records.collection(name)
        where.require(Kind.FACE)
        return where

    def _user(self, name: str, user: str) -> tuple[Collection, Subject]:
        """Raises: SubjectNotFound, also for the id of a single face."""
        where = self._where(name)
        subject = self._records.subject(where, user)
        if IMAGE_ID in subject.metadata:
            raise SubjectNotFound("there is no such user")
        return where, subject


def _with_faces(now: float) -> Callable[[Subject], Subject]:
    """Marks a user, who is kept from now on as long as the faces that it is given."""
    return lambda user: replace(user, metadata={**user.metadata, HAS_FACES: "1"}, renewed_at=now)


def _labels(live: Answering, people: People, user: Subject) -> list[int]:
    """The labels of a user's faces."""
    keys = (user.key, *people.faces.get(user.id, ()))
    return [number for key in keys for number in live.roster.numbers(key)]


def _vectors(live: Answering, numbers: Sequence[int]) -> Floats:
    """(N, D) of those that can be searched at present."""
    if numbers:
        try:
            return live.roster.index.vectors(list(numbers))
        except KeyError:  # one was erased in between, or has no template in the present model
            found = [rows for number in numbers if (rows := _one(live, number)) is not None]
            if found:
                return np.concatenate(found)
    return np.zeros((0, live.collection.space.dimension), np.float32)


def _one(live: Answering, number: int) -> Floats | None:
    try:
        return live.roster.index.vectors([number])
    except KeyError:
        return None
