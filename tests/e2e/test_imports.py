"""kill -9 in the middle of an import: the service goes on by itself, and everybody is there once."""

from __future__ import annotations

import os
import random
import signal
import time
import zipfile
from pathlib import Path

import pytest

from api.client import Client

KILLS = int(os.environ.get("LOOKALIKE_KILLS", "3"))
SEED = int(os.environ.get("LOOKALIKE_KILL_SEED", "7"))
SUBJECTS = 300
pytestmark = pytest.mark.slow


def done(client: Client, id: str) -> int:
    return int(client.job(id)["progress"]["done"])


def test_an_import_survives_kills_of_the_service_and_its_sender(installation, portraits, tmp_path: Path) -> None:
    lots = random.Random(SEED)
    archive = tmp_path / "people.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(SUBJECTS):
            packed.writestr(f"person {number}/1.jpg", portraits["obama.jpg"])
        packed.writestr("person 0/canary-name.jpg", b"canary-bytes, no picture")
    with installation.start() as client:
        client.create_collection("staff")
        begun = installation.command("enrol", "staff", archive, "--detach", "--json", remote=True)
        assert begun.returncode == 0, begun.stderr
        (job,) = (found for found in client.jobs() if found["kind"] == "import")
        checkpoints = [0]
        for _ in range(KILLS):
            deadline = time.monotonic() + 60
            while done(client, job["id"]) <= checkpoints[-1] + lots.randrange(20):
                assert time.monotonic() < deadline, "the import does not go on"
                time.sleep(0.05)
            checkpoints.append(done(client, job["id"]))
            installation.stop(signal.SIGKILL)
            client.close()
            client = installation.start()
            assert done(client, job["id"]) >= checkpoints[-1] or client.job(job["id"])["state"] == "done"
        ended = client.wait(client.job(job["id"]))
        assert ended["result"]["pictures"] == SUBJECTS + 1 and ended["result"]["rejected"] == 1
        assert [item["path"] for item in client.rejected(job["id"]) if item["reasons"]] == ["person 0/canary-name.jpg"]
        found = client.collection("staff")
        assert (found["subjects"], found["samples"]) == (SUBJECTS, SUBJECTS)
        assert client.job(job["id"])["state"] == "done"
        client.close()
    imports = installation.data / "imports"
    assert not list(imports.glob("*.pictures"))
    for file in (path for path in installation.data.rglob("*") if path.is_file()):
        assert not any(canary in file.read_bytes() for canary in (b"canary-name", b"canary-bytes")), file.name
