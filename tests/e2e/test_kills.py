"""kill -9 in the middle of enrolments: what was acknowledged stays, what is run again is not doubled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.client import Client, ClientError

KILLS = int(os.environ.get("LOOKALIKE_KILLS", "3"))
SUBJECTS = 30
FILES = 30
pytestmark = pytest.mark.slow
SEED = int(os.environ.get("LOOKALIKE_KILL_SEED", "7"))


def samples_of(client: Client, subject: str) -> list[str]:
    try:
        return [sample["id"] for sample in client.subject("staff", subject)["samples"]]
    except ClientError as error:
        assert error.code == "subject_not_found"
        return []


def test_a_service_killed_under_enrolment_loses_nothing_acknowledged_and_doubles_nothing(
    installation, portraits
) -> None:
    lots = random.Random(SEED)
    acknowledged: dict[str, str] = {}

    def enrol_until_it_breaks(client: Client, first: int) -> None:
        for number in range(first, SUBJECTS, 2):
            subject = f"subject {number}"
            try:
                answer = client.enrol("staff", subject, portraits["obama.jpg"], idempotency_key=f"key {number}")
            except ClientError as error:
                assert error.status in (0, 503), error
                return
            sample = answer["samples"][0]["id"]
            assert acknowledged.setdefault(subject, sample) == sample

    for kill in range(KILLS):
        with installation.start() as client:
            if not kill:
                client.create_collection("staff")
            for subject, sample in acknowledged.items():
                assert samples_of(client, subject) == [sample]
            threads = [threading.Thread(target=enrol_until_it_breaks, args=(client, first)) for first in (0, 1)]
            for thread in threads:
                thread.start()
            time.sleep(lots.uniform(0.05, 1.0))
            installation.stop(signal.SIGKILL)
            for thread in threads:
                thread.join()

    with installation.start() as client:
        for first in (0, 1):
            enrol_until_it_breaks(client, first)
        assert len(acknowledged) == SUBJECTS
        for subject, sample in acknowledged.items():
            assert samples_of(client, subject) == [sample]
        assert client.collection("staff")["samples"] == SUBJECTS
        found = client.identify("staff", portraits["obama2.jpg"], faces="largest", limit=100)
        assert {c["subject"] for c in found["faces"][0]["candidates"]} == set(acknowledged)
    assert installation.command("audit", "verify").returncode == 0


@pytest.fixture
def crowd(portraits, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "crowd"
    for number in range(FILES):
        (folder / f"subject {number}").mkdir(parents=True)
        (folder / f"subject {number}" / "1.jpg").write_bytes(portraits["obama.jpg"])
    return folder


@pytest.mark.parametrize("journal", ["kept", "lost"])
def test_an_enrolling_command_killed_and_run_again_ends_with_each_picture_once(
    installation, crowd: Path, journal: str
) -> None:
    lots = random.Random(SEED)
    installation.json("collections", "create", "staff")
    for _ in range(KILLS):
        run = subprocess.Popen(
            [sys.executable, "-P", "-m", "api.cli", "enrol", "staff", str(crowd)],
            cwd=installation.folder,
            env=installation.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(lots.uniform(1.5, 3.5))
        run.kill()
        run.wait()
        if journal == "lost":
            shutil.rmtree(installation.folder / "state", ignore_errors=True)

    last = installation.json("enrol", "staff", crowd)
    shown = installation.json("collections", "show", "staff")

    assert last["enrolled"] + last["skipped"] == FILES
    assert (shown["subjects"], shown["samples"]) == (FILES, FILES)


def test_ctrl_c_says_how_to_go_on(installation, crowd: Path) -> None:
    installation.json("collections", "create", "staff")
    run = subprocess.Popen(
        [sys.executable, "-P", "-m", "api.cli", "enrol", "staff", str(crowd), "--threads", "1"],
        cwd=installation.folder,
        env=installation.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    journals = installation.folder / "state" / "lookalike" / "enrol"
    while run.poll() is None and not any(file.stat().st_size for file in journals.glob("*")):
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)

    assert run.returncode == 1
    assert "run the same command again" in said
    assert "Traceback" not in said
