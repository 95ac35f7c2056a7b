"""Pictures are decoded in processes that a file can end, and nothing else ends with them. Nothing here is doubled."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder import decoders as decoders_module
from embedder.decoders import Decoders, can_isolate
from embedder.images import ImageLimits, decode_image
from lookalike.errors import (
    ImageTooLarge,
    ImageTooSmall,
    InvalidInput,
    Overloaded,
    UndecodableImage,
    UnsupportedImage,
)
from tests.embedder.pictures import encoded, gradient, png_claiming

pytestmark = pytest.mark.skipif(not can_isolate(), reason="left out: this system has no such processes")

LIMITS = ImageLimits()
SHAPE = (300, 400, 3)
PHOTO = encoded(gradient(400, 300), "JPEG", quality=90)
PATIENCE_S = 60


@pytest.fixture(scope="module")
def pool() -> Iterator[Decoders]:
    made = Decoders(4, LIMITS, timeout_s=PATIENCE_S)
    yield made
    made.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def nursery_of(pool: Decoders) -> int:
    return pool._nursery._started.process.pid


def decoders_of(pool: Decoders) -> list[int]:
    return children(nursery_of(pool))


def state(pid: int) -> str:
    """The kernel's letter: R, S, T stopped, Z zombie; "" for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    until(lambda: state(pid) == "T")


def end(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: all(state(pid) in ("", "Z") for pid in pids))


def in_hand(pool: Decoders, threads: ThreadPoolExecutor) -> tuple[int, Future]:
    """A decoder that has a picture and, being stopped, gives no answer; and the answer that is waited for."""
    pool(PHOTO, LIMITS)
    decoder = pool._idle[-1]
    stop(decoder.made.pid)
    waiting = threads.submit(pool, PHOTO, LIMITS)
    until(lambda: decoder not in pool._idle)
    return decoder.made.pid, waiting


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_picture_comes_back_to_the_bit_as_this_process_decodes_it(
    pool: Decoders, kind: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(gradient(), kind, exif=exif.tobytes())
    pixels = pool(data, LIMITS)
    assert np.array_equal(pixels, decode_image(data, LIMITS))
    assert pixels.flags.c_contiguous
    assert pixels.flags.owndata or pixels.base.flags.owndata  # nothing that a decoder could still change


def test_a_cmyk_picture_comes_back_too(pool: Decoders) -> None:
    data = encoded(Image.fromarray(gradient()).convert("CMYK"), "JPEG")
    assert np.array_equal(pool(data, LIMITS), decode_image(data, LIMITS))


@pytest.mark.parametrize(
    ("data", "limits", "error"),
    [
        (b"", LIMITS, UnsupportedImage),
        (b"GIF89a" + bytes(50), LIMITS, UnsupportedImage),
        (PHOTO[:2000], LIMITS, UnsupportedImage),
        (png_claiming(50_000, 50_000), LIMITS, ImageTooLarge),
        (PHOTO, ImageLimits(max_pixels=50_000), ImageTooLarge),
        (PHOTO, ImageLimits(max_bytes=100), ImageTooLarge),
        (PHOTO, ImageLimits(min_side=301), ImageTooSmall),
        (bytes(20_000_001), LIMITS, ImageTooLarge),
    ],
)
def test_a_refusal_is_the_same_and_says_the_same(
    pool: Decoders, data: bytes, limits: ImageLimits, error: type[InvalidInput]
) -> None:
    with pytest.raises(error) as here:
        decode_image(data, limits)
    with pytest.raises(error) as there:
        pool(data, limits)
    assert str(there.value) == str(here.value)
    assert type(there.value) is error


def test_no_caller_is_given_more_than_the_pool_was_made_for() -> None:
    pool = Decoders(1, ImageLimits(max_bytes=100_000, max_pixels=10_000), timeout_s=PATIENCE_S)
    try:
        with pytest.raises(ImageTooLarge):
            pool(PHOTO, LIMITS)
    finally:
        pool.close()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGBUS])
