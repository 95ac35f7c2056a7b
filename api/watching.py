"""From a camera's frames to decisions: each face is followed, its best shots are kept, and one decision is asked for.

A track is asked about once it has enough good shots, or soon after it began with what there is. One that matches nobody
is asked about again with better shots, a few times, and is unknown only then or when it ends. Nothing of a frame is
kept but cut-outs of the faces in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np

from embedder.align import align_face
from embedder.detect import Detection, Detector
from embedder.images import encode_jpeg
from embedder.quality import assess
from embedder.tracking import FaceTracker
from embedder.video import Frame
from lookalike.domain import Box, Pixels

APART_S = 0.15
"""Shots of one moment show the same; the better one of them is kept."""

MARGIN = 0.6
"""Of a face's longer side, cut out around it: who embeds it finds and aligns it anew."""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """zones: polygons in shares of the frame's width and height, of which a face's centre must lie in one; none is all.

    shots: that one decision wants; after_s: it is asked for with fewer; tries: of a track that matches nobody;
    absence_s: a track that was not seen for so long has ended; cooldown_s: the same subject is not told again within.
    """

    zones: tuple[tuple[tuple[float, float], ...], ...] = ()
    min_face_px: int = 40
    shots: int = 3
    after_s: float = 1.0
    tries: int = 3
    absence_s: float = 2.0
    cooldown_s: float = 60.0
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Who it is; None for nobody enrolled."""

    subject: str | None
    similarity: float | None = None
    fpir: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Of one track. at: when it was decided; began: when the track did; frames: how many shots it rests on."""

    track: int
    answer: Answer
    at: float
    began: float
    frames: int


@dataclass(frozen=True, slots=True, repr=False)
class Shot:
    at: float
    score: float
    jpeg: bytes


@dataclass(slots=True, repr=False)
class Track:
    """A face that is followed. asked: how often one answered that it matches nobody."""

    id: int
    began: float
    seen: float
    shots: list[Shot] = field(default_factory=list)
    asked: int = 0
    asked_at: float = 0.0
    asked_score: float = 0.0
    waiting: bool = False
    decided: bool = False

    def take(self, shot: Shot, most: int) -> None:
        """Keep it among the best."""
        near = next((s for s in self.shots if abs(s.at - shot.at) < APART_S), None)
        if near is not None:
            if near.score >= shot.score:
                return
            self.shots.remove(near)
        self.shots = sorted([*self.shots, shot], key=lambda s: -s.score)[:most]

    @property
    def score(self) -> float:
        return sum(shot.score for shot in self.shots)


Ask = Callable[[Sequence[bytes], bool], Answer]
"""Who shots of one face show. The second argument: better ones may follow."""


class Watcher:
    """One camera's decisions. Used by one thread; ask runs on `executor`."""

    def __init__(
        self,
        detector: Detector,
        tracker: FaceTracker,
        ask: Ask,
        executor: Executor,
        options: WatchOptions,
        trouble: Callable[[Exception], None],
    ) -> None:
        """trouble: is told why a question was not answered; it is asked again."""
        self._detector = detector
        self._tracker = tracker
        self._ask = ask
        self._executor = executor
        self._options = options
        self._trouble = trouble
        self._tracks: dict[int, Track] = {}
        self._asked: list[tuple[Track, int, Future[Answer], bool]] = []
        self._told: dict[str, float] = {}
        self.frames = 0
        self.faces = 0

    def look(self, frame: Frame) -> list[Decision]:
        """Take the next frame. Returns what was decided since the last one."""
        self.frames += 1
        faces = [face for face in self._detector(frame.pixels) if self._counts(face, frame.pixels)]
        self.faces += len(faces)
        for face, id in zip(faces, self._tracker.follow(faces), strict=True):
            if id is not None:
                self._note(id, face, frame)
        return self.pass_time(frame.at)

    def pass_time(self, now: float) -> list[Decision]:
        """What was decided, where no frame came."""
        for track in list(self._tracks.values()):
            ended = now - track.seen > self._options.absence_s
            if not track.waiting and not track.decided and track.shots and self._is_due(track, now, ended):
                self._submit(track, now, last=ended or track.asked + 1 >= self._options.tries)
            if ended and not track.waiting:
                del self._tracks[track.id]
        return self._answered(now)

    def end(self, now: float) -> list[Decision]:
        """There are no more frames: decide on what is there."""
        found = self._answered(now, wait=True)
        found += self.pass_time(now + 2 * self._options.absence_s)
        return found + self._answered(now, wait=True)

    def _counts(self, face: Detection, pixels: Pixels) -> bool:
        if min(face.box.width, face.box.height) < self._options.min_face_px:
            return False
        height, width = pixels.shape[:2]
        x, y = (face.box.x + face.box.width / 2) / width, (face.box.y + face.box.height / 2) / height
        return not self._options.zones or any(is_inside(x, y, zone) for zone in self._options.zones)

    def _note(self, id: int, face: Detection, frame: Frame) -> None:
        track = self._tracks.setdefault(id, Track(id, frame.at, frame.at))
        track.seen = frame.at
        if track.decided:
            return
        height, width = frame.pixels.shape[:2]
        quality = assess(align_face(frame.pixels, face.landmarks), face.box, face.landmarks, width, height)
        if quality.reasons and track.shots:
            return
        worst = min((shot.score for shot in track.shots), default=0.0)
        if len(track.shots) < self._options.shots or quality.score > worst:
            jpeg = encode_jpeg(cut_out(frame.pixels, face.box))
            track.take(Shot(frame.at, quality.score, jpeg), self._options.shots)

    def _is_due(self, track: Track, now: float, ended: bool) -> bool:
        options = self._options
        if track.asked == 0:
            return ended or len(track.shots) >= options.shots or now - track.began >= options.after_s
        if ended:
            return True
        return now - track.asked_at >= options.after_s and track.score > 1.02 * track.asked_score

    def _submit(self, track: Track, now: float, last: bool) -> None:
        track.waiting, track.asked_at, track.asked_score = True, now, track.score
        jpegs = [shot.jpeg for shot in track.shots]
        self._asked.append((track, len(jpegs), self._executor.submit(self._ask, jpegs, not last), last))

    def _answered(self, now: float, wait: bool = False) -> list[Decision]:
        found, left = [], []
        for track, frames, future, last in self._asked:
            if not wait and not future.done():
                left.append((track, frames, future, last))
                continue
            track.waiting = False
            try:
                answer = future.result()
            except Exception as error:  # the service is away or busy: the next look asks again
                self._trouble(error)
                continue
            track.asked += 1
            if answer.subject is None and not last:
                continue
            track.decided = True
            track.shots.clear()
            if self._is_told(answer, now):
                found.append(Decision(track.id, answer, now, track.began, frames))
        self._asked = left
        return found

    def _is_told(self, answer: Answer, now: float) -> bool:
        if answer.subject is None:
            return self._options.unknown
        before = self._told.get(answer.subject)
        self._told[answer.subject] = now
        return before is None or now - before >= self._options.cooldown_s


def cut_out(pixels: Pixels, box: Box) -> Pixels:
    """The face with some of what is around it, as far as the frame goes: (H, W, 3) uint8."""
    margin = MARGIN * max(box.width, box.height)
    top, left = max(0, int(box.y - margin)), max(0, int(box.x - margin))
    bottom, right = int(box.y + box.height + margin), int(box.x + box.width + margin)
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def is_inside(x: float, y: float, polygon: Sequence[tuple[float, float]]) -> bool:
    """Whether a point lies in a polygon: an odd number of its edges is crossed on the way out."""
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside
