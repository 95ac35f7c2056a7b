"""A re-indexing whose disk fills up, or whose database goes away: it goes on by itself, and nobody is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from api.client import Client, ClientError
from tests.e2e.conftest import Installation
from tests.faults.test_postgres_away import OwnServer

SUBJECTS = 40
ENOUGH_S = 180
pytestmark = pytest.mark.slow


def enrolled(client: Client, portraits: dict[str, bytes]) -> dict[str, list[str]]:
    """A collection of one face under many names: the samples of each."""
    client.create_collection("staff")
    names = [f"subject {number}" for number in range(SUBJECTS)]
    return {name: [x["id"] for x in client.enrol("staff", name, portraits["obama.jpg"])["samples"]] for name in names}


def samples_of(client: Client, names: set[str]) -> dict[str, list[str]]:
    return {name: [x["id"] for x in client.subject("staff", name)["samples"]] for name in names}


def known(client: Client, portraits: dict[str, bytes]) -> tuple[set[str], str]:
    found = client.identify("staff", portraits["obama2.jpg"], faces="largest", limit=100)
    return {candidate["subject"] for candidate in found["faces"][0]["candidates"]}, found["model"]


def soon(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait until it holds; while the service refuses to answer it does not."""
    deadline = time.monotonic() + ENOUGH_S
    while True:
        with suppress(ClientError):
            if condition():
                return
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


@pytest.fixture
def small_disk(installation: Installation) -> Iterator[Path]:
    """The data folder, on a file system of 200 MB."""
    if os.geteuid() != 0:
        pytest.skip("left out: only root can make a small file system")
    made = installation.data
    made.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", made], capture_output=True).returncode:
        pytest.skip("left out: a file system cannot be mounted here")
    yield made
    subprocess.run(["umount", "-l", made], check=True)


def fill(ballast: Path) -> None:
    """Take all the room that is left on its disk."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1_000_000, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def test_a_full_disk_refuses_writes_and_a_job_goes_on_by_itself_once_there_is_room(
    installation: Installation, small_disk: Path, portraits
) -> None:
    with installation.start() as client:
        people = enrolled(client, portraits)
        job = client.reindex("staff", model="sface")
        soon(lambda: client.job(job["id"])["state"] != "queued", "the job is not taken up")
        fill(small_disk / "ballast")

        def refused() -> bool:
            fill(small_disk / "ballast")
            try:
                client.enrol("staff", "one too many", portraits["biden.jpg"])
            except ClientError as error:
                assert (error.status, error.code) == (507, "storage_full")
                return True
            return False

        soon(refused, "the disk does not get full")
        soon(lambda: not client.ready(), "it says that it is ready")
        assert client.job(job["id"])["state"] != "failed"
        with pytest.raises(ClientError, match="put on record"):  # nobody is asked for without a trace
            known(client, portraits)

        (small_disk / "ballast").unlink()
        soon(client.ready, "it does not recover")
        soon(lambda: client.job(job["id"])["state"] == "done", "the job does not go on")
        assert known(client, portraits) == (set(people), "sface")
        assert samples_of(client, set(people)) == people
        assert client.enrol("staff", "one more", portraits["biden.jpg"])["rejected"] == []
    assert installation.command("audit", "verify").returncode == 0


@pytest.mark.service
def test_a_job_whose_database_is_killed_goes_on_by_itself_once_it_is_back(
    installation: Installation, postgresql, portraits
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = OwnServer(Path(folder) / "postgresql")
        installation.settings |= {
            "LOOKALIKE_RECORDS": server.url,
            "LOOKALIKE_POSTGRESQL_PASSWORD_FILE": str(server.folder / "password"),
        }
        try:
            with installation.start() as client:
                people = enrolled(client, portraits)
                job = client.reindex("staff", model="sface")
                soon(lambda: client.job(job["id"])["state"] != "queued", "the job is not taken up")
                server.end(signal.SIGKILL)
                soon(lambda: not client.ready(), "the service does not notice")
                server.start()

                soon(lambda: client.job(job["id"])["state"] not in ("queued", "running"), "the job does not go on")
                assert client.job(job["id"])["state"] == "done", client.job(job["id"])
                assert known(client, portraits) == (set(people), "sface")
                assert samples_of(client, set(people)) == people
            installation.stop()
        finally:
            server.end(signal.SIGQUIT)
