"""Searching a collection: the faces of a picture, the picture, its parts, or its near duplicates, among the enrolled.

Every search answers through the generation that is asked, gives candidates only whom the rules allow now, and notes
whom it did not know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lookalike import inputs
from lookalike.answers import (
    Caller,
    Identification,
    IdentifiedFace,
)
from lookalike.calibration import Calibration, uncalibrated
from lookalike.domain import (
    Box,
    Candidate,
    Collection,
    Embeddings,
    EncodedFace,
    Keep,
    Kind,
    Labels,
    Permission,
    Subject,
    Threshold,
    TrialMode,
)
from lookalike.enrolment import Enroller
from lookalike.errors import (
    FaceNotFound,
    InvalidInput,
    ModelNotAvailable,
    NotCalibrated,
)
from lookalike.events import matched
from lookalike.live import Answering, Live
from lookalike.pending import PendingAnswers, refuse_alone
from lookalike.pending_store import PendingStore
from lookalike.ports import AuditLog, Models, Records
from lookalike.probe_log import ProbeLog
from lookalike.regions import Seen, places, windows
from lookalike.roster import Ranked
from lookalike.rosters import Rosters
from lookalike.stages import Stage, staged, watching
from lookalike.standing import Standing, standings
from lookalike.trials import Trials, timed
from lookalike.unknown_store import UnknownStore
from lookalike.unknowns import UnknownFaces

DEFAULT_FMR = 0.001
"""The false match rate that verify and compare aim at unless asked for another."""

DEFAULT_MAX_REGIONS = 300

MAX_FRAMES = 8
"""Frames of one sighting; the mean of more changes little."""

NEAR_DUPLICATE = 0.98
"""How far two pictures must be the same to be near duplicates (docs/measured.md: copies from 0.982 on)."""

MOST_LOOKED_AT = 2_000
"""Subjects opened for one face, at most, to find those who may be candidates among those who may not."""

DUPLICATES_AMONG = 50
"""Samples nearest by their vectors whose pictures are compared."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """What an identify or a search asks for besides its picture."""

    limit: int
    threshold: float | None
    fpir: float | None
    metadata: Mapping[str, str]
    fmr: float | None = None
    largest_only: bool = False
    box: Box | None = None
    near_duplicates: bool = False
    regions: bool = False
    more: tuple[bytes, ...] = ()
    camera: str | None = None
    tentative: bool = False
    hold: bool = False


class Searcher(Enroller):
    """Finds the enrolled in pictures. Thread-safe."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        rosters: Rosters,
        models: Models,
        trials: Trials,
        probes: ProbeLog | None = None,
        max_regions: int = DEFAULT_MAX_REGIONS,
        unknown_store: UnknownStore | None = None,
        pending_store: PendingStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """max_regions: parts of one picture that a search by regions looks at, at most.

        unknown_store: where faces that match nobody are kept, for collections that keep them; pending_store: where
        identifications wait, for collections that ask for two people.
        """
        super().__init__(records, audit, rosters, models, clock)
        self._trials = trials
        self._probes = probes or ProbeLog(None)
        self._max_regions = max_regions
        self.unknowns = UnknownFaces(records, audit, models, self._live, unknown_store, clock=clock)
        self.pending = PendingAnswers(records, audit, self.good, pending_store, clock)

    @property
    def live(self) -> Live:
        """What answers for a collection, for the use cases beside these."""
        return self._live

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
        fmr: float | None = None,
        metadata: Mapping[str, str] | None = None,
        hold: bool = False,
    ) -> Identification:
        """Search each face among the enrolled; whoever is not enrolled gets no candidate.

        hold: the caller can tell what waits for two people, where the collection asks for them; others are refused.

        threshold: a similarity, 0 to 1; fpir: the false-alarm rate to aim at instead of the collection's own; fmr: the
        false match rate to aim at with each subject, whatever the gallery's size.
        Raises: FaceNotFound, CollectionNotFound, WrongKind, InvalidInput, FourEyesRequired.
        """
        ask = _Ask(limit, threshold, fpir, metadata or {}, fmr, largest_only, hold=hold)
        return self._ask(caller, "identify", collection, Kind.FACE, image, ask)

    def sight(
        self,
        caller: Caller,
        collection: str,
        frames: Sequence[bytes],
        *,
        camera: str | None = None,
        tentative: bool = False,
        limit: int = 5,
        fpir: float | None = None,
    ) -> Identification:
        """Who somebody is whom a camera saw in several frames: one decision, by the largest faces' mean vector.

        Frames that show somebody else than the best one does are left out. camera: its name, for the record and for
        events; tentative: better frames may follow, so that a match counts, and no match is not told as an event.
        Raises: FaceNotFound where no frame shows a face, CollectionNotFound, WrongKind, InvalidInput.
        """
        if not 1 <= len(frames) <= MAX_FRAMES:
            raise InvalidInput(f"frames: 1 to {MAX_FRAMES} are allowed")
        name = None if camera is None else inputs.camera(camera)
        first, *more = frames
        ask = _Ask(limit, None, fpir, {}, largest_only=True, more=tuple(more), camera=name, tentative=tentative)
        return self._ask(caller, "identify", collection, Kind.FACE, first, ask)

    def search(
        self,
        caller: Caller,
        collection: str,
        image: bytes,
        *,
        box: Box | None = None,
        limit: int = 5,
        threshold: float | None = None,
        fpir: float | None = None,
        metadata: Mapping[str, str] | None = None,
        near_duplicates: bool = False,
        regions: bool = False,
    ) -> Identification:
        """Search a picture, or what is in its box, in a collection of pictures; the one "face" is what was searched.

        threshold, fpir: as for `identify`. Without a calibration and without a threshold the nearest are given, and no
        rate is promised. near_duplicates: give only what is the same picture, encoded, resized or cropped differently.
        regions: look for places with an enrolled thing and give these, most similar first, each as a "face".
        Raises: CollectionNotFound, WrongKind, NotCalibrated, InvalidInput.
        """
        ask = _Ask(limit, threshold, fpir, metadata or {}, box=box, near_duplicates=near_duplicates, regions=regions)
        return self._ask(caller, "search", collection, Kind.IMAGE, image, ask)

    def _ask(self, caller: Caller, action: str, collection: str, kind: Kind, image: bytes, ask: _Ask) -> Identification:
        with self._on_record(caller, action, Permission.IDENTIFY, collection) as record:
            if not 1 <= ask.limit <= 100:
                raise InvalidInput("limit: 1 to 100 are allowed")
            where = self._records.collection(collection)
            where.require(kind)
            if not ask.hold or ask.metadata:
                refuse_alone(where)  # a filter that finds somebody would tell what is known of them
            if ask.regions and (ask.box is not None or ask.near_duplicates):
                raise InvalidInput(
                    "regions: the whole picture is looked through, so box and near_duplicates are not allowed with it"
                )
            if ask.near_duplicates:
                found = self._duplicates(where, image, ask)
            elif kind is Kind.FACE:
                found = self._probes.noting(where, lambda: self._answer(where, image, ask), unfiltered=not ask.metadata)
            else:
                found = self._answer(where, image, ask)
            record.details.update(
                faces=len(found.faces),
                threshold=round(found.threshold.similarity, 4),
                generation=found.generation,
                **matched(found.faces),
                **({"unknown": len(found.strangers)} if where.keep_unknown_days is not None else {}),
                **({} if found.regions is None else {"regions": found.regions}),
            )
            if (watch := watching()) is not None:
                watch.answered(found.known, len(found.faces) - found.known)
            if ask.camera is not None:
                record.details.update(camera=ask.camera, frames=1 + len(ask.more), tentative=int(ask.tentative))
            if where.four_eyes_days is not None and any(face.candidates for face in found.faces):
                # By a name of its own: whoever reads identifications off the log must not take it for one.
                record.action = f"{action}.pending"
                record.details.update(pending=sum(bool(face.candidates) for face in found.faces))
                held = self.pending.hold(caller, where, found.faces, record.commit())
                found = replace(found, faces=(), held=held)
        if found.generation == where.generation and not ask.tentative:
            self.unknowns.note(where, found.strangers)
        return found

    def _answer(self, where: Collection, image: bytes, ask: _Ask) -> Identification:
        """The active generation's answer, or for its share of the probes a canary's; a trial's pairs are counted."""

        def active() -> Identification:
            return self._search(self._live.of(where), image, ask)

        tried = self._trials.chosen(where) if ask.threshold is None else None
        if tried is None or where.trial is None:
            return active()
        view = where.seen_as(tried)

        def other() -> Identification:
            return self._search(self._live.exactly(view), image, ask)

        canary = where.trial.mode is TrialMode.CANARY
        found: list[Identification] = []
        try:
            seen = timed(lambda: _first(found, other() if canary else active()))
        except Exception as error:
            if not canary or _is_the_caller_s_fault(error):
                raise
            self._trials.failed(where)
            return active()
        if canary:
            self._trials.compare(where, lambda: timed(lambda: _first([], active())), lambda: seen)
        else:
            self._trials.compare(where, lambda: seen, lambda: timed(lambda: _first([], other())))
        return found[0]

    def _search(self, live: Answering, image: bytes, ask: _Ask) -> Identification:
        """What one generation answers. Raises: FaceNotFound, InvalidInput."""
        if ask.regions:
            return self._search_regions(live, image, ask)
        where, roster = live.collection, live.roster
        faces = _looked_for(live, image, ask)
        selection = roster.labels_with(ask.metadata)
        size = len(roster) if selection is None else selection[1]
        if ask.fmr is not None:
            bar = Threshold(for_fmr(live.calibration, ask.fmr).similarity, "explicit", None, size)
        else:
            bar = _decide(live, size, ask.threshold, ask.fpir)
        queries = Embeddings(where.space, np.stack([face.vector for face in faces]))
        ranked, kept = self._ranked(live, queries, ask.limit, None if selection is None else selection[0], bar)
        hits = [[r for r in row if r.similarity >= bar.similarity] for row in kept]
        answers = self.candidates(live, size, hits)
        nearest = [tuple(r.similarity for r in row[:2]) for row in ranked]
        crops = [face.crop if where.four_eyes_days is not None else None for face in faces]
        identified = tuple(
            IdentifiedFace(f.face, c, n, crop) for f, c, n, crop in zip(faces, answers, nearest, crops, strict=True)
        )
        strangers = _strangers(live, faces, nearest) if where.keep_unknown_days is not None and not ask.metadata else ()
        return Identification(identified, bar, where.space.model, where.generation, strangers=strangers)

    def _search_regions(self, live: Answering, image: bytes, ask: _Ask) -> Identification:
        """Each place of a picture that shows something enrolled, most similar first.

        Every part that is looked at may raise a false alarm, so the rate is the picture's: each part gets its share of
        it, which bounds it by the union of all (Bonferroni). Raises: NotCalibrated, InvalidInput.
        """
        where, roster = live.collection, live.roster
        if ask.threshold is None and ask.fpir is None and live.known is None:
            raise NotCalibrated("regions: something decides what is there, so give a threshold, or calibrate first")
        selection = roster.labels_with(ask.metadata)
        size, allowed = (len(roster), None) if selection is None else (selection[1], selection[0])
        picture = live.pictures.opened(image)
        boxes = windows(*picture.size, self._max_regions)
        bar = _decide(live, size, ask.threshold, ask.fpir, parts=len(boxes))
        _, ranked = self._ranked(live, picture.embed(boxes), ask.limit, allowed, bar)
        seen = [Seen(box, tuple(near)) for box, near in zip(boxes, ranked, strict=True) if near]
        found = places(seen, bar.similarity)
        hits = [[r for r in place.ranked if r.similarity >= bar.similarity] for place in found]
        answers = self.candidates(live, size, hits, parts=len(boxes))
        identified = tuple(
            IdentifiedFace(picture.face(place.box), candidates)
            for place, candidates in zip(found, answers, strict=True)
            if candidates
        )
        return Identification(identified, bar, where.space.model, where.generation, len(boxes))

    def _duplicates(self, where: Collection, image: bytes, ask: _Ask) -> Identification:
        """Of the samples nearest by their vectors those that are the same picture, each subject once, likest first."""
        if ask.threshold is not None or ask.fpir is not None:
            raise InvalidInput("near_duplicates: pixels decide, so threshold and fpir are not allowed with it")
        if where.keep is Keep.NONE:
            raise InvalidInput("near_duplicates: pictures are compared, and this collection keeps none (keep: none)")
        live = self._live.of(where)
        (probe,) = _looked_for(live, image, ask)
        selection = live.roster.labels_with(ask.metadata)
        size = len(live.roster) if selection is None else selection[1]
        queries = Embeddings(live.collection.space, probe.vector[None, :])
        near = live.roster.nearest(queries, DUPLICATES_AMONG, None if selection is None else selection[0])
        samples = {s.number: s for s in self._records.samples_numbered(live.collection, [r.number for r in near])}
        kept = self._records.crops(live.collection, list(samples.values()))
        compared = [r for r in near if r.number in samples and samples[r.number].id in kept]
        found = live.pictures.likeness(image, [kept[samples[r.number].id] for r in compared], ask.box)
        good = self.good(live.collection, {r.subject_key for r in compared})
        likest: dict[str, tuple[float, Ranked]] = {}
        for likeness, ranked in sorted(zip(found, compared, strict=True), key=lambda pair: -pair[0]):
            if likeness >= NEAR_DUPLICATE and ranked.subject_key in good:
                likest.setdefault(ranked.subject_key, (likeness, ranked))
        hits = list(likest.values())[: ask.limit]
        (candidates,) = self.candidates(live, size, [[ranked for _, ranked in hits]])
        candidates = tuple(replace(c, likeness=likest[c.subject.key][0]) for c in candidates)
        bar = Threshold(-1.0, "near_duplicates", None, size)
        return Identification(
            (IdentifiedFace(probe.face, candidates),), bar, live.collection.space.model, live.collection.generation
        )

    @staged(Stage.RECORDS)
    def candidates(
        self, live: Answering, size: int, hits: list[list[Ranked]], parts: int = 1
    ) -> list[tuple[Candidate, ...]]:
        """The subjects of these hits that may be candidates now: their records are opened, and no others.

        parts: of the picture, searched.
        """
        collection, known = live.collection, live.known
        matched = [r for row in hits for r in row]
        if not matched:
            return [() for _ in hits]
        subjects = self._records.subjects(collection, sorted({r.subject_key for r in matched}))
        samples = {s.number: s.id for s in self._records.samples_numbered(collection, [r.number for r in matched])}
        found = self._standings(collection, subjects)
        return [
            tuple(
                Candidate(
                    subject,
                    samples[r.number],
                    r.similarity,
                    None if known is None else min(parts * known.fpir(r.similarity, size), 1.0),
                    fmr=None if known is None else known.fmr(r.similarity),
                )
                for r in row
                if (subject := subjects.get(r.subject_key)) is not None
                and r.number in samples
                and found[r.subject_key] is Standing.GOOD
            )
            for row in hits
        ]

    def _ranked(
        self, live: Answering, queries: Embeddings, limit: int, allowed: Labels | None, bar: Threshold
    ) -> tuple[list[list[Ranked]], list[list[Ranked]]]:
        """The nearest subjects of each query, and the `limit` nearest without those who may not be candidates.

        Whoever reaches the bar and is not valid, past retention or without consent takes no place of others.
        """
        asked = limit
        while True:
            ranked = live.roster.rank(queries, asked, allowed)
            over = [[r for r in row if r.similarity >= bar.similarity] for row in ranked]
            matched = {r.subject_key for row in over for r in row}
            good = self.good(live.collection, matched)
            enough = all(len(row) < asked or sum(r.subject_key in good for r in row) >= limit for row in over)
            if enough or asked >= MOST_LOOKED_AT:
                out = matched - good
                return ranked, [[r for r in row if r.subject_key not in out][:limit] for row in ranked]
            asked *= 2

    @staged(Stage.RECORDS)
    def good(self, where: Collection, keys: set[str]) -> set[str]:
        """Those of these subjects that may be candidates now."""
        subjects = self._records.subjects(where, sorted(keys)) if keys else {}
        return {key for key, found in self._standings(where, subjects).items() if found is Standing.GOOD}

    def _standings(self, where: Collection, subjects: Mapping[str, Subject]) -> dict[str, Standing]:
        enrolled = self._records.last_enrolled(subjects) if where.retention_days is not None else {}
        return standings(where, subjects, enrolled, self._clock())


