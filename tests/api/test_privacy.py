"""Retention, consent, holds, corrections and access requests over HTTP, with real pictures and models."""

from __future__ import annotations

import io
import json
import time
import zipfile

import httpx
import pytest

from lookalike.domain import Grant


def ended(client: httpx.Client, job: dict) -> dict:
    """The job once it ended."""
    deadline = time.monotonic() + 60
    while job["state"] in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(0.05)
        job = client.get(f"/v1/jobs/{job['id']}").json()
    return job


@pytest.fixture
def staff(gallery, portraits):
    """An admin's client, the path of a collection with Ann in it, and the collection's name."""
    client, path = gallery
    files = [("images", ("1", portraits["obama.jpg"])), ("images", ("2", portraits["obama2.jpg"]))]
    assert client.post(f"{path}/subjects/ann/samples", files=files).status_code == 201
    return client, path, path.rpartition("/")[2]


def test_rules_are_set_and_told_and_a_privacy_key_runs_them_and_sees_its_job(real, staff):
    _, path, name = staff
    client = real.client(Grant("privacy", name))
    told = client.patch(f"{path}/retention", json={"retention_days": 30, "require_consent": True}).json()
    assert (told["retention_days"], told["require_consent"], told["erase_expired_consent"]) == (30, True, False)
    assert (told["subjects"], told["due"], told["flagged"]) == (1, {}, {"consent_missing": 1})
    assert told["next_at"] is not None
    job = client.post(f"{path}/retention/run", json={})
    assert job.status_code == 202
    assert ended(client, job.json())["result"] == {"erased": 0, "due": 0, "held": 0, "paused": ""}
    assert client.patch(f"{path}/retention", json={"retention_days": None}).json()["retention_days"] is None


def test_an_unknown_rule_and_a_bad_number_of_days_are_refused(staff):
    client, path, _ = staff
    for body in ({}, {"days": 3}, {"retention_days": 0}, {"retention_days": True}, {"require_consent": "yes"}):
        assert client.patch(f"{path}/retention", json=body).status_code == 422, body


def test_many_who_are_due_wait_for_a_confirmation_that_names_their_number(staff):
    client, path, _ = staff
    consent = {"basis": "contract", "expires_at": "2020-01-01"}
    for number in range(30):
        client.put(f"{path}/subjects/p{number}", json={"consent": consent})
    client.patch(f"{path}/retention", json={"erase_expired_consent": True})
    refused = client.post(f"{path}/retention/run", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "needs_confirmation")
    assert "30 of 31" in refused.json()["detail"]
    job = client.post(f"{path}/retention/run", json={"confirm": True}).json()
    assert ended(client, job)["result"]["erased"] == 30
    assert [s["id"] for s in client.get(f"{path}/subjects").json()["items"]] == ["ann"]
    lines = client.get(f"{path}/retention/receipts").text.splitlines()
    assert len(lines) == 30 and all(set(json.loads(line)) == {"body", "signature", "public_key"} for line in lines)


def test_consent_is_required_given_with_the_pictures_and_withdrawn(gallery, portraits):
    client, path = gallery
    client.patch(f"{path}/retention", json={"require_consent": True})
    files = [("images", ("1", portraits["obama.jpg"]))]
    refused = client.post(f"{path}/subjects/ann/samples", files=files)
    assert (refused.status_code, refused.json()["code"]) == (422, "consent_required")
    for bad in ("no json", '{"basis": ""}', '{"basis": "consent", "until": "2030-01-01"}'):
        answer = client.post(f"{path}/subjects/ann/samples", files=[*files, ("consent", (None, bad))])
        assert answer.status_code == 422, bad
    said = ("consent", (None, '{"basis": "consent", "reference": "file 12"}'))
    assert client.post(f"{path}/subjects/ann/samples", files=[*files, said]).status_code == 201
    expected = {"basis": "consent", "reference": "file 12", "expires_at": None}
    assert client.get(f"{path}/subjects/ann").json()["consent"] == expected
    given = client.put(f"{path}/subjects/ann/consent", json={"basis": "contract", "expires_at": "2090-01-01"})
    assert given.json()["consent"]["basis"] == "contract"
    withdrawn = client.delete(f"{path}/subjects/ann/consent").json()
    assert withdrawn["erased"] and withdrawn["receipt"]["signature"]
    assert client.get(f"{path}/subjects/ann").status_code == 404


