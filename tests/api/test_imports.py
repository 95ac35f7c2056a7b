"""Imports over HTTP, with the real model and store: taken in sealed, enrolled by a job, and told of to few."""

from __future__ import annotations

import base64
import csv
import io
import json
import time
from pathlib import Path

import httpx
import pytest

from lookalike.domain import Grant
from lookalike.settings import Settings
from tests.api.conftest import Real
from tests.api.test_zip_archive import encrypted, zipped


def ended(client: httpx.Client, job: dict) -> dict:
    deadline = time.monotonic() + 60
    while job["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, "the job does not end"
        time.sleep(0.05)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    return job


@pytest.fixture(scope="module")
def archive(portraits) -> bytes:
    """Two people in three pictures, and two files that are none."""
    return zipped(
        {
            "Ada/1.jpg": portraits["obama.jpg"],
            "Ada/2.jpg": portraits["obama2.jpg"],
            "Bob/1.jpg": portraits["biden.jpg"],
            "Bob/canary.jpg": b"a picture named canary, in the clear",
            "loose.jpg": portraits["biden.jpg"],
        }
    )


@pytest.fixture
def folder(real: Real) -> Path:
    return real.services.settings.data / "imports"


def test_a_zip_is_enrolled_by_a_job_and_what_was_refused_is_listed(gallery, archive, folder):
    client, path = gallery
    answer = client.post(f"{path}/imports", files={"file": archive})
    assert answer.status_code == 202 and answer.json()["kind"] == "import"
    job = ended(client, answer.json())
    assert job["state"] == "done"
    assert job["result"] == {"pictures": 5, "enrolled": 3, "rejected": 2, "conflicts": 0}
    assert {s["id"] for s in client.get(f"{path}/subjects").json()["items"]} == {"Ada", "Bob"}
    rejected = client.get(f"/v1/jobs/{job['id']}/rejected").json()
    assert [(i["path"], i["subject"], i["reasons"]) for i in rejected["items"]] == [
        ("Bob/canary.jpg", "Bob", ["unsupported_image"]),
        ("loose.jpg", "", ["not_in_a_subject_folder"]),
    ]
    text = client.get(f"/v1/jobs/{job['id']}/rejected?format=csv")
    assert text.headers["content-type"].startswith("text/csv")
    assert list(csv.reader(io.StringIO(text.text)))[1] == ["Bob/canary.jpg", "Bob", "unsupported_image"]
    lies = b"".join(file.read_bytes() for file in folder.iterdir())
    assert b"canary" not in lies and not list(folder.glob("*.pictures"))


def test_ndjson_brings_what_is_known_of_its_subjects(gallery, portraits):
    client, path = gallery
    image = base64.b64encode(portraits["obama.jpg"]).decode()
    line = {"subject": "Ada", "image": image, "metadata": {"site": "north"}, "consent": {"basis": "contract"}}
    job = ended(client, client.post(f"{path}/imports", files={"file": json.dumps(line).encode()}).json())
    assert job["result"]["enrolled"] == 1
    subject = client.get(f"{path}/subjects/Ada").json()
    assert subject["metadata"] == {"site": "north"} and subject["consent"]["basis"] == "contract"


def test_the_same_archive_again_doubles_nothing(gallery, archive):
    client, path = gallery
    for _ in range(2):
        ended(client, client.post(f"{path}/imports", files={"file": archive}).json())
    assert client.get(path).json()["samples"] == 3


def test_an_import_is_taken_in_once_for_its_idempotency_key(gallery, archive, folder):
    client, path = gallery
    headers = {"idempotency-key": "once"}
    first = client.post(f"{path}/imports", files={"file": archive}, headers=headers)
    again = client.post(f"{path}/imports", files={"file": archive}, headers=headers)
    other = client.post(f"{path}/imports", files={"file": zipped({"a/b": b"x"})}, headers=headers)
    assert again.json()["id"] == first.json()["id"] and again.headers["idempotency-replayed"] == "true"
    assert other.json()["code"] == "idempotency_mismatch"
    ended(client, first.json())
    assert not list(folder.glob("*.pictures"))


@pytest.mark.parametrize(
    ("file", "status", "code"),
    [
        (b"", 422, "bad_archive"),
        (b"\xff\xd8\xff a picture", 422, "bad_archive"),
        (zipped({"a/b.jpg": b"x"})[:-3], 422, "bad_archive"),
        (zipped({"a/b.jpg": bytes(50 << 20)}), 422, "bad_archive"),
        (encrypted(), 422, "bad_archive"),
    ],
    ids=["nothing", "a picture", "cut", "a bomb", "encrypted"],
)
def test_a_file_that_cannot_be_read_is_refused_and_leaves_no_trace(gallery, folder, file, status, code):
    client, path = gallery
    answer = client.post(f"{path}/imports", files={"file": file})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not list(folder.glob("*.pictures")) and not list(folder.glob(".*"))
    assert all(job["collection"] != path.rpartition("/")[2] for job in client.get("/v1/jobs").json()["items"])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"files": {"images": b"x"}}, "missing_field"),
        ({"files": [("file", b"{}"), ("file", b"{}")]}, "invalid_input"),
        ({"content": b"PK", "headers": {"content-type": "application/zip"}}, "unsupported_media_type"),
        (
            {"content": b"--b\r\nnonsense", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            "invalid_input",
        ),
    ],
)
def test_a_body_of_another_shape_is_refused_and_leaves_no_trace(gallery, folder, sent, code):
    client, path = gallery
    answer = client.post(f"{path}/imports", **sent)
    assert answer.json()["code"] == code
    assert not list(folder.glob("*.pictures")) and not list(folder.glob(".*"))


