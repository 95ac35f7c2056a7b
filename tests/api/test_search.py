"""Visual search over HTTP: the real service with a real, if simple, model for pictures."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from api.app import create_app
from api.client import Client, ClientError
from api.in_process import InProcessTransport
from api.wiring import open_services
from lookalike.domain import Box, Grant
from lookalike.errors import BadModel
from lookalike.regions import overlap, windows
from lookalike.settings import Settings
from tests.api.conftest import ADMIN, Served
from tests.embedder.pictures import encoded, scene
from tests.embedder.small_models import write_image_model


@pytest.fixture(scope="module")
def with_pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("search")
    models = (write_image_model(folder / "first", 1), write_image_model(folder / "second", 2))
    made = open_services(Settings(data=folder / "data", image_models=models), live=True)
    transport = InProcessTransport(create_app(made))
    yield Served(made, transport)
    transport.close()
    made.close()


@pytest.fixture
def shop(with_pictures: Served) -> tuple[httpx.Client, str]:
    """An admin's client, and the path of a collection of three things."""
    client = with_pictures.client(Grant("admin"))
    name = secrets.token_hex(6)
    assert client.post("/v1/collections", json={"name": name, "kind": "image"}).status_code == 201
    path = f"/v1/collections/{name}"
    for thing in (1, 2, 3):
        assert enrol(client, path, f"t{thing}", scene(thing)).status_code == 201
    return client, path


def enrol(client, path, subject, *pictures):
    files = [("images", (f"{i}.png", encoded(picture, "PNG"))) for i, picture in enumerate(pictures)]
    return client.post(f"{path}/subjects/{subject}/samples", files=files)


def search(client, path, picture, query="", **fields):
    return client.post(f"{path}/search{query}", files={"image": encoded(picture, "PNG")}, data=fields)


