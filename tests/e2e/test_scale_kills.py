"""kill -9 of replicas on PostgreSQL and Elasticsearch under enrolments and erasures: nobody is lost, nobody is back.

LOOKALIKE_KILLS says how often; all is kept in LOOKALIKE_KILL_FOLDER if it is set, and a run that was cut short goes on.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from api.client import Client, ClientError
from tests import elastic
from tests.e2e.conftest import KEY, Installation

pytestmark = [pytest.mark.service, pytest.mark.slow]

KILLS = int(os.environ.get("LOOKALIKE_KILLS", "3"))
SEED = int(os.environ.get("LOOKALIKE_KILL_SEED", "7"))
WRITERS = 3
PEOPLE_A_WRITER = 15
"""Few enough that one answer of 100 candidates names everybody."""

ENOUGH_S = 180


class Journal:
    """What was asked for and what was acknowledged, in a file that a later run goes on with. Thread-safe."""

    def __init__(self, file: Path) -> None:
        self.asked: set[str] = set()
        self.enrolled: dict[str, str] = {}
        self.erasing: set[str] = set()
        self.erased: set[str] = set()
        self.acknowledged = self.kills = self.moves = 0
        self._lock = threading.Lock()
        lines = file.read_text().splitlines() if file.exists() else []
        for line in lines:
            self._take(*json.loads(line))
        self._file = file.open("a")

    def note(self, what: str, *of: str) -> None:
        with self._lock:
            self._file.write(json.dumps([what, *of]) + "\n")
            self._file.flush()
            self._take(what, *of)

    def _take(self, what: str, subject: str = "", sample: str = "") -> None:
        if what == "asked":
            self.asked.add(subject)
        elif what == "enrolled":
            assert self.enrolled.setdefault(subject, sample) == sample
        elif what == "erasing":
            self.erasing.add(subject)
        elif what == "erased":
            self.erased.add(subject)
        self.acknowledged += what in ("enrolled", "erased")
        self.kills += what == "kill"
        self.moves += what == "moved"

    def acknowledged_now(self) -> tuple[set[str], set[str]]:
        """Who is enrolled and who is erased, as far as that was acknowledged by now."""
        with self._lock:
            return set(self.enrolled), set(self.erased)

    def close(self) -> None:
        self._file.close()


class Replicas:
    """Two services with data folders of their own on one database and one cluster; either may be killed at any time."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.installations = [Installation(folder / name, dict(settings)) for name in ("a", "b")]
        self._clients: list[Client | None] = [None, None]
        self._made: list[Client] = []
        for installation in self.installations:
            installation.folder.mkdir(exist_ok=True)

    def start(self, number: int) -> Client:
        installation = self.installations[number]
        installation.start().close()
        client = Client(installation.url, api_key=KEY, ca=installation.data / "tls" / "ca.crt", retries=0)
        self._made.append(client)
        self._clients[number] = client
        return client

    def kill(self, number: int) -> None:
        self._clients[number] = None
        self.installations[number].stop(signal.SIGKILL)

    def insist(self, call: Callable[[Client], Any]) -> Any:
        """What the first replica answers that can. Raises: ClientError for what is not an outage."""
        deadline = time.monotonic() + ENOUGH_S
        while time.monotonic() < deadline:
            try:
                return call(random.choice(self.running() or self._made[-1:]))
            except ClientError as error:
                if error.status not in (0, 503):
                    raise
            time.sleep(0.05)
        raise AssertionError("no replica answered")

    def running(self) -> list[Client]:
        return [client for client in self._clients if client is not None]

    def end(self) -> None:
        for client in self._made:
            client.close()
        for installation in self.installations:
            if installation.process is not None:
                installation.stop(signal.SIGKILL)


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    kept = os.environ.get("LOOKALIKE_KILL_FOLDER")
    made = Path(kept) / request.node.name if kept else tmp_path
    made.mkdir(parents=True, exist_ok=True)
    return made


@pytest.fixture
def journal(folder: Path) -> Iterator[Journal]:
    made = Journal(folder / "journal")
    yield made
    made.close()


class Cluster:
    """The cluster itself, asked past the service. file: names the indexes that were there before the test's own."""

    def __init__(self, client: Elasticsearch, file: Path) -> None:
        self._client = client
        if not file.exists():
            file.write_text(json.dumps(self._all()))
        self._others = set(json.loads(file.read_text()))

    def rows(self) -> int:
        """Vectors in the test's own indexes."""
        own = self._own()
        return int(self._client.count(index=own, query={"exists": {"field": "vector"}})["count"]) if own else 0

    def clear(self) -> None:
        for name in self._own():
            self._client.indices.delete(index=name)

    def _own(self) -> list[str]:
        return [name for name in self._all() if name not in self._others]

    def _all(self) -> list[str]:
        return sorted(self._client.indices.get_alias(index="lookalike-*"))


