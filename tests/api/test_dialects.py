"""Refusals by the layers around the routes, in the words of the protocol that asked."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.errors import FAULTS
from api.rekognition.faults import type_of
from tests.api import doubles

DEADLINE_S = 60
TARGET = {"x-amz-target": "RekognitionService.DetectFaces"}
PICTURE = {"Image": {"Bytes": "cGljdHVyZQ=="}}


@pytest.fixture
def busy(tmp_path, connect):
    """A client of a service with one worker, which is busy, with one more waiting, until the test ends."""
    services = doubles.services(tmp_path, workers=1, max_queue=1)
    done = threading.Event()
    services.gallery.before = lambda: done.wait(DEADLINE_S)
    client = connect(services, "admin")
    with ThreadPoolExecutor(2) as pool:
        body, headers = doubles.multipart(*doubles.picture())
        holding = [pool.submit(client.post, "/v1/detect", content=body, headers=headers) for _ in range(2)]
        deadline = time.monotonic() + DEADLINE_S
        while client.get("/v1/limits").status_code != 503:
            assert time.monotonic() < deadline
        yield client
        done.set()
        assert [held.result().status_code for held in holding] == [200, 200]
    services.close()


def test_a_full_queue_is_an_error_that_every_sdk_tries_again(busy):
    answer = busy.post("/", json=PICTURE, headers=TARGET)
    assert (answer.status_code, answer.json()["__type"]) == (400, "ThrottlingException")
    assert answer.headers["retry-after"] == "1" and answer.headers["x-amzn-requestid"]
    other = busy.post("/api/v1/detection/detect")
    assert (other.status_code, other.json()["code"], other.headers["retry-after"]) == (503, 41, "1")
    own = busy.get("/v1/collections")
    assert (own.status_code, own.json()["code"]) == (503, "overloaded")
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_body_that_is_too_large_is_refused_in_its_own_words(services, admin):
    answer = admin.post("/", content=b"x", headers={**TARGET, "content-length": "40000000"})
    assert answer.json()["__type"] == "ImageTooLargeException"


def test_every_fault_of_the_service_s_own_is_one_that_sdks_try_again():
    for code, fault in FAULTS.items():
        name = type_of(code)
        assert (name in ("InternalServerError", "ThrottlingException")) == (fault.status >= 500), code
