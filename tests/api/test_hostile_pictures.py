"""No picture takes the service down or keeps others from it, over HTTP as clients see it."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from embedder.decoders import can_isolate
from lookalike.domain import Grant
from tests.api.conftest import Real
from tests.embedder.pictures import encoded, png_claiming, scene

pytestmark = pytest.mark.skipif(not can_isolate(), reason="left out: this system has no such processes")

PHOTO = encoded(scene(1), "JPEG", quality=90)
PATIENCE_S = 60


@pytest.fixture
def client(real: Real) -> httpx.Client:
    return real.client(Grant("identifier"))


def detect(client: httpx.Client, picture: bytes) -> httpx.Response:
    return client.post("/v1/detect", files={"image": ("p", picture)})


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.005)


def test_a_decoder_that_crashes_in_mid_request_is_a_422_and_a_figure_while_others_are_served(
    real: Real, client: httpx.Client
) -> None:
    pool = real.services.decoders
    assert detect(client, PHOTO).status_code == 200
    decoder = pool._idle[-1]
    os.kill(decoder.made.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(detect, client, PHOTO)
        until(lambda: decoder not in pool._idle)
        assert detect(client, PHOTO).status_code == 200
        os.kill(decoder.made.pid, signal.SIGSEGV)
        os.kill(decoder.made.pid, signal.SIGCONT)
        answer = waiting.result(PATIENCE_S)
    assert (answer.status_code, answer.json()["code"]) == (422, "undecodable_image")
    assert answer.headers["content-type"] == "application/problem+json"
    assert detect(client, PHOTO).status_code == 200
    figures = real.client(Grant("operator")).get("/metrics").text
    assert f'lookalike_decoders_replaced_total{{reason="crashed"}} {float(pool.replaced["crashed"])}' in figures
    assert f"lookalike_decoders {float(pool.alive)}" in figures


def test_a_corpus_of_broken_pictures_is_refused_without_a_5xx_or_a_lost_decoder(
    real: Real, client: httpx.Client
) -> None:
    random = np.random.default_rng(6)
    wholes = [encoded(scene(2, 96, 64), kind) for kind in ("JPEG", "PNG", "WEBP")]
    pictures = [png_claiming(50_000, 50_000), b"", b"\xff\xd8\xff" + bytes(1000), b"GIF89a" + bytes(100)]
    for whole in wholes:
        for _ in range(100):
            mutant = bytearray(whole)
            for place in random.integers(0, len(mutant), random.integers(1, 6)):
                mutant[place] = random.integers(256)
            pictures.append(bytes(mutant[: random.integers(len(mutant) // 2, len(mutant) + 1)]))
    before = dict(real.services.decoders.replaced)
    with ThreadPoolExecutor(8) as threads:
        statuses = Counter(each.status_code for each in threads.map(lambda one: detect(client, one), pictures))
    assert set(statuses) <= {200, 413, 415, 422}, statuses
    assert statuses[415] > 100
    after = dict(real.services.decoders.replaced)
    assert (after["crashed"], after["too_slow"]) == (before["crashed"], before["too_slow"])


def test_uploads_and_keys_are_found_in_no_process_that_decodes(real: Real, client: httpx.Client) -> None:
    detect(client, PHOTO)
    nursery = real.services.decoders._nursery._started.process.pid
    environment = Path(f"/proc/{nursery}/environ").read_bytes()
    assert b"LOOKALIKE" not in environment
    maps = Path(f"/proc/{nursery}/maps").read_text()
    assert "cryptography" not in maps
    assert "pictures" not in maps  # the nursery keeps no area
