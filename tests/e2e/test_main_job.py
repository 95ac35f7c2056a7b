"""The promise from end to end: enrol, identify, refuse, verify, erase, over HTTPS and by the command."""

from __future__ import annotations

import io
import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from api.client import Client, ClientError

DEADLINE_S = 10


@pytest.fixture(scope="module")
def photos(portraits: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, image in portraits.items():
        (folder / name).write_bytes(image)
    return folder


def names(answer: dict) -> list[list[str]]:
    return [[candidate["subject"] for candidate in face["candidates"]] for face in answer["faces"]]


def test_a_new_photo_is_recognised_a_stranger_refused_and_an_erased_person_forgotten(running, portraits) -> None:
    _, client = running
    client.create_collection("staff")
    client.enrol("staff", "Barack Obama", portraits["obama.jpg"])

    known = client.identify("staff", portraits["obama2.jpg"], faces="largest")
    stranger = client.identify("staff", portraits["biden.jpg"])
    assert names(known) == [["Barack Obama"]]
    assert known["faces"][0]["candidates"][0]["similarity"] >= known["threshold"]["similarity"]
    assert names(stranger) == [[]]
    assert client.verify("staff", "Barack Obama", portraits["obama3.jpg"])["match"]
    assert not client.verify("staff", "Barack Obama", portraits["biden.jpg"])["match"]
    assert client.compare(portraits["obama.jpg"], portraits["obama3.jpg"])["match"]
    assert not client.compare(portraits["obama.jpg"], portraits["astronaut.png"])["match"]

    receipt = client.erase("staff", "Barack Obama")

    assert receipt["signature"]
    assert names(client.identify("staff", portraits["obama2.jpg"], faces="largest")) == [[]]
    with pytest.raises(ClientError, match="subject_not_found"):
        client.subject("staff", "Barack Obama")


def test_who_has_no_key_or_a_revoked_one_is_turned_away(running) -> None:
    installation, client = running
    made = client.create_api_key("gate", [{"role": "viewer"}])
    ca = installation.data / "tls" / "ca.crt"
    with Client(installation.url, api_key=made["key"], ca=ca, retries=0) as gate:
        list(gate.collections())
        with pytest.raises(ClientError) as refused:
            gate.create_collection("mine")
        client.revoke_api_key(made["id"])
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                list(gate.collections())
            except ClientError as error:
                assert error.code == "unauthenticated"
                break
            assert time.monotonic() < deadline, "a revoked key still works"
            time.sleep(0.1)

    assert (refused.value.code, refused.value.status) == ("permission_denied", 403)


def test_the_certificate_is_needed_to_trust_the_service(running) -> None:
    installation, _ = running

    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(installation.url + "/healthz", context=ssl.create_default_context())
    with (
        Client(installation.url, api_key="x", retries=3) as client,
        pytest.raises(ClientError, match="not trusted"),
    ):
        client.limits()


def test_the_command_enrols_folders_and_identifies_through_the_service(running, album: Path, photos: Path) -> None:
    installation, _ = running
    installation.json("collections", "create", "gate", remote=True)

    enrolled = installation.json("enrol", "gate", album, remote=True)
    again = installation.json("enrol", "gate", album, remote=True)
    found = installation.json("identify", "gate", photos / "obama2.jpg", photos / "biden.jpg", remote=True)

    assert (enrolled["enrolled"], enrolled["rejected"]) == (2, [])
    assert (again["enrolled"], again["skipped"]) == (0, 2)
    assert [item["image"] for item in found["items"]] == [str(photos / "obama2.jpg"), str(photos / "biden.jpg")]
    assert ["Barack Obama"] in names(found["items"][0])
    assert names(found["items"][1]) == [[]]


def test_what_the_command_writes_beside_a_running_service_is_soon_seen_by_it(running, album: Path, portraits) -> None:
    installation, client = running
    client.create_collection("beside")
    installation.json("enrol", "beside", album)

    deadline = time.monotonic() + DEADLINE_S
    while not any(names(client.identify("beside", portraits["obama2.jpg"]))):
        assert time.monotonic() < deadline, "the service does not see what the command enrolled"
        time.sleep(0.1)
    installation.json("erase", "beside", "Barack Obama")
    while any(names(client.identify("beside", portraits["obama2.jpg"]))):
        assert time.monotonic() < deadline, "the service still names whom the command erased"
        time.sleep(0.1)


def test_a_person_erased_and_enrolled_again_from_the_same_folder_is_there_again(
    running, album: Path, portraits
) -> None:
    installation, client = running
    client.create_collection("return")
    installation.json("enrol", "return", album, remote=True)
    installation.json("erase", "return", "Barack Obama", remote=True)

    again = installation.json("enrol", "return", album, remote=True)

    assert (again["enrolled"], again["skipped"]) == (1, 1)
    assert ["Barack Obama"] in names(client.identify("return", portraits["obama2.jpg"]))


def test_a_manifest_gives_metadata_and_leaves_what_was_there(running, photos: Path, tmp_path: Path) -> None:
    installation, client = running
    client.create_collection("manifest")
    consent = {"basis": "contract", "reference": "4711"}
    client.put_subject("manifest", "obama", metadata={"site": "old", "floor": "2"}, consent=consent)
    manifest = tmp_path / "people.csv"
    manifest.write_text(f"path,subject,site\n{photos / 'obama.jpg'},obama,Łódź\nmissing.jpg,nobody,\n", "utf-8")

    done = installation.json("enrol", "manifest", manifest, "--rejected", tmp_path / "no.csv", remote=True)

    subject = client.subject("manifest", "obama")
    assert subject["metadata"] == {"site": "Łódź", "floor": "2"}
    assert (subject["consent"]["basis"], subject["consent"]["reference"]) == ("contract", "4711")
    assert [(one["subject"], one["reasons"]) for one in done["rejected"]] == [("nobody", ["unreadable_file"])]
    assert "missing.jpg" in (tmp_path / "no.csv").read_text()


def test_an_annotated_picture_is_left_where_it_was_asked_for(running, photos: Path, tmp_path) -> None:
    installation, client = running
    client.create_collection("drawn")
    client.enrol("drawn", "Barack Obama", photos / "obama.jpg")
    out = tmp_path / "out" / "who.png"

    installation.json("identify", "drawn", photos / "obama3.jpg", "--annotate", out, remote=True)

    with Image.open(out) as drawn, Image.open(io.BytesIO((photos / "obama3.jpg").read_bytes())) as plain:
        assert drawn.size == plain.size


def test_verify_and_compare_answer_in_json_and_in_words(running, photos: Path) -> None:
    installation, client = running
    client.create_collection("asked")
    client.enrol("asked", "Eileen Collins", photos / "astronaut.png")

    assert installation.json("verify", "asked", "Eileen Collins", photos / "astronaut.png", remote=True)["match"]
    words = installation.command("compare", photos / "obama.jpg", photos / "biden.jpg", remote=True)
    assert (words.returncode, words.stdout.split(":")[0]) == (0, "no match")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["collections", "show", "none-such"], 1, "collection_not_found"),
        (["collections", "create", "a/b"], 1, "invalid_input"),
        (["erase", "none-such", "alice"], 1, "collection_not_found"),
        (["enrol", "none-such", "."], 1, "collections create none-such"),
        (["identify", "none-such", "missing.jpg"], 2, "missing.jpg"),
        (["identify", "none-such"], 2, "Missing argument"),
        (["no-such-command"], 2, "No such command"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1_and_wrong_usage_is_2(running, arguments, code: int, said: str) -> None:
    installation, _ = running

    done = installation.command(*arguments, remote=True)

    assert done.returncode == code
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.count("\n") == 1


def test_with_json_a_failure_is_one_document_too(running) -> None:
    installation, _ = running

    done = installation.command("collections", "show", "none-such", "--json", remote=True)

    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "collection_not_found"


def test_keys_and_jobs_are_managed_by_the_command(running) -> None:
    installation, _ = running
    made = installation.json("api-keys", "create", "door", "--grant", "identifier:staff", remote=True)

    listed = installation.json("api-keys", "list", remote=True)["items"]
    installation.json("api-keys", "revoke", made["id"], remote=True)

    mine = next(key for key in listed if key["id"] == made["id"])
    assert [(grant["role"], grant["collection"]) for grant in mine["grants"]] == [("identifier", "staff")]
    assert made["key"] not in json.dumps(listed)
    assert made["id"] not in [key["id"] for key in installation.json("api-keys", "list", remote=True)["items"]]
    assert isinstance(installation.json("jobs", "list", remote=True)["items"], list)


def test_doctor_finds_the_service_running_and_nothing_wrong(running) -> None:
    installation, _ = running
    port = installation.url.rsplit(":", 1)[1]

    report = installation.json("doctor", LOOKALIKE_PORT=port)

    found = {finding["check"]: finding for finding in report["findings"]}
    assert report["ok"]
    assert "answers" in found["port"]["detail"]
    assert found["tls"]["state"] == "ok"
    assert report["settings"]["LOOKALIKE_PORT"] == port


def test_a_service_prints_no_key_when_one_was_given_and_says_ready_once(running) -> None:
    installation, _ = running

    assert [line.split()[0] for line in installation.said] == ["ready"]


def test_evaluate_measures_a_folder_of_people_and_leaves_a_report(running, photos: Path, tmp_path: Path) -> None:
    installation, _ = running
    for person, pictures in {"obama": ["obama.jpg", "obama2.jpg", "obama3.jpg"], "biden": ["biden.jpg"]}.items():
        (tmp_path / "people" / person).mkdir(parents=True)
        for name in pictures:
            (tmp_path / "people" / person / name).write_bytes((photos / name).read_bytes())

    report = installation.json("evaluate", tmp_path / "people", "--out", tmp_path / "report")

    measured = {(row["group"], row["measure"]): row["value"] for row in report["rows"]}
    assert measured["pictures", "people"] == 2
    assert measured["pictures", "with a face"] == 4
    assert (tmp_path / "report" / "report.html").stat().st_size > 1_000