def test_a_file_beyond_the_limit_is_refused(real, gallery):
    client, path = gallery
    limit = real.services.settings.max_import_bytes
    answer = client.post(f"{path}/imports", content=b"", headers={"content-length": str(limit + 20_000)})
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")


def test_what_would_fill_the_disk_is_refused_before_it_is_sent(gallery, monkeypatch):
    client, path = gallery
    monkeypatch.setattr("security.sealed_imports.RESERVE_BYTES", 1 << 60)
    answer = client.post(f"{path}/imports", files={"file": b"x"})
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")


def test_an_enroller_follows_its_own_import_and_no_other_does(real, gallery, archive):
    admin, path = gallery
    name = path.rpartition("/")[2]
    enroller, other = real.client(Grant("enroller", name)), real.client(Grant("enroller", name))
    job = ended(enroller, enroller.post(f"{path}/imports", files={"file": archive}).json())
    assert [j["id"] for j in enroller.get("/v1/jobs").json()["items"]] == [job["id"]]
    assert other.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert other.get(f"/v1/jobs/{job['id']}/rejected").status_code == 404
    operator = real.client(Grant("operator", name))
    assert operator.get(f"/v1/jobs/{job['id']}").status_code == 200
    assert operator.get(f"/v1/jobs/{job['id']}/rejected").status_code == 403
    assert admin.get(f"/v1/jobs/{job['id']}/rejected").status_code == 200


def test_a_job_that_is_no_import_refused_nothing(real, gallery):
    client, path = gallery
    job = ended(client, client.post(f"{path}/calibrate").json())
    assert client.get(f"/v1/jobs/{job['id']}/rejected").json()["code"] == "job_not_found"


def test_a_list_is_given_page_by_page(gallery):
    client, path = gallery
    archive = zipped({f"a/{n}.jpg": b"no picture %d" % n for n in range(5)})
    job = ended(client, client.post(f"{path}/imports", files={"file": archive}).json())
    found, query = [], {"limit": "2"}
    while True:
        page = client.get(f"/v1/jobs/{job['id']}/rejected", params=query).json()
        found += [item["number"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == [0, 1, 2, 3, 4]


def test_a_path_of_another_name_is_not_streamed(real):
    assert Settings().max_import_bytes > Settings().max_request_bytes
    client = real.client(Grant("admin"))
    answer = client.post("/v1/collections/c/imports/x", headers={"content-length": "70000000"}, content=b"")
    assert answer.status_code == 413
