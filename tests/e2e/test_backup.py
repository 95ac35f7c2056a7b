"""Backing up a service at work, and serving from what was restored."""

from __future__ import annotations

import shutil
import threading

import pytest

from tests.e2e.conftest import Installation

ERASED, KEPT = "obama.jpg", "astronaut.png"


@pytest.fixture
def kept(installation):
    ledger = installation.folder / "ledger"
    ledger.mkdir()
    made = installation.command("backup", "keygen", installation.folder / "offline.key")
    assert made.returncode == 0, made.stderr
    installation.settings |= {
        "LOOKALIKE_LEDGER": str(ledger),
        "LOOKALIKE_BACKUP_KEY": str(installation.folder / "offline.key.pub"),
    }
    return installation


def who(client, image):
    return [c["subject"] for face in client.identify("staff", image)["faces"] for c in face["candidates"]]


def test_whoever_is_erased_after_a_backup_of_the_running_service_stays_unknown_to_the_restored_one(
    kept, portraits, tmp_path
):
    offline = kept.folder / "offline.key"
    with kept.start() as client:
        client.create_collection("staff")
        client.enrol("staff", "Barack Obama", portraits[ERASED])
        client.enrol("staff", "Eileen Collins", portraits[KEPT])
        refused = []

        def busy() -> None:
            for n in range(12):
                try:
                    client.enrol("staff", f"another {n}", portraits["biden.jpg"])
                except Exception as error:
                    refused.append(error)

        enrolling = threading.Thread(target=busy)
        enrolling.start()
        made = kept.json("backup", "create", "--out", kept.folder / "one.backup")
        enrolling.join()
        assert refused == []
        assert who(client, portraits["obama2.jpg"]) == ["Barack Obama"]
        assert client.erase("staff", "Barack Obama")["ledger"] == "written"
        assert who(client, portraits["obama2.jpg"]) == []
    kept.stop()

    alone = Installation(tmp_path / "elsewhere", dict(kept.settings))
    alone.folder.mkdir()
    refused = alone.command(
        "backup", "restore", made["file"], "--key", offline, LOOKALIKE_LEDGER=str(alone.folder / "none")
    )
    assert (refused.returncode, "ledger_mismatch" in refused.stderr) == (1, True)
    restored = alone.json("backup", "restore", made["file"], "--key", offline)
    assert restored["left_out"] == {"subjects": 1, "samples": 1}

    with alone.start() as client:
        assert who(client, portraits["obama2.jpg"]) == []
        assert who(client, portraits[KEPT]) == ["Eileen Collins"]
        assert "Barack Obama" not in [subject["id"] for subject in client.subjects("staff")]
        client.enrol("staff", "Barack Obama", portraits[ERASED])
        assert who(client, portraits["obama2.jpg"]) == ["Barack Obama"]
    alone.stop()
    assert alone.json("audit", "verify")["sound"]

    old = kept.command("collections", "list")
    assert (old.returncode, "older than its ledger" in old.stderr) == (1, True)


def test_an_older_copy_of_the_data_folder_put_back_does_not_serve(kept, portraits):
    with kept.start() as client:
        client.create_collection("staff")
        client.enrol("staff", "Barack Obama", portraits[ERASED])
    kept.stop()
    shutil.copytree(kept.data, kept.folder / "copy")
    kept.json("erase", "staff", "Barack Obama")
    shutil.rmtree(kept.data)
    (kept.folder / "copy").rename(kept.data)

    done = kept.command("serve")

    assert (done.returncode, done.stderr.count("\n"), "ledger_mismatch" in done.stderr) == (1, 1, True)
