"""Who comes by: real frames, the real detector and tracker, and a real service that decides."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice

import pytest

from api.commands.watch import _AtOnce
from api.watching import Answer, Watcher, WatchOptions, is_inside
from embedder.factory import build_detector
from embedder.tracking import FaceTracker
from embedder.video import Frame, file_frames
from tests.cameras.conftest import FPS, Walk, frames_of, write_video
from tests.cameras.rtsp_server import RtspServer
from tests.e2e.conftest import Installation

RATE = 8.0


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The real one, which looks at each frame of the module's once."""
    real, seen = build_detector(tmp_path_factory.mktemp("models")), {}

    def detect(pixels):
        if id(pixels) not in seen:
            seen[id(pixels)] = pixels, real(pixels)
        return seen[id(pixels)][1]

    return detect


@pytest.fixture(scope="module")
def frames(crossing):
    return list(file_frames(crossing, RATE))


class Asked:
    """Answers in turn, the last one for good; remembers what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.questions: list[tuple[int, bool]] = []

    def __call__(self, jpegs, tentative):
        self.questions.append((len(jpegs), tentative))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def decided(detector, frames, ask, executor=None, troubles=None, **options):
    watcher = Watcher(
        detector,
        FaceTracker(RATE, 2.0),
        ask,
        executor or _AtOnce(),
        WatchOptions(**options),
        (troubles if troubles is not None else []).append,
    )
    found = [decision for frame in frames for decision in watcher.look(frame)]
    return found + watcher.end(frames[-1].at)


SOMEBODY, NOBODY = Answer("alice", 0.8, 1e-6), Answer(None)


def test_each_person_is_decided_on_once(detector, frames):
    ask = Asked(Answer("first"), Answer("second"))
    found = decided(detector, frames, ask)
    assert [d.answer.subject for d in found] == ["first", "second"]
    assert len({d.track for d in found}) == 2
    assert all(d.frames == 3 and d.began < d.at < d.began + 1.5 for d in found)
    assert [count for count, _ in ask.questions] == [3, 3]


def test_somebody_unknown_is_asked_about_with_better_shots_and_told_once(detector, frames):
    ask = Asked(NOBODY)
    found = decided(detector, frames, ask, unknown=True)
    assert [d.answer.subject for d in found] == [None, None]
    assert 2 <= len(ask.questions) <= 6
    assert [tentative for _, tentative in ask.questions].count(False) == 2
    assert decided(detector, frames, Asked(NOBODY)) == []


def test_the_same_subject_is_not_told_again_within_the_cooldown(detector, frames):
    assert len(decided(detector, frames, Asked(SOMEBODY))) == 1
    assert len(decided(detector, frames, Asked(SOMEBODY), cooldown_s=0)) == 2


def test_only_faces_in_a_zone_count(detector, frames):
    left = ((0.0, 0.0), (0.02, 0.0), (0.02, 1.0), (0.0, 1.0))
    assert decided(detector, frames, Asked(SOMEBODY), zones=(left,)) == []
    everywhere = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    assert len(decided(detector, frames, Asked(SOMEBODY), zones=(left, everywhere))) == 1


def test_faces_that_are_too_small_do_not_count(detector, frames):
    assert decided(detector, frames, Asked(SOMEBODY), min_face_px=500) == []


def test_what_a_service_that_is_away_did_not_answer_is_asked_again(detector, frames):
    away, troubles = ConnectionError("away"), []
    ask = Asked(away, away, away, away, SOMEBODY)
    found = decided(detector, frames, ask, troubles=troubles)
    assert [d.answer.subject for d in found] == ["alice"]
    assert troubles == [away] * 4


def test_frames_are_not_held_up_by_an_answer_that_takes_long(detector, frames):
    class Late(ThreadPoolExecutor):
        def submit(self, fn, *arguments):
            futures.append((Future(), fn, arguments))
            return futures[-1][0]

    futures: list = []
    with Late(1) as executor:
        watcher = Watcher(
            detector, FaceTracker(RATE, 2.0), Asked(SOMEBODY), executor, WatchOptions(cooldown_s=0), [].append
        )
        early = [d for frame in frames[:40] for d in watcher.look(frame)]
        assert early == [] and len(futures) >= 1
        asked = list(futures)
        for future, fn, arguments in asked:
            future.set_result(fn(*arguments))
        assert [d.answer for d in watcher.look(frames[40])] == [SOMEBODY] * len(asked)


def test_a_face_that_comes_back_after_its_absence_is_another_track(detector, frames):
    shown = [f for f in frames if 1.5 < f.at < 3.5]
    again = [Frame(f.pixels, f.at + 60) for f in shown]
    empty = [Frame(frames[0].pixels, 4 + n / RATE) for n in range(40)]
    found = decided(detector, [*shown, *empty, *again], Asked(SOMEBODY), cooldown_s=0)
    assert len(found) == 2


@pytest.mark.parametrize(
    ("point", "inside"), [((0.5, 0.5), True), ((0.1, 0.9), False), ((0.9, 0.1), False), ((0.3, 0.2), True)]
)
def test_a_point_is_in_a_polygon_or_not(point, inside):
    assert is_inside(*point, ((0.2, 0.1), (0.8, 0.5), (0.5, 0.9), (0.2, 0.6))) is inside


@pytest.fixture(scope="module")
def gate(tmp_path_factory, portraits):
    """A service with a collection in which one of the two is enrolled."""
    made = Installation(tmp_path_factory.mktemp("gate"))
    with made.start() as client:
        client.create_collection("gate")
        client.enrol("gate", "obama", portraits["obama3.jpg"])
        yield made, client
    assert made.stop() == 0


def test_the_command_tells_who_walks_through_a_video_and_so_do_events(gate, crossing):
    made, client = gate
    done = made.command("watch", crossing, "-c", "gate", "--camera", "door", "--unknown", "--json", remote=True)
    assert done.returncode == 0, done.stderr
    known, unknown = map(json.loads, done.stdout.splitlines())
    assert (known["subject"], known["camera"], known["frames"]) == ("obama", "door", 3)
    assert known["similarity"] > 0.6 and known["fpir"] < 1e-3 and 1 <= known["began_s"] < known["decided_s"] < 3
    assert unknown["subject"] is None and 4 <= unknown["began_s"] < unknown["decided_s"]
    with closing(client.events("gate", kinds=["match", "unknown"], after=0)) as stream:
        events = list(islice(stream, 2))
    assert [(e["camera"], len(e["subjects"]), e["unknown"]) for e in events] == [("door", 1, 0), ("door", 0, 1)]


def test_the_command_watches_a_camera_until_it_is_told_to_end(gate, portraits):
    made, _ = gate
    frames = [f[::2, ::2].copy() for f in frames_of((Walk(("obama.jpg",), 0, 8, -100, 900),), portraits, 8)]
    server = RtspServer(frames, FPS)
    process = made.spawn("watch", server.url, "-c", "gate", "--camera", "street", "--json", remote=True)
    try:
        line = json.loads(process.stdout.readline())
        assert (line["subject"], line["camera"]) == ("obama", "street")
        process.terminate()
        assert process.wait(60) == 0
        assert "frames" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        server.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere.mp4", "-c", "gate"), "a file, or an address"),
        (("rtsp://user:secret@host/x", "-c", "gate"), "USER:PASSWORD"),
        (("VIDEO", "-c", "elsewhere"), "collection_not_found"),
        (("VIDEO", "-c", "gate", "--zone", "0,0 1,1"), "three or more corners"),
    ],
)
def test_wrong_use_is_told_before_anything_is_watched(gate, crossing, arguments, told):
    made, _ = gate
    done = made.command("watch", *(str(crossing) if a == "VIDEO" else a for a in arguments), remote=True)
    assert done.returncode in (1, 2) and told in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_several_frames_decide_as_one_and_another_person_among_them_is_left_out(gate, portraits):
    _, client = gate
    shots = [portraits["obama.jpg"], portraits["biden.jpg"], portraits["obama2.jpg"]]
    (face,) = client.sight("gate", shots, camera="door")["faces"]
    assert face["candidates"][0]["subject"] == "obama"
    single = client.sight("gate", shots[:1])["faces"][0]["candidates"][0]["similarity"]
    both = client.sight("gate", [shots[0], shots[2]])["faces"][0]["candidates"][0]["similarity"]
    assert both > min(single, client.sight("gate", shots[2:])["faces"][0]["candidates"][0]["similarity"])
    assert client.sight("gate", [portraits["biden.jpg"]] * 2)["faces"][0]["candidates"] == []


def test_a_sighting_s_bad_input_is_refused(gate, portraits):
    from api.client import ClientError

    _, client = gate
    picture = portraits["obama.jpg"]
    for frames, options, code in (
        ([picture] * 9, {}, "image_too_large"),
        ([b"rubbish"], {}, "unsupported_image"),
        ([picture, b"rubbish"], {}, "unsupported_image"),
        ([picture], {"camera": "x" * 65}, "invalid_input"),
        ([picture], {"camera": "a\nb"}, "invalid_input"),
        ([picture], {"fpir": 2.0}, "invalid_input"),
        ([], {"camera": "door"}, "missing_field"),
    ):
        with pytest.raises(ClientError) as refused:
            client.sight("gate", frames, **options)
        assert refused.value.code == code


def test_a_video_without_faces_is_no_failure(gate, tmp_path):
    import numpy as np

    made, _ = gate
    video = write_video(tmp_path / "empty.mp4", [np.full((240, 320, 3), 90, np.uint8)] * 20)
    done = made.command("watch", video, "-c", "gate", remote=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "0 faces" in done.stderr
