"""CompreFace's calls, as its published SDKs send them: real portraits through the real service."""

from __future__ import annotations

import base64
import io
import uuid

import httpx
import pytest
from fastapi.routing import APIRoute
from PIL import Image

from api.app import create_app
from lookalike.domain import Grant, Permission
from security.rbac import ROLES
from tests.api import doubles

NOBODY = str(uuid.UUID(int=0))
RECOGNITION = "/api/v1/recognition"

NEEDS = {
    ("POST", "/subjects"): Permission.ENROL,
    ("GET", "/subjects"): Permission.READ,
    ("GET", "/subjects/"): Permission.READ,
    ("DELETE", "/subjects"): Permission.ERASE,
    ("DELETE", "/subjects/{subject}"): Permission.ERASE,
    ("POST", "/faces"): Permission.ENROL,
    ("GET", "/faces"): Permission.READ,
    ("DELETE", "/faces"): Permission.ERASE,
    ("POST", "/faces/delete"): Permission.ERASE,
    ("DELETE", "/faces/{image_id}"): Permission.ERASE,
    ("GET", "/faces/{image_id}/img"): Permission.READ_CROPS,
    ("POST", "/faces/{image_id}/verify"): Permission.IDENTIFY,
    ("POST", "/recognize"): Permission.IDENTIFY,
}
NEEDS = {(method, RECOGNITION + path): needs for (method, path), needs in NEEDS.items()} | {
    ("POST", "/api/v1/detection/detect"): Permission.IDENTIFY,
    ("POST", "/api/v1/verification/verify"): Permission.IDENTIFY,
}


@pytest.fixture
def bound(real, gallery):
    """A client whose key is bound to a fresh collection."""
    return real.client(Grant("admin", gallery[1].rsplit("/", 1)[1]))


def post(client, path, picture=None, **pictures):
    """As the SDKs do: a multipart file, the options behind '?&'."""
    sent = pictures or {"file": picture}
    files = {name: ("image.jpg", data) for name, data in sent.items()}
    return client.post(path if path.startswith("/api") else RECOGNITION + path, files=files)


def add(client, subject, picture):
    answer = post(client, f"/faces?subject={subject}&det_prob_threshold=0.5", picture)
    assert answer.status_code == 201 and answer.json()["subject"] == subject
    return str(uuid.UUID(answer.json()["image_id"]))


def refused(answer, status):
    assert answer.status_code == status and set(answer.json()) == {"message", "code"}
    return answer.json()["code"]


def test_somebody_added_is_recognised_and_a_stranger_scores_low(bound, portraits):
    add(bound, "Barack Obama", portraits["obama.jpg"])
    url = "/recognize?&limit=0&det_prob_threshold=0.5&prediction_count=1&face_plugins=landmarks,age&status=true"
    answer = post(bound, url, portraits["obama2.jpg"]).json()
    (face,) = answer["result"]
    (subject,) = face["subjects"]
    assert subject["subject"] == "Barack Obama" and 0.9 < subject["similarity"] <= 1
    box = face["box"]
    assert all(isinstance(box[name], int) for name in ("x_min", "y_min", "x_max", "y_max"))
    assert box["x_min"] < box["x_max"] and 0.5 < box["probability"] <= 1
    assert len(face["landmarks"]) == 5 and answer["plugins_versions"]["calculator"]
    (stranger,) = post(bound, "/recognize", portraits["biden.jpg"]).json()["result"]
    assert stranger["subjects"][0]["similarity"] < 0.8
    assert "landmarks" not in stranger


def test_pictures_come_as_base64_too(bound, portraits):
    text = base64.b64encode(portraits["obama.jpg"]).decode()
    made = bound.post(f"{RECOGNITION}/faces?subject=b", json={"file": text})
    assert made.status_code == 201
    found = bound.post(f"{RECOGNITION}/recognize", json={"file": f"data:image/jpeg;base64,{text}"})
    assert found.json()["result"][0]["subjects"] == [{"subject": "b", "similarity": 1.0}]
    assert refused(bound.post(f"{RECOGNITION}/recognize", json={"file": "!"}), 400) == 26
    assert refused(bound.post(f"{RECOGNITION}/recognize", json={}), 400) == 33


def test_examples_are_listed_by_page_verified_shown_and_deleted(bound, portraits):
    ids = [add(bound, "barack", portraits[name]) for name in ("obama.jpg", "obama2.jpg", "obama3.jpg")]
    other = add(bound, "joe", portraits["biden.jpg"])
    page = bound.get(f"{RECOGNITION}/faces", params={"page": 1, "size": 3}).json()
    assert page == {
        "faces": [{"image_id": other, "subject": "joe"}],
        "page_number": 1,
        "page_size": 3,
        "total_pages": 2,
        "total_elements": 4,
    }
    own = bound.get(f"{RECOGNITION}/faces", params={"subject": "barack", "size": 2}).json()
    assert [face["image_id"] for face in own["faces"]] == ids[:2] and own["total_elements"] == 3
    (seen,) = post(bound, f"/faces/{ids[0]}/verify?limit=1", portraits["obama2.jpg"]).json()["result"]
    assert seen["similarity"] > 0.9 and seen["subject"] == "barack"
    shown = bound.get(f"{RECOGNITION}/faces/{ids[0]}/img")
    assert Image.open(io.BytesIO(shown.content)).size == (112, 112)
    assert bound.delete(f"{RECOGNITION}/faces/{ids[0]}").json() == {"image_id": ids[0], "subject": "barack"}
    assert refused(bound.delete(f"{RECOGNITION}/faces/{ids[0]}"), 404) == 11
    gone = bound.post(f"{RECOGNITION}/faces/delete", json=[ids[1], NOBODY]).json()
    assert gone == [{"image_id": ids[1], "subject": "barack"}]
    assert bound.delete(f"{RECOGNITION}/faces", params={"subject": "barack"}).json() == {"deleted": 1}
    assert bound.get(f"{RECOGNITION}/subjects").json() == {"subjects": ["barack", "joe"]}
    assert bound.delete(f"{RECOGNITION}/faces").json() == {"deleted": 1}
    assert bound.get(f"{RECOGNITION}/faces").json()["total_elements"] == 0