def _looked_for(live: Answering, image: bytes, ask: _Ask) -> list[EncodedFace]:
    """The faces of a picture, or in a collection of pictures what is searched of it. Raises: FaceNotFound."""
    if ask.box is not None:
        return [live.pictures.encode_part(image, ask.box)]
    where = live.collection
    crops = (where.keep_unknown_days is not None and where.keep is not Keep.NONE) or where.four_eyes_days is not None
    faces = live.encoder.encode(image, largest_only=ask.largest_only, crops=crops)
    if ask.more:
        for frame in ask.more:
            faces += live.encoder.encode(frame, largest_only=True, crops=crops)
        faces = [_of_one_person(live, faces)] if faces else []
    if not faces:
        raise FaceNotFound("no face was found in the picture")
    return faces


def _of_one_person(live: Answering, faces: Sequence[EncodedFace]) -> EncodedFace:
    """The best face, with the mean of the vectors of all that are verified as the same person."""
    best = max(faces, key=lambda face: face.face.quality.score)
    bar = for_fmr(live.calibration, None).similarity
    same = [face.vector for face in faces if float(face.vector @ best.vector) >= bar]
    total = np.asarray(np.sum(same, axis=0, dtype=np.float64))
    return replace(best, vector=np.asarray(total / np.linalg.norm(total), np.float32))


