"""The use cases over a real sealed SQLite store, with an encoder that reads its faces from the "picture" itself."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from index.data_format import DataFolder
from index.exact import ExactIndex
from index.sqlite_rows import SqliteRows
from lookalike.answers import Caller, Picture
from lookalike.domain import Box, Embeddings, EncodedFace, Face, Grant, Kind, Quality, Space
from lookalike.drift_watch import DriftWatch
from lookalike.errors import ModelNotAvailable, UnsupportedImage
from lookalike.gallery import Gallery
from lookalike.probe_log import ProbeLog
from lookalike.reindex import end_trial
from lookalike.rosters import Rosters
from lookalike.thresholds import learn
from lookalike.trials import Trials
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.rbac import principal_for
from security.sealed_faces import SealedFaceRecords
from security.sealed_probe_days import SealedProbeDays
from security.sealed_snapshots import SealedSnapshots
from security.sealed_unknowns import SealedUnknowns

DIMENSION = 64


def face_of(who: int, wobble: float = 0.3, shot: int = 0) -> np.ndarray:
    """A unit vector near a person's own direction."""
    own = np.random.default_rng(who).standard_normal(DIMENSION)
    noise = np.random.default_rng([who, shot, 7]).standard_normal(DIMENSION)
    vector = own / np.linalg.norm(own) + wobble * noise / np.linalg.norm(noise)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def photo(*who: int, shot: int = 0, reasons: tuple[str, ...] = (), **measures: float) -> bytes:
    """A "picture" of these people, the first one largest. measures: what its faces' quality is to say."""
    return json.dumps({"who": who, "shot": shot, "reasons": reasons, "measures": measures}).encode()


class ScriptedEncoder:
    """The port FaceEncoder for pictures made by `photo`."""

    runtime = "scripted"

    def __init__(self, model="scripted", turn=None):
        """turn: an orthogonal matrix, so that another model's vectors are others, and as good."""
        self.space = Space(model, DIMENSION, "none")
        self._turn = np.eye(DIMENSION, dtype=np.float32) if turn is None else turn

    def detect(self, image):
        return [found.face for found in self.encode(image)]

    def encode(self, image, *, largest_only=False, enrolment=False, crops=False):
        try:
            script = json.loads(image)
        except ValueError:
            raise UnsupportedImage("not a picture") from None
        faces = [
            EncodedFace(
                Face(
                    Box(10.0 * n, 0.0, 90.0 - n, 90.0 - n),
                    ((0.0, 0.0),) * 5,
                    0.9,
                    Quality(0.0 if script["reasons"] else 1.0, tuple(script["reasons"]), script["measures"]),
                ),
                self._vector(who, script["shot"]),
                json.dumps([who, script["shot"]]).encode() if crops else None,
            )
            for n, who in enumerate(script["who"])
        ]
        return faces[:1] if largest_only else faces

    def enrollable(self, image):
        found = self.encode(image, crops=True)
        return [f.face for f in found], found[0] if found and not found[0].face.quality.reasons else None

    def encode_crops(self, crops, *, enrolment=False):
        rows = [self._vector(*json.loads(crop)) for crop in crops]
        return Embeddings(self.space, np.stack(rows) if rows else np.zeros((0, DIMENSION), np.float32))

    def _vector(self, who, shot):
        return np.asarray(face_of(who, shot=shot) @ self._turn, np.float32)


class ScriptedPictures(ScriptedEncoder):
    """The port ImageEncoder for pictures made by `photo`: things in the place of people, the first one the picture."""

    def encode(self, image, **options):
        (whole, *_) = super().encode(image, **options)
        return [EncodedFace(Face(whole.face.box, (), 1.0, whole.face.quality), whole.vector, whole.crop)]

    def encode_part(self, image, box):
        """The thing whose place in the picture the box's x says."""
        script = json.loads(image)
        return self.encode(json.dumps({**script, "who": script["who"][int(box.x) :]}).encode())[0]

    def opened(self, image):
        return ScriptedOpenPicture(self, json.loads(image))

    def likeness(self, image, crops, box=None):
        script = json.loads(image)
        thing = script["who"][0 if box is None else int(box.x)]
        return [1.0 if json.loads(crop) == [thing, script["shot"]] else 0.5 for crop in crops]


class ScriptedOpenPicture:
    """The port OpenPicture: things stand side by side in squares of 100 pixels; any other part shows a muddle."""

    def __init__(self, encoder, script):
        self._encoder, self._script = encoder, script
        self.size = (100.0 * len(script["who"]), 100.0)

    def embed(self, boxes):
        return Embeddings(self._encoder.space, np.stack([self._vector(box) for box in boxes]))

    def face(self, box):
        return Face(box, (), 1.0, Quality(1.0))

    def _vector(self, box):
        place, off = divmod(box.x + box.width / 2, 100.0)
        who = self._script["who"][int(place)] if 60 < box.width <= 100 and abs(off - 50) < 20 else 10_000 + int(box.x)
        return self._encoder.encode(json.dumps({**self._script, "who": [who]}).encode())[0].vector


