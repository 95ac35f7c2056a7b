"""Keys are rotated in a real service: killed in the middle it goes on, and every replica refuses what was before."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from api.client import Client, ClientError
from api.record_store import open_rows
from lookalike.domain import AuditEntry, Box, NewSample, Quality
from lookalike.settings import Settings
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.sealed_records import SealedRecords
from tests.e2e.conftest import Installation

pytestmark = pytest.mark.slow
PEOPLE = 3000
PATIENCE_S = 120.0


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Installation]]:
    """One installation on SQLite, or two on one PostgreSQL."""
    settings = {"LOOKALIKE_KEYS": f"file:{tmp_path}/root.key", "LOOKALIKE_ROTATE_AFTER_HOURS": "0"}
    database = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql")
        database = f"test_{secrets.token_hex(8)}"
        server.run(f"CREATE DATABASE {database}")
        settings["LOOKALIKE_RECORDS"] = server.database(database)
        settings["LOOKALIKE_POSTGRESQL_PASSWORD_FILE"] = str(server.password_file)
        settings["LOOKALIKE_POSTGRESQL_CA"] = str(server.ca)
    made = []
    for name in ("a", "b") if database else ("a",):
        (tmp_path / name).mkdir()
        made.append(Installation(tmp_path / name, dict(settings)))
    yield made
    for installation in made:
        if installation.process is not None:
            installation.stop(signal.SIGKILL)
    if database:
        server.run(f"DROP DATABASE {database} WITH (FORCE)")


def settings_of(where: Installation) -> Settings:
    held = {name.removeprefix("LOOKALIKE_").lower(): value for name, value in where.settings.items()}
    return Settings(data=where.data, **held)


def fill(where: Installation) -> None:
    settings = settings_of(where)
    with open_rows(settings) as rows:
        keyring = open_key_ring(settings.keys, settings.data, rows)
        records = SealedRecords(rows, keyring, SealedAuditLog(rows, keyring))
        staff = records.collection("staff")
        vector = np.full(staff.space.dimension, staff.space.dimension**-0.5, np.float32)
        sample = NewSample(secrets.token_hex(16), Box(0, 0, 112, 112), Quality(1.0), vector)
        records.add_samples(staff, "person 0", [sample], AuditEntry("test", "test", "ok", "-"))
        (first,) = rows.read().subjects_page(staff.id, "", 1)
        sealer = records._sealer
        new = [
            sealer.new_subject(staff, replace(sealer.open_subject(first), id=f"person {n}"), 0.0)[0]
            for n in range(1, PEOPLE)
        ]
        rows.write(lambda tx: [tx.put_subject(row) for row in new])


def rows_of(where: Installation):
    with open_rows(settings_of(where)) as rows:
        (staff,) = rows.read().collections()
        return staff, rows.read().subjects_page(staff.id, "", PEOPLE + 10)


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def versions(client: Client) -> list[tuple[int, int]]:
    return [(each["version"], each["subjects"]) for each in client.key_status()["items"][0]["versions"]]


def test_killed_in_the_middle_it_is_gone_on_with_and_the_old_version_is_refused_everywhere(replicas):
    first, last = replicas[0], replicas[-1]
    with first.start() as client:
        client.create_collection("staff")
    first.stop()
    fill(first)
    staff, before = rows_of(first)

    with first.start() as client:
        job = client.rotate_keys("staff")
        until(lambda: any(version == 2 and subjects for version, subjects in versions(client)))
        first.stop(signal.SIGKILL)

    with first.start() as client, last.start() if last is not first else first.client() as other:
        assert {client.subject("staff", f"person {n}")["id"] for n in range(0, PEOPLE, 300)} == {
            f"person {n}" for n in range(0, PEOPLE, 300)
        }
        assert client.wait(client.job(job["id"]))["result"]["collections"] == 1
        assert versions(client) == [(2, PEOPLE)]
        for each in (client, other):
            assert each.subject("staff", "person 7")["id"] == "person 7"

        with open_rows(settings_of(first)) as rows:
            rows.write(lambda tx: [tx.put_subject(row) for row in before])
        for each in (client, other):
            until(lambda each=each: refused(each))

        with open_rows(settings_of(first)) as rows:
            rows.write(lambda tx: tx.put_collection(staff))
        for each in (client, other):
            until(lambda each=each: refused(each))


def refused(client: Client) -> bool:
    try:
        client.subject("staff", "person 7")
    except ClientError as error:
        return error.code == "tampered_data"
    return False


def test_the_service_rotates_after_an_erasure_by_itself(replicas):
    with replicas[0].start() as client:
        client.create_collection("staff")
        client.put_subject("staff", "anna")
        client.put_subject("staff", "ben")
        client.erase("staff", "anna")
        until(lambda: versions(client) == [(2, 1)])
        assert client.key_status()["items"][0]["due_since"] is None
        rotated = [entry for entry in client.audit() if entry["action"] == "keys.rotate"]
        assert {(entry["principal"], entry["outcome"]) for entry in rotated} == {("service", "ok")}
    done = replicas[0].command("audit", "verify")
    assert done.returncode == 0, done.stderr


def test_the_command_rotates_the_data_folder_without_a_service(replicas):
    mine = replicas[0]
    mine.json("collections", "create", "staff")
    assert mine.json("keys", "rotate")["result"] == {"collections": 1, "subjects": 0}
    (item,) = mine.json("keys", "status")["items"]
    assert [each["version"] for each in item["versions"]] == [2]
    assert os.path.exists(mine.data)