def subjects(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    (only,) = answer.json()["faces"]
    return [candidate["subject"] for candidate in only["candidates"]]


def brighter(picture):
    return cv2.convertScaleAbs(picture, alpha=1.05, beta=4)


def test_the_answer_is_that_of_identify_with_the_picture_in_the_place_of_a_face(shop):
    client, path = shop
    answer = search(client, path, brighter(scene(2)), "?limit=2")
    assert subjects(answer)[0] == "t2" and len(subjects(answer)) == 2
    body = answer.json()
    assert set(body) == {"faces", "threshold", "model", "request_id"}
    face = body["faces"][0]
    assert face["box"] == {"x": 0, "y": 0, "width": 320, "height": 240} and face["landmarks"] == []
    assert set(face["candidates"][0]) == {"subject", "sample", "similarity", "fpir", "metadata"}
    assert face["candidates"][0]["fpir"] is None
    assert body["threshold"] == {
        "similarity": -1, "source": "uncalibrated", "target_fpir": None, "gallery_size": 3, "interval": None,
    }  # fmt: skip
    assert client.get(path).json()["calibration"] == "none"


def test_a_threshold_decides(shop):
    client, path = shop
    assert subjects(search(client, path, brighter(scene(2)), "?threshold=0.6")) == ["t2"]
    assert subjects(search(client, path, scene(9), "?threshold=0.6")) == []


def test_a_box_is_searched_alone(shop):
    client, path = shop
    both = cv2.hconcat([scene(8), scene(3)])
    box = json.dumps({"x": 320, "y": 0, "width": 320, "height": 240})
    found = search(client, path, both, "?threshold=0.6", box=box)
    assert subjects(found) == ["t3"]
    assert found.json()["faces"][0]["box"]["x"] == 320


@pytest.mark.parametrize(
    "box",
    ["1,2,3,4", "[1, 2, 3, 4]", '{"x": 1}', '{"x": "1", "y": 0, "width": 9, "height": 9}', "{" + " " * 2000 + "}", ""],
)
def test_a_box_that_is_not_one_is_refused_with_what_is_allowed(shop, box):
    client, path = shop
    answer = search(client, path, scene(1), box=box)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["detail"].startswith("box: ")


def test_a_box_outside_the_picture_is_refused(shop):
    client, path = shop
    box = json.dumps({"x": 900, "y": 0, "width": 50, "height": 50})
    answer = search(client, path, scene(1), box=box)
    assert answer.status_code == 422 and "320×240" in answer.json()["detail"]


def test_near_duplicates_are_the_same_picture_alone(shop):
    client, path = shop
    copy = cv2.resize(scene(2)[12:, 16:], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    answer = search(client, path, copy, "?near_duplicates=true")
    assert subjects(answer) == ["t2"]
    assert answer.json()["faces"][0]["candidates"][0]["likeness"] > 0.98
    assert subjects(search(client, path, scene(9), "?near_duplicates=true")) == []
    refused = search(client, path, copy, "?near_duplicates=true&threshold=0.5")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")


def test_places_on_a_shelf_are_found_and_boxed(shop):
    client, path = shop
    shelf = np.full((260, 960, 3), 128, np.uint8)
    # This simple model knows a thing only where its pixels are, so each stands just where a window will be.
    left, *_, right = [box for box in windows(960, 260, 300) if 150 < box.width < 200]
    for thing, box in ((2, left), (3, right)):
        square = cv2.resize(scene(thing)[:, 40:280], (round(box.width), round(box.width)))
        enrol(client, path, f"t{thing}", square)
        x, y, side = round(box.x), round(box.y), len(square)
        part = shelf[y : y + side, x : x + side]
        part[:] = brighter(square)[: len(part), : part.shape[1]]
    answer = search(client, path, shelf, "?regions=auto&threshold=0.4&limit=1").json()
    places = {face["candidates"][0]["subject"]: face["box"] for face in answer["faces"]}
    assert set(places) == {"t2", "t3"} and 16 < answer["regions"] <= 300
    for thing, box in (("t2", left), ("t3", right)):
        assert overlap(Box(**places[thing]), box) > 0.5


def test_regions_say_what_they_need(shop):
    client, path = shop
    undecided = search(client, path, scene(2), "?regions=auto")
    assert (undecided.status_code, undecided.json()["code"]) == (409, "not_calibrated")
    for query, fields in (("&near_duplicates=true", {}), ("", {"box": '{"x": 0, "y": 0, "width": 90, "height": 90}'})):
        refused = search(client, path, scene(2), f"?regions=auto&threshold=0.5{query}", **fields)
        assert refused.status_code == 422 and refused.json()["detail"].startswith("regions: ")
    assert search(client, path, scene(2), "?regions=all").status_code == 422
    assert client.get("/v1/limits").json()["max_regions"] == 300


def test_the_kind_of_a_collection_decides_the_call(shop):
    client, path = shop
    assert client.post("/v1/collections", json={"name": "people"}).status_code in (201, 409)
    wrong = search(client, "/v1/collections/people", scene(1))
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_kind")
    other = client.post(f"{path}/identify", files={"image": encoded(scene(1), "PNG")})
    assert (other.status_code, other.json()["code"]) == (422, "wrong_kind")


def test_a_rate_that_is_not_known_is_refused(shop):
    client, path = shop
    answer = search(client, path, scene(1), "?fpir=0.01")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_calibrated")
    told = client.post(f"{path}/subjects/t1/verify?threshold=0.6", files={"image": encoded(scene(1), "PNG")}).json()
    assert told["match"] is True and told["fmr"] is None


def test_what_is_kept_of_a_picture_is_shown_to_whoever_may_see_it(shop):
    client, path = shop
    (sample,) = client.get(f"{path}/subjects/t1").json()["samples"]
    crop = client.get(f"{path}/subjects/t1/samples/{sample['id']}/crop")
    assert crop.headers["content-type"] == "image/jpeg"


def test_a_bad_picture_of_a_thing_is_rejected_with_its_reasons(shop):
    client, path = shop
    answer = enrol(client, path, "t4", scene(4) // 10)
    assert answer.json()["rejected"] == [{"filename": "0.png", "reasons": ["too_dark"]}]


def test_the_collection_moves_to_another_model_by_its_kept_pictures(with_pictures, shop):
    _, path = shop
    name = path.rsplit("/", 1)[1]
    key = with_pictures.services.api_keys.create(ADMIN, "test", (Grant("admin"),)).key
    client = Client("http://edge", api_key=key, transport=with_pictures.transport)
    second = next(m["name"] for m in client.models() if m["kind"] == "image" and not m["default"])
    client.wait(client.reindex(name, model=second))
    answer = client.search(name, encoded(brighter(scene(3)), "PNG"), limit=1)
    assert answer["model"].startswith("projection2") and answer["faces"][0]["candidates"][0]["subject"] == "t3"
    with pytest.raises(ClientError, match="not at hand"):
        client.reindex(name, model="sface")


def test_the_client_searches_a_box_and_for_duplicates(with_pictures, shop):
    _, path = shop
    key = with_pictures.services.api_keys.create(ADMIN, "test", (Grant("admin"),)).key
    client = Client("http://edge", api_key=key, transport=with_pictures.transport)
    both = encoded(cv2.hconcat([scene(8), scene(3)]), "PNG")
    name = path.rsplit("/", 1)[1]
    found = client.search(name, both, box=(320, 0, 320, 240), near_duplicates=True)
    assert [c["subject"] for c in found["faces"][0]["candidates"]] == ["t3"]
    assert client.search(name, both, near_duplicates=True)["faces"][0]["candidates"] == []


def test_a_service_does_not_start_with_a_model_that_is_not_the_one_named(tmp_path: Path):
    name = write_image_model(tmp_path)
    (tmp_path / "means.onnx").write_bytes(b"another file")
    with pytest.raises(BadModel, match="not the pinned"):
        open_services(Settings(data=tmp_path / "data", image_models=(name,)), live=True)