@pytest.fixture
def cluster(folder: Path) -> Iterator[Cluster]:
    with elastic.client() as client:
        made = Cluster(client, folder / "indexes")
        yield made
        if "LOOKALIKE_KILL_FOLDER" not in os.environ:
            made.clear()


@pytest.fixture
def replicas(folder: Path, postgresql, cluster) -> Iterator[Replicas]:
    named = folder / "database"
    if not named.exists():
        named.write_text(f"test_{secrets.token_hex(8)}")
        postgresql.run(f"CREATE DATABASE {named.read_text()}")
        (folder / "root.key").write_bytes(os.urandom(32))
        (folder / "root.key").chmod(0o400)
    settings = elastic.settings() | {
        "LOOKALIKE_PROFILE": "scale",
        "LOOKALIKE_RECORDS": postgresql.database(named.read_text()),
        "LOOKALIKE_POSTGRESQL_PASSWORD_FILE": str(postgresql.password_file),
        "LOOKALIKE_POSTGRESQL_CA": str(postgresql.ca),
        "LOOKALIKE_KEYS": f"file:{folder / 'root.key'}",
        "LOOKALIKE_STANDBY_HOURS": "0",
    }
    made = Replicas(folder, settings)
    yield made
    made.end()
    if "LOOKALIKE_KILL_FOLDER" not in os.environ:
        postgresql.run(f"DROP DATABASE {named.read_text()} WITH (FORCE)")


class Writers:
    """Threads that enrol and erase through whichever replica answers, and send again what was not acknowledged."""

    def __init__(self, replicas: Replicas, journal: Journal, picture: bytes) -> None:
        self._replicas, self._journal, self._picture = replicas, journal, picture
        self.stop = threading.Event()
        self.failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, *more: Callable[[], None]) -> None:
        """Begin. more: further work that goes on until it is to stop, each time in turn."""
        works = [*(self._writing(number) for number in range(WRITERS)), *more]
        self._threads = [threading.Thread(target=self._until_stopped, args=(work,)) for work in works]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """End, once all that was asked for is acknowledged. Raises what went wrong."""
        self.stop.set()
        for thread in self._threads:
            thread.join()
        self.require_well()

    def require_well(self) -> None:
        if self.failures:
            raise self.failures[0]

    def _until_stopped(self, work: Callable[[], None]) -> None:
        try:
            while not self.stop.is_set():
                work()
        except BaseException as error:
            self.failures.append(error)

    def _writing(self, writer: int) -> Callable[[], None]:
        lots = random.Random(f"{SEED} {writer}")
        run = secrets.token_hex(3)
        numbers = iter(range(1_000_000))
        mine = [s for s in sorted(self._journal.enrolled.keys() - self._journal.erased) if s.startswith(f"w{writer} ")]

        def step() -> None:
            if len(mine) < PEOPLE_A_WRITER and (not mine or lots.random() < 0.6):
                mine.append(self._enrol(f"w{writer} {run} {next(numbers)}"))
            else:
                self._erase(mine.pop(lots.randrange(len(mine))))

        return step

    def _enrol(self, subject: str) -> str:
        self._journal.note("asked", subject)
        key = f"key of {subject}"
        done = self._replicas.insist(lambda c: c.enrol("staff", subject, self._picture, idempotency_key=key))
        self._journal.note("enrolled", subject, done["samples"][0]["id"])
        return subject

    def _erase(self, subject: str) -> None:
        self._journal.note("erasing", subject)
        try:
            self._replicas.insist(lambda c: c.erase("staff", subject))
        except ClientError as error:  # the answer to an earlier try was lost
            assert error.code == "subject_not_found"
        self._journal.note("erased", subject)


def seen(client: Client, photo: bytes) -> tuple[set[str], set[str]]:
    """Who is listed, and who is recognised; a busy machine may make a replica wait for its servers."""
    deadline = time.monotonic() + ENOUGH_S
    while True:
        try:
            listed = {subject["id"] for subject in client.subjects("staff")}
            found = client.identify("staff", photo, faces="largest", limit=100)
            return listed, {candidate["subject"] for candidate in found["faces"][0]["candidates"]}
        except ClientError as error:
            if error.status != 503 or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def check(client: Client, journal: Journal, photo: bytes, enrolled: set[str], erased: set[str]) -> None:
    """Whoever was enrolled before it started is there, whoever was erased before is not."""
    listed, recognised = seen(client, photo)
    there = enrolled - journal.erasing
    for names in (listed, recognised):
        assert not there - names, "an acknowledged enrolment is lost"
        assert not names & erased, "an erased subject is back"
        assert names <= journal.asked
    for subject in sorted(there)[:8]:
        try:
            assert [sample["id"] for sample in client.subject("staff", subject)["samples"]] == [
                journal.enrolled[subject]
            ]
        except ClientError as error:
            assert error.code == "subject_not_found" and subject in journal.erasing