def _strangers(
    live: Answering, faces: Sequence[EncodedFace], nearest: Sequence[tuple[float, ...]]
) -> tuple[EncodedFace, ...]:
    """Faces fit to be enrolled that nobody enrolled comes near to, whatever bar a caller chose for the answer."""
    own = live.threshold(live.collection.target_fpir).similarity
    keeps = live.collection.keep is not Keep.NONE
    return tuple(
        face if keeps else replace(face, crop=None)
        for face, near in zip(faces, nearest, strict=True)
        if not face.face.quality.reasons and (not near or near[0] < own)
    )


def explicit(threshold: float | None, size: int) -> Threshold | None:
    """The threshold that a caller gave. Raises: InvalidInput."""
    return None if threshold is None else Threshold(inputs.similarity(threshold), "explicit", None, size)


def _decide(live: Answering, size: int, threshold: float | None, fpir: float | None, parts: int = 1) -> Threshold:
    """What decides: what was asked for, or the collection's own. Raises: NotCalibrated where a rate was asked for.

    parts: of one picture that are searched and share its rate.
    """
    given = explicit(threshold, size)
    if given is not None:
        return given
    if fpir is None and live.known is None:
        return uncalibrated(size)
    rate = inputs.rate(live.collection.target_fpir if fpir is None else fpir, "fpir")
    found = live.calibration.threshold(rate / parts, size)
    if parts == 1 or found.interval is None:
        return found
    return replace(
        found, target=rate, interval=(min(parts * found.interval[0], 1.0), min(parts * found.interval[1], 1.0))
    )


def for_fmr(calibration: Calibration, fmr: float | None) -> Threshold:
    """The similarity for a false match rate, `DEFAULT_FMR` where none is given. Raises: InvalidInput."""
    return calibration.threshold_for_fmr(inputs.rate(DEFAULT_FMR if fmr is None else fmr, "fmr"))


def _is_the_caller_s_fault(error: Exception) -> bool:
    """Whether any generation would have refused this request."""
    return isinstance(error, InvalidInput) and not isinstance(error, ModelNotAvailable)


def _first(kept: list[Identification], found: Identification) -> str | None:
    """The key of the first face's first candidate; `kept` takes the answer."""
    kept.append(found)
    candidates = found.faces[0].candidates if found.faces else ()
    return candidates[0].subject.key if candidates else None