class ScriptedModels:
    """The port Models: "scripted", and "turned", whose vectors are the same turned about; of pictures two as well.

    uncalibrated: names of models whose scores mean nothing yet.
    """

    def __init__(self):
        turn = np.linalg.qr(np.random.default_rng(5).standard_normal((DIMENSION, DIMENSION)))[0].astype(np.float32)
        self.encoders = {"scripted": ScriptedEncoder(), "turned": ScriptedEncoder("turned", turn)}
        self.pictures = {"things": ScriptedPictures("things"), "turned-things": ScriptedPictures("turned-things", turn)}
        self.uncalibrated = set(self.pictures)
        scores = np.random.default_rng(1).standard_normal((120, 400)) / np.sqrt(DIMENSION)
        self._calibration = learn(enumerate(np.clip(scores, -1, 1).astype(np.float32)), resamples=20)

    def default(self, kind):
        for encoder in self._of(kind).values():
            return encoder.space
        raise ModelNotAvailable("no model of this kind")

    def names(self, kind):
        return list(self._of(kind))

    def space(self, kind, model):
        if model not in self._of(kind):
            raise ModelNotAvailable("no such model")
        return self._of(kind)[model].space

    def encoder(self, space):
        known = self.encoders | self.pictures
        if space.model not in known:
            raise ModelNotAvailable("no such model")
        return known[space.model]

    def calibration(self, space):
        return None if space.model in self.uncalibrated else self._calibration

    def _of(self, kind):
        return self.encoders if kind is Kind.FACE else self.pictures


@dataclass
class Clock:
    """Stands still at noon of a day (UTC) until it is moved."""

    now: float = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now

    def later(self, days: int) -> None:
        self.now += 86_400.0 * days


@dataclass
class House:
    """A gallery with what it stands on, as one process has it open."""

    gallery: Gallery
    records: SealedFaceRecords
    audit: SealedAuditLog
    rosters: Rosters
    models: ScriptedModels
    trials: Trials
    probes: ProbeLog
    drift: DriftWatch
    clock: Clock
    rows: SqliteRows
    held: DataFolder

    def close(self) -> None:
        self.trials.close()
        self.rows.close()
        self.held.close()


def exact(url, space, *generation):
    return ExactIndex(space)


def open_at(folder: Path, make_index=exact, servers=None, clock: Clock | None = None) -> House:
    """The data folder as one process has it open. make_index, servers: as Rosters takes them.

    clock: of what is stored, too; without it rows are stamped with the real time.
    """
    held = DataFolder(folder, "test")
    rows = SqliteRows(held.records)
    keyring = open_key_ring("file:keys/root.key", folder, rows)
    stamps = clock or time.time
    clock = clock or Clock()
    audit = SealedAuditLog(rows, keyring, stamps)
    records = SealedFaceRecords(rows, keyring, audit, stamps)
    rosters = Rosters(records, SealedSnapshots(folder / "snapshots", keyring), make_index, servers)
    models = ScriptedModels()
    trials = Trials(end_trial(records, Caller(principal_for("service", ()), "-")), draw=lambda: 0.0)
    days = SealedProbeDays(rows, keyring, audit)
    probes = ProbeLog(days, clock)
    drift = DriftWatch(records, audit, models, days, probes, 90, clock)
    gallery = Gallery(
        records,
        audit,
        rosters,
        models,
        trials,
        probes=probes,
        unknown_store=SealedUnknowns(rows, keyring, audit),
        clock=clock,
    )
    return House(gallery, records, audit, rosters, models, trials, probes, drift, clock, rows, held)


@pytest.fixture
def open_house(tmp_path):
    """Opens the same data folder, as often as asked: each is like a process of its own."""
    opened = []

    def opening() -> House:
        opened.append(open_at(tmp_path))
        return opened[-1]

    yield opening
    for house in opened:
        house.close()


@pytest.fixture
def house(open_house):
    return open_house()


@pytest.fixture
def gallery(house):
    return house.gallery


def caller_with(*grants: Grant) -> Caller:
    return Caller(principal_for("key:test", grants), secrets.token_hex(4))


@pytest.fixture
def admin():
    return caller_with(Grant("admin"))


@pytest.fixture
def as_role():
    """A caller with one role, on one collection or on all."""
    return lambda role, collection=None: caller_with(Grant(role, collection))


@pytest.fixture
def shoot():
    """Makes a picture of people by number; `shot` makes another one of the same."""
    return photo


@pytest.fixture
def pictures():
    """Makes the pictures of an enrolment."""
    return lambda *images: [Picture(f"{n}.jpg", image) for n, image in enumerate(images)]
