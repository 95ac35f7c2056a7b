"""Frames from real files, a real RTSP server and real snapshots, and what becomes of broken ones."""

from __future__ import annotations

import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import numpy as np
import pytest

from embedder.images import encode_jpeg
from embedder.video import Camera, CameraUnavailable, Credential, file_frames, is_live
from lookalike.errors import BadSettings
from tests.cameras.conftest import CROSSING, FPS, HEIGHT, WIDTH, frames_of, write_video
from tests.cameras.rtsp_server import RtspServer


def first_frame(camera):
    deadline = time.monotonic() + 60
    frames = camera.frames()
    while (frame := next(frames)) is None:
        assert time.monotonic() < deadline, camera.trouble
    return frame


@pytest.mark.parametrize(("fps", "most"), [(30, 11 * FPS), (5, 11 * 5 + 1), (1, 12)])
def test_a_file_gives_its_frames_at_its_own_times_and_no_more_a_second_than_asked_for(crossing, fps, most):
    frames = list(file_frames(crossing, fps))
    assert 0.9 * most <= len(frames) <= most
    assert frames[0].at == 0 and 10 <= frames[-1].at < 11
    assert all(before.at < after.at for before, after in pairwise(frames))
    assert frames[0].pixels.shape == (HEIGHT, WIDTH, 3) and frames[0].pixels.dtype == np.uint8


def test_colours_come_through(tmp_path):
    red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    red[:, :, 0] = 200
    (frame, *_) = file_frames(write_video(tmp_path / "red.mp4", [red] * FPS), 30)
    assert np.abs(frame.pixels.mean(axis=(0, 1)) - (200, 0, 0)).max() < 12


@pytest.mark.parametrize("content", [b"", b"rubbish" * 1000, b"\x00\x00\x00\x20ftypisom" + b"\x00" * 4000])
def test_what_is_no_video_is_refused(tmp_path, content):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(CameraUnavailable):
        list(file_frames(tmp_path / "x.mp4", 8))


def test_a_video_that_was_cut_short_gives_what_it_has(crossing, tmp_path):
    written = write_video(tmp_path / "whole.ts", [f.pixels for f in file_frames(crossing, 30)][: 4 * FPS])
    data = written.read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: len(data) * 2 // 3])
    frames = list(file_frames(tmp_path / "cut.ts", 30))
    assert 0 < len(frames) < 4 * FPS


@pytest.mark.parametrize(
    "source", ["nowhere.mp4", "ftp://host/x", "rtsp:///x", "rtsp://user:secret@host/x", "https://user@host/x"]
)
def test_sources_that_are_not_allowed_are_refused_without_their_secret(source):
    with pytest.raises(BadSettings) as refused:
        is_live(source)
    assert "secret" not in str(refused.value)


def test_an_rtsp_camera_gives_frames_is_lost_and_found_again(portraits, caplog):
    caplog.set_level(logging.INFO)
    frames = [f[::2, ::2].copy() for f in frames_of(CROSSING[:1], portraits, 4)]
    server = RtspServer(frames, FPS)
    camera = Camera(server.url, None, 8)
    try:
        assert first_frame(camera).pixels.shape == (HEIGHT // 2, WIDTH // 2, 3)
        assert camera.trouble is None
        server.alive = False
        deadline = time.monotonic() + 60
        while camera.trouble is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.alive = True
        while camera.trouble is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert camera.reconnects >= 1
        first_frame(camera)
    finally:
        camera.close()
        server.close()


def test_a_camera_that_asks_for_a_password_gets_it_and_nothing_tells_it(portraits, caplog):
    caplog.set_level(logging.DEBUG)
    frames = [f[::4, ::4].copy() for f in frames_of(CROSSING[:1], portraits, 2)]
    server = RtspServer(frames, FPS, ("guard", "canary:p@ss/word"))
    good = Camera(server.url, Credential("guard", "canary:p@ss/word"), 8)
    bad = Camera(server.url, Credential("guard", "canary-wrong"), 8)
    try:
        first_frame(good)
        deadline = time.monotonic() + 60
        while bad.reconnects == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert bad.trouble is not None
        assert "canary" not in caplog.text + str(bad.trouble) + repr(vars(good)["_credential"])
    finally:
        good.close()
        bad.close()
        server.close()


class Snapshots(BaseHTTPRequestHandler):
    """answers: (status, body) given in turn, the last one for good."""

    answers: list[tuple[int, bytes]]

    def do_GET(self):
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        return


def test_snapshots_are_taken_also_after_an_error_and_after_garbage(portraits):
    picture = encode_jpeg(np.full((240, 320, 3), 80, np.uint8))
    handler = type("Handler", (Snapshots,), {"answers": [(500, b""), (200, b"garbage"), (200, picture)]})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        camera = Camera(f"http://127.0.0.1:{server.server_address[1]}/snapshot.jpg", None, 10)
        try:
            assert first_frame(camera).pixels.shape == (240, 320, 3)
            assert camera.reconnects == 2
        finally:
            camera.close()
            server.shutdown()


def test_whoever_is_slower_than_the_camera_skips_frames_and_is_not_behind(portraits):
    frames = [f[::4, ::4].copy() for f in frames_of(CROSSING[:1], portraits, 2)]
    server = RtspServer(frames, 25)
    camera = Camera(server.url, None, 25)
    try:
        for _ in range(3):
            taken = first_frame(camera)
            assert time.monotonic() - taken.at < 5
            time.sleep(0.5)
        assert camera.skipped > 0
    finally:
        camera.close()
        server.close()