def test_a_decoder_that_dies_costs_its_picture_alone(pool: Decoders, number: signal.Signals) -> None:
    before = pool.replaced["crashed"]
    with ThreadPoolExecutor(2) as threads:
        pid, waiting = in_hand(pool, threads)
        assert pool(PHOTO, LIMITS).shape == SHAPE  # others are served meanwhile
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(UndecodableImage, match="brought its decoder down"):
            waiting.result(PATIENCE_S)
    assert pool.replaced["crashed"] == before + 1
    assert state(pid) == ""  # not even a zombie is left
    assert pool(PHOTO, LIMITS).shape == SHAPE


def test_a_decoder_that_hangs_is_given_up_while_others_are_served() -> None:
    pool = Decoders(2, LIMITS, timeout_s=1)
    try:
        with ThreadPoolExecutor(1) as threads:
            pid, waiting = in_hand(pool, threads)
            with pytest.raises(UndecodableImage, match="too long"):
                waiting.result(PATIENCE_S)
        assert pool.replaced["too_slow"] == 1
        assert state(pid) == ""
        assert pool(PHOTO, LIMITS).shape == SHAPE
    finally:
        pool.close()


def test_a_picture_that_takes_too_much_processor_time_is_given_up() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1500, 1500, 3), dtype=np.uint8)
    pool = Decoders(1, LIMITS, timeout_s=0.005)
    try:
        with pytest.raises(UndecodableImage, match="too long"):
            pool(encoded(noise, "PNG"), LIMITS)
        assert pool.replaced["too_slow"] == 1
    finally:
        pool.close()


def test_a_picture_that_needs_more_memory_than_there_is_is_refused_and_the_decoder_goes_on(pool: Decoders) -> None:
    large = encoded(np.zeros((3000, 3000, 4), np.uint8), "PNG")
    pool(PHOTO, LIMITS)
    pid = pool._idle[-1].made.pid
    now = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (now + 8_000_000, now + 8_000_000))
    with pytest.raises(UndecodableImage, match="memory"):
        pool(large, LIMITS)
    assert pool._idle[-1].made.pid == pid
    assert pool(PHOTO, LIMITS).shape == SHAPE
    end([pid])


def test_a_decoder_that_died_while_it_was_idle_costs_nobody_anything(pool: Decoders) -> None:
    pool(PHOTO, LIMITS)
    end(decoders_of(pool))
    assert pool(PHOTO, LIMITS).shape == SHAPE
    until(lambda: all(state(pid) != "Z" for pid in decoders_of(pool)))


def test_a_nursery_that_died_is_made_anew_and_its_decoders_end_with_it() -> None:
    pool = Decoders(2, LIMITS, timeout_s=PATIENCE_S)
    try:
        with ThreadPoolExecutor(1) as threads:
            pid, waiting = in_hand(pool, threads)
            os.kill(nursery_of(pool), signal.SIGKILL)
            with pytest.raises(Overloaded):  # no picture is at fault: it may be sent again
                waiting.result(PATIENCE_S)
        until(lambda: state(pid) in ("", "Z"))
        assert pool(PHOTO, LIMITS).shape == SHAPE
        assert pool.replaced["orphaned"] == 1
        assert pool.alive == 1
    finally:
        pool.close()


def test_what_cannot_be_started_is_said_and_not_tried_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    pool = Decoders(2, LIMITS, timeout_s=PATIENCE_S)
    for _ in range(3):
        with pytest.raises(Overloaded, match="cannot be started"):
            pool(PHOTO, LIMITS)
    pool.close()


def test_a_terminal_and_a_service_manager_that_stop_the_whole_group_leave_decoding_to_the_last_answer(
    pool: Decoders,
) -> None:
    pool(PHOTO, LIMITS)
    lost = sum(pool.replaced.values())
    for pid in [nursery_of(pool), *decoders_of(pool)]:
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
    assert pool(PHOTO, LIMITS).shape == SHAPE
    assert sum(pool.replaced.values()) == lost