def test_a_hold_refuses_erasure_until_it_is_lifted_with_a_reason(real, staff):
    admin, path, name = staff
    client = real.client(Grant("privacy", name))
    assert client.post(f"{path}/holds", json={"subject": "ann"}).status_code == 422
    hold = client.post(f"{path}/holds", json={"subject": "ann", "reason": "file 7/26"})
    assert hold.status_code == 201
    sample = admin.get(f"{path}/subjects/ann").json()["samples"][0]["id"]
    for refused in (
        client.delete(f"{path}/subjects/ann"),
        client.delete(f"{path}/subjects/ann/samples/{sample}"),
        client.delete(path),
        admin.put(f"{path}/subjects/ann", json={"metadata": {"site": "north"}}),
        admin.put(f"{path}/subjects/ann/consent", json={"basis": "contract"}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "legal_hold")
    assert [h["reason"] for h in client.get(f"{path}/holds").json()["items"]] == ["file 7/26"]
    lift = f"{path}/holds/{hold.json()['id']}/lift"
    assert client.post(lift, json={"reason": "closed"}).status_code == 204
    assert client.post(lift, json={"reason": "closed"}).json()["code"] == "hold_not_found"
    assert client.delete(f"{path}/subjects/ann").status_code == 200


def test_an_access_request_is_answered_with_a_zip_of_a_page_the_same_as_json_and_the_pictures(real, staff, portraits):
    admin, path, name = staff
    admin.put(f"{path}/subjects/ann", json={"metadata": {"note": "<script>alert(1)</script>"}})
    admin.post(f"{path}/identify", files={"image": portraits["obama3.jpg"]})
    answer = real.client(Grant("privacy", name)).get(f"{path}/subjects/ann/export")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["cache-control"] == "no-store"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    document = json.loads(archive.read("data.json"))
    files = [file for sample in document["samples"] for file in sample["files"]]
    assert len(files) == 2 and all(archive.read(file)[:3] == b"\xff\xd8\xff" for file in files)
    assert sorted(archive.namelist()) == sorted([*files, "data.json", "index.html"])
    assert document["standing"] == "good" and document["subject"]["id"] == "ann"
    assert [(e["action"], e["how"]) for e in document["audit"]] == [
        ("sample.enrol", "named"),
        ("subject.put", "named"),
        ("identify", "matched"),
        ("subject.export", "named"),
    ]
    page = archive.read("index.html").decode()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert all(f'src="{file}"' in page for file in files)
    assert "vector" not in json.dumps(document) and document["templates"]["included"] is False


def test_a_subject_is_renamed_and_a_sample_moved(staff, portraits):
    client, path, _ = staff
    renamed = client.post(f"{path}/subjects/ann/rename", json={"id": "barack"})
    assert (renamed.status_code, renamed.json()["id"]) == (200, "barack")
    client.put(f"{path}/subjects/other", json={})
    taken = client.post(f"{path}/subjects/other/rename", json={"id": "barack"})
    assert (taken.status_code, taken.json()["code"]) == (409, "subject_exists")
    sample = client.get(f"{path}/subjects/barack").json()["samples"][0]["id"]
    move = f"{path}/subjects/barack/samples/{sample}/move"
    assert client.post(move, json={"subject": "other"}).json()["id"] == sample
    assert client.post(move, json={"subject": "other"}).json()["code"] == "sample_not_found"
    assert client.get(f"{path}/subjects/other/samples/{sample}/crop").status_code == 200
    found = client.post(f"{path}/identify?limit=5", files={"image": portraits["obama3.jpg"]}).json()
    assert {c["subject"] for c in found["faces"][0]["candidates"]} == {"barack", "other"}
