"""Every data folder that an earlier version left opens in this one: what was in it is there, and can be erased.

The samples are made by make_sample.py, each by the program of its time.
"""

from __future__ import annotations

import json

import httpx
import psycopg
import pytest

from index.schema import FORMAT
from tests.upgrade.conftest import Opened
from tests.upgrade.drawn_faces import drawn_face
from tests.upgrade.make_sample import PEOPLE, SAMPLES

NAMES = sorted(path.name.removesuffix(".tar.xz") for path in SAMPLES.iterdir())
SQLITE = [name for name in NAMES if not name.startswith("postgresql")]
MOST_BYTES = 200_000


def identify(client: httpx.Client, subject: str) -> list[str]:
    """Whom another drawing of somebody resembles, the most alike first."""
    files = {"image": drawn_face(PEOPLE[subject], take=1)}
    answer = client.post("/v1/collections/staff/identify", files=files)
    assert answer.status_code == 200, answer.text
    (face,) = answer.json()["faces"]
    return [candidate["subject"] for candidate in face["candidates"]]


def subjects(client: httpx.Client) -> list[str]:
    return sorted(item["id"] for item in client.get("/v1/collections/staff/subjects").json()["items"])


def require_all_that_a_user_left(opened: Opened) -> None:
    """What make_sample.py did with the older program."""
    assert subjects(opened.client) == ["ada", "bo"]
    assert identify(opened.client, "ada")[0] == "ada"
    assert identify(opened.client, "bo")[0] == "bo"
    assert "cy" not in identify(opened.client, "cy"), "whoever was erased stays so"


def require_all_that_a_user_does(opened: Opened) -> None:
    """Crops, enrolling, erasing: on rows that the older program wrote, beside rows of this one."""
    client, staff = opened.client, "/v1/collections/staff/subjects"
    sample = client.get(f"{staff}/ada").json()["samples"][0]["id"]
    assert client.get(f"{staff}/ada/samples/{sample}/crop").headers["content-type"].startswith("image/")
    enrolled = client.post(f"{staff}/dee/samples", files={"images": drawn_face(PEOPLE["cy"])})
    assert enrolled.status_code == 201, enrolled.text
    assert identify(client, "cy")[0] == "dee"
    erased = client.delete(f"{staff}/bo")
    assert erased.status_code == 200 and erased.json()["signature"]
    assert subjects(client) == ["ada", "dee"]
    assert "bo" not in identify(client, "bo")


def require_a_sound_audit_log(opened: Opened) -> None:
    """From the older program's first entry to this one's last; nothing of it is missing."""
    report = opened.services.audit.verify()
    assert report.sound, report
    entries = opened.client.get("/v1/audit", params={"limit": 100}).json()["items"]
    found = [entry["action"] for entry in entries if entry["outcome"] == "ok"]
    assert found.count("subject.erase") == 2, "the older program's erasure of cy, and this one's of bo"


@pytest.mark.parametrize("name", SQLITE)
def test_a_data_folder_of_an_earlier_version_serves_as_before(name, unpack, open_folder) -> None:
    data = unpack(name)
    before = json.loads((data / "format.json").read_text())["format"]

    opened = open_folder(data)

    assert json.loads((data / "format.json").read_text())["format"] == FORMAT
    assert (data / f"records.db.format-{before}").exists() == (before < FORMAT)
    require_all_that_a_user_left(opened)
    require_all_that_a_user_does(opened)
    require_a_sound_audit_log(opened)
    assert not list(data.glob("records.db.format-*")), "nobody who was erased is left in a copy"


@pytest.mark.service
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SQLITE])
def test_a_database_of_an_earlier_version_serves_as_before(name, unpack, postgresql, database, open_folder) -> None:
    data = unpack(name)
    with psycopg.connect(database, password=postgresql.password(), autocommit=True) as connection:
        connection.execute((data / "records.sql").read_text())
    named = {"postgresql_password_file": postgresql.password_file, "postgresql_ca": postgresql.ca}

    opened = open_folder(data, records=database, **named)

    require_all_that_a_user_left(opened)
    require_all_that_a_user_does(opened)
    require_a_sound_audit_log(opened)


def test_the_samples_are_small_and_there_is_one_of_each_format_of_the_folder() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) <= MOST_BYTES
    assert len(SQLITE) >= FORMAT