def kill_under_writes(replicas: Replicas, journal: Journal, writers: Writers, photo: bytes) -> None:
    """Kill one replica, now and then both, after some acknowledgements; each must know of all of them at its start."""
    lots = random.Random(f"{SEED} {journal.kills}")
    while journal.kills < KILLS:
        wanted = journal.acknowledged + lots.randint(2, 8)
        deadline = time.monotonic() + ENOUGH_S
        while journal.acknowledged < wanted:
            writers.require_well()
            assert time.monotonic() < deadline, "the writers stand still"
            time.sleep(0.005)
        time.sleep(lots.uniform(0, 0.1))
        first = journal.kills % 2
        for number in (first, 1 - first) if lots.random() < 0.2 else (first,):
            replicas.kill(number)
            journal.note("kill")
        for number, installation in enumerate(replicas.installations):
            if installation.process is None:
                before = journal.acknowledged_now()
                check(replicas.start(number), journal, photo, *before)


def settle(replicas: Replicas, journal: Journal, cluster: Cluster, photo: bytes) -> None:
    """Both replicas, the records and the index come to be of one mind."""
    assert journal.enrolled.keys() == journal.asked
    assert journal.erased == journal.erasing
    there = journal.enrolled.keys() - journal.erased
    deadline = time.monotonic() + ENOUGH_S
    for client in replicas.running():
        while seen(client, photo) != (there, there):
            assert time.monotonic() < deadline, "a replica does not follow"
            time.sleep(0.1)
        assert client.collection("staff")["samples"] == len(there)
    while cluster.rows() != len(there):
        assert time.monotonic() < deadline, "the index holds others than the records"
        time.sleep(0.1)
    done = replicas.installations[0].command("audit", "verify")
    assert done.returncode == 0, done.stderr


def test_replicas_killed_under_enrolments_and_erasures_lose_nobody_and_bring_nobody_back(
    replicas, journal, cluster, portraits
) -> None:
    with_collection(replicas)
    writers = Writers(replicas, journal, portraits["obama.jpg"])
    writers.start()
    try:
        kill_under_writes(replicas, journal, writers, portraits["obama2.jpg"])
    finally:
        writers.join()

    settle(replicas, journal, cluster, portraits["obama2.jpg"])


def test_replicas_killed_while_the_collection_moves_to_and_fro_lose_nobody_either(
    replicas, journal, cluster, portraits
) -> None:
    there = elastic.url()
    for installation in replicas.installations:
        installation.settings |= {"LOOKALIKE_INDEX": "faiss:", "LOOKALIKE_INDEXES": json.dumps([there])}
        installation.settings["LOOKALIKE_PROFILE"] = "single"
    with_collection(replicas)
    writers = Writers(replicas, journal, portraits["obama.jpg"])
    writers.start(lambda: move(replicas, journal, there))
    try:
        kill_under_writes(replicas, journal, writers, portraits["obama2.jpg"])
    finally:
        writers.join()
    while index_of(replicas) != there:
        move(replicas, journal, there)
    settle(replicas, journal, cluster, portraits["obama2.jpg"])
    assert journal.moves >= 2


def with_collection(replicas: Replicas) -> None:
    client = replicas.start(0)
    if not list(client.collections()):
        client.create_collection("staff")
    replicas.start(1)


def index_of(replicas: Replicas) -> str:
    return str(replicas.insist(lambda c: c.collection("staff"))["index"])


def move(replicas: Replicas, journal: Journal, there: str) -> None:
    """Re-index the collection into the other index, or go on with that."""
    target = there if index_of(replicas) == "faiss:" else "faiss:"
    try:
        job = replicas.insist(lambda c: c.reindex("staff", index=target))
    except ClientError as error:
        assert error.code == "conflict", error
        job = replicas.insist(lambda c: c.reindex("staff", resume=True))
    id = job["id"]
    while (job := replicas.insist(lambda c: c.job(id)))["state"] in ("queued", "running"):
        time.sleep(0.1)
    journal.note("moved" if job["state"] == "done" else "failed", str(job.get("error")))
