"""Another model for a collection while people are identified, enrolled and erased, and the service is killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

from api.client import ClientError

KILLS = int(os.environ.get("LOOKALIKE_KILLS", "2"))
SEED = int(os.environ.get("LOOKALIKE_KILL_SEED", "7"))
SUBJECTS = 40
ENOUGH_S = 120
pytestmark = pytest.mark.slow


def known(client, portraits) -> tuple[set[str], str]:
    found = client.identify("staff", portraits["obama2.jpg"], faces="largest", limit=100)
    return {candidate["subject"] for candidate in found["faces"][0]["candidates"]}, found["model"]


def ended(client, id: str) -> dict:
    deadline = time.monotonic() + ENOUGH_S
    while (job := client.job(id))["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    return job


def fill(client, portraits) -> set[str]:
    client.create_collection("staff")
    for number in range(SUBJECTS):
        client.enrol("staff", f"subject {number}", portraits["obama.jpg"])
    return {f"subject {number}" for number in range(SUBJECTS)}


def samples_of(client, everybody: set[str]) -> dict[str, list[str]]:
    return {subject: [x["id"] for x in client.subject("staff", subject)["samples"]] for subject in everybody}


def test_nobody_notices_that_the_model_changes(installation, portraits) -> None:
    with installation.start() as client:
        everybody = fill(client, portraits)
        answers: list[tuple[set[str], str]] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answers.append(known(client, portraits))

        asking = threading.Thread(target=ask)
        asking.start()
        job = client.reindex("staff", model="sface")
        client.enrol("staff", "late", portraits["obama.jpg"])
        client.erase("staff", "subject 3")
        job = ended(client, job["id"])
        stop.set()
        asking.join()

        assert job["state"] == "done" and job["result"]["promoted"], job
        assert known(client, portraits) == (everybody - {"subject 3"} | {"late"}, "sface")
        assert {model for _, model in answers} <= {"sface-int8", "sface"}
        assert all(everybody - {"subject 3"} <= found for found, _ in answers), "an answer missed somebody"
        client.roll_back("staff")
        assert known(client, portraits) == (everybody - {"subject 3"} | {"late"}, "sface-int8")


def test_a_service_killed_in_the_middle_goes_on_by_itself_and_loses_nobody(installation, portraits) -> None:
    lots = random.Random(SEED)
    with installation.start() as client:
        everybody = fill(client, portraits)
        ids = samples_of(client, everybody)
        job = client.reindex("staff", model="sface")
        time.sleep(lots.uniform(0.0, 1.0))
        installation.stop(signal.SIGKILL)
    for _ in range(KILLS - 1):
        with installation.start() as client:
            assert known(client, portraits)[0] == everybody
            time.sleep(lots.uniform(0.0, 10.0))
            installation.stop(signal.SIGKILL)
    with installation.start() as client:
        found = ended(client, job["id"])
        assert found["state"] == "done" and found["result"]["samples"] == SUBJECTS, found
        assert known(client, portraits) == (everybody, "sface")
        assert samples_of(client, everybody) == ids
        with pytest.raises(ClientError, match="generation"):
            client.promote("staff")
    assert installation.command("audit", "verify").returncode == 0


def test_the_command_does_it_without_a_service(installation, portraits, album) -> None:
    installation.json("collections", "create", "staff")
    installation.json("enrol", "staff", album)
    job = installation.json("reindex", "staff", "--model", "sface", "--hold")
    assert job["result"]["promoted"] is False
    assert installation.json("collections", "show", "staff")["model"] == "sface-int8"
    assert installation.json("reindex", "staff", "--promote")["model"] == "sface"
    assert installation.json("reindex", "staff", "--rollback")["model"] == "sface-int8"
    refused = installation.command("reindex", "staff", "--index", "nonsense:")
    assert refused.returncode == 1 and "exact:, faiss+disk:, faiss:" in refused.stderr
    assert installation.json("jobs", "list")["items"][0]["state"] == "done"
    faces = {m["name"] for m in installation.json("models", "list")["items"] if m["kind"] == "face"}
    assert faces == {"sface-int8", "sface"}


def test_a_re_indexing_in_hand_can_be_given_up(installation, portraits) -> None:
    with installation.start() as client:
        everybody = fill(client, portraits)
        job = client.reindex("staff", model="sface", hold=True)
        assert client.give_up_reindex("staff").get("generations") == []
        assert client.job(job["id"])["state"] in ("cancelled", "done")
        assert known(client, portraits)[0] == everybody


def test_a_held_model_can_be_tried_on_live_probes(installation, portraits) -> None:
    with installation.start() as client:
        everybody = fill(client, portraits)
        ended(client, client.reindex("staff", model="sface", hold=True)["id"])
        installation.json("reindex", "staff", "--canary", "1.0", remote=True)
        for _ in range(5):
            assert known(client, portraits) == (everybody, "sface")
        deadline = time.monotonic() + ENOUGH_S
        while (counted := client.trial("staff")["counted"])["compared"] + counted["skipped"] < 5:
            assert time.monotonic() < deadline, counted
            time.sleep(0.1)
        assert (counted["lost"], counted["gained"], counted["failed"]) == (0, 0, 0)
        shown = installation.command("reindex", "staff", "--trial", remote=True)
        assert "canary on 100%" in shown.stdout
        with pytest.raises(ClientError, match="share"):
            client.try_out("staff", "canary", 2.0)
        assert client.promote("staff")["model"] == "sface"