def test_subjects_are_added_listed_and_erased(bound, portraits):
    for name in ("b", "a"):
        made = bound.post(f"{RECOGNITION}/subjects", json={"subject": name})
        assert (made.status_code, made.json()) == (201, {"subject": name})
    assert refused(bound.post(f"{RECOGNITION}/subjects", json={"subject": "a"}), 400) == 43
    assert bound.get(f"{RECOGNITION}/subjects/").json() == {"subjects": ["a", "b"]}
    add(bound, "a", portraits["obama.jpg"])
    assert bound.delete(f"{RECOGNITION}/subjects/a").json() == {"subject": "a"}
    assert refused(bound.delete(f"{RECOGNITION}/subjects/a"), 404) == 42
    (face,) = post(bound, "/recognize", portraits["obama.jpg"]).json()["result"]
    assert face["subjects"] == []
    assert bound.delete(f"{RECOGNITION}/subjects").json() == {"deleted": 1}
    assert refused(bound.put(f"{RECOGNITION}/subjects/b", json={"subject": "c"}), 405) == 32


def test_faces_are_detected_and_two_pictures_compared(bound, portraits):
    (face,) = post(bound, "/api/v1/detection/detect?face_plugins=landmarks", portraits["obama.jpg"]).json()["result"]
    assert len(face["landmarks"]) == 5
    pair = {"source_image": portraits["obama.jpg"], "target_image": portraits["obama2.jpg"]}
    (answer,) = post(bound, "/api/v1/verification/verify?status=true", **pair).json()["result"]
    assert answer["face_matches"][0]["similarity"] > 0.9 and "box" in answer["source_image_face"]
    assert "plugins_versions" in answer


def test_no_face_is_the_error_that_clients_know(bound):
    plain = io.BytesIO()
    Image.new("RGB", (200, 200), "grey").save(plain, "JPEG")
    for path in ("/recognize", "/faces?subject=a", "/api/v1/detection/detect"):
        answer = post(bound, path, plain.getvalue())
        assert refused(answer, 400) == 28
        assert answer.json()["message"] == "No face is found in the given image"


def test_wrong_pictures_fields_and_values_are_refused_by_number(bound, portraits):
    assert refused(post(bound, "/recognize", b"GIF89a"), 400) == 21
    assert refused(post(bound, "/recognize", other=portraits["obama.jpg"]), 400) == 33
    assert refused(post(bound, "/recognize?limit=-1", portraits["obama.jpg"]), 400) == 26
    assert refused(post(bound, "/faces", portraits["obama.jpg"]), 400) == 26
    assert refused(post(bound, "/faces/not-an-id/verify", portraits["obama.jpg"]), 400) == 26
    assert refused(bound.get("/api/v1/recognition/nothing"), 404) == 0


def test_a_key_of_no_one_collection_is_told_so_and_no_key_is_401(real, portraits):
    for grants in ((Grant("admin"),), (Grant("viewer", "a"), Grant("viewer", "b"))):
        answer = real.client(*grants).get(f"{RECOGNITION}/subjects")
        assert refused(answer, 400) == 26 and "exactly one collection" in answer.json()["message"]
    nobody = httpx.Client(transport=real.transport, base_url="http://edge")
    assert refused(nobody.get(f"{RECOGNITION}/subjects"), 401) == 10


def test_faces_that_were_indexed_one_by_one_go_by_what_they_were_called(real, bound, gallery, portraits):
    from lookalike.answers import Caller
    from tests.api.conftest import ADMIN

    name = gallery[1].rsplit("/", 1)[1]
    size = Image.open(io.BytesIO(portraits["obama.jpg"])).size
    real.services.faces.index(
        Caller(ADMIN, "-"), name, portraits["obama.jpg"], lambda _: size, external_image_id="obama"
    )
    (face,) = post(bound, "/recognize", portraits["obama2.jpg"]).json()["result"]
    assert face["subjects"][0]["subject"] == "obama"


def test_every_call_is_in_the_table(tmp_path):
    services = doubles.services(tmp_path)
    app = create_app(services)
    routes = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, APIRoute) and route.path.startswith("/api/v1/")
        for method in route.methods
    }
    assert routes == set(NEEDS)
    services.close()


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_role_may_call_exactly_what_the_table_says(real, gallery, role):
    client = real.client(Grant(role, gallery[1].rsplit("/", 1)[1]))
    wrong = []
    for (method, path), needs in NEEDS.items():
        files = dict.fromkeys(("file", "source_image", "target_image"), b"no picture") if method == "POST" else None
        if "verification" in path:
            files.pop("file")
        elif files:
            files = {"file": files["file"]}
        answer = client.request(method, path.format(subject="nobody", image_id=NOBODY), files=files)
        if (answer.status_code == 403) == (needs in ROLES[role]):
            wrong.append((method, path, answer.status_code))
    assert wrong == []


def test_refusals_are_audited(real, gallery):
    name = gallery[1].rsplit("/", 1)[1]
    answer = real.client(Grant("viewer", name)).post(f"{RECOGNITION}/recognize", content=b"")
    assert refused(answer, 403) == 1
    entries = real.services.audit.page(0, 100_000)
    assert [(e.action, e.outcome, e.collection) for e in entries if e.request_id == answer.headers["x-request-id"]] == [
        ("identify", "denied", name)
    ]