def test_a_decoder_retires_when_it_has_seen_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders_module, "PICTURES_EACH", 3)
    pool = Decoders(1, LIMITS, timeout_s=PATIENCE_S)
    try:
        for _ in range(7):
            pool(PHOTO, LIMITS)
        assert pool.replaced["retired"] == 2
        assert pool.alive == 1
    finally:
        pool.close()


def test_hundreds_at_once_are_served_while_decoders_are_killed_among_them(pool: Decoders) -> None:
    begun, answers = pool.replaced["crashed"], []
    done = threading.Event()

    def kill() -> None:
        while not done.is_set() and pool.replaced["crashed"] < begun + 15:
            others = sorted(decoders_of(pool))[:-1]  # the newest may not have begun
            if others:
                os.kill(others[0], signal.SIGKILL)
            time.sleep(0.01)

    def ask(_: int) -> str:
        try:
            return str(pool(PHOTO, LIMITS).shape)
        except UndecodableImage:
            return "undecodable"

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with ThreadPoolExecutor(32) as threads:
            while pool.replaced["crashed"] < begun + 15 or len(answers) < 300:
                answers += threads.map(ask, range(100))
    finally:
        done.set()
        killer.join()
    assert set(answers) <= {str(SHAPE), "undecodable"}
    assert str(SHAPE) in answers
    assert pool.alive <= 4
    until(lambda: len(decoders_of(pool)) <= 4 and all(state(pid) != "Z" for pid in decoders_of(pool)))
    assert pool(PHOTO, LIMITS).shape == SHAPE


def test_a_large_picture_leaves_no_memory_behind(pool: Decoders) -> None:
    def shared_kb() -> int:
        text = Path("/proc/self/status").read_text()
        return int(text.split("RssShmem:")[1].split()[0])

    before = shared_kb()
    for _ in range(2):
        assert pool(encoded(np.zeros((3000, 3000, 3), np.uint8), "PNG"), LIMITS).shape == (3000, 3000, 3)
    assert shared_kb() < before + 16_000


def test_decoders_end_with_a_service_that_is_killed() -> None:
    script = (
        "import sys, time\n"
        "from embedder.decoders import Decoders\n"
        "from embedder.images import ImageLimits\n"
        "pool = Decoders(2, ImageLimits(), 60)\n"
        "pool(sys.stdin.buffer.read(), ImageLimits())\n"
        "print(pool._nursery._started.process.pid, pool._idle[0].made.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as service:
        try:
            service.stdin.write(PHOTO)
            service.stdin.close()
            pids = [int(each) for each in service.stdout.readline().split()]
            assert [state(pid) != "" for pid in pids] == [True, True]
        finally:
            service.kill()
    until(lambda: all(state(pid) in ("", "Z") for pid in pids))  # a zombie is whoever adopted it to bury


def test_closing_leaves_no_process_and_no_descriptor() -> None:
    held = len(os.listdir("/proc/self/fd"))
    pool = Decoders(2, LIMITS, timeout_s=PATIENCE_S)
    pool(PHOTO, LIMITS)
    pids = [nursery_of(pool), *decoders_of(pool)]
    pool.close()
    until(lambda: all(state(pid) in ("", "Z") for pid in pids))
    assert len(os.listdir("/proc/self/fd")) == held
    with pytest.raises(Overloaded):
        pool(PHOTO, LIMITS)


def test_no_upload_has_a_name_in_the_file_system(pool: Decoders) -> None:
    pool(PHOTO, LIMITS)
    maps = Path("/proc/self/maps").read_text()
    areas = [line for line in maps.splitlines() if "pictures" in line]
    assert areas
    assert all("/memfd:pictures (deleted)" in line for line in areas)


def test_a_compressed_text_and_a_huge_profile_do_no_harm(pool: Decoders) -> None:
    image, found = Image.fromarray(gradient()), io.BytesIO()
    image.save(found, "PNG", icc_profile=bytes(2_000_000))
    try:
        assert pool(found.getvalue(), LIMITS).shape == (40, 60, 3)
    except InvalidInput:
        return
