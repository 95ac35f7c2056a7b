"""kill -9 of an Elasticsearch node under enrolments and erasures: no acknowledged is lost, no erased is back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from index.elastic_servers import ElasticServers
from lookalike.errors import IndexUnavailable
from tests import elastic
from tests.lookalike.conftest import open_at

pytestmark = [pytest.mark.service, pytest.mark.slow]

SERVE = Path(__file__).resolve().parents[1] / "services" / "elasticsearch" / "serve"
ANSWERS = SERVE.with_name("answers.py")
KILLS = int(os.environ.get("LOOKALIKE_KILLS", "1"))
PEOPLE = 60
START_S = 240


class Node:
    """A node of this test's own, with its data in a folder that outlives it."""

    def __init__(self, data: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._data = data
        self.start()

    def start(self) -> None:
        with (self._data.parent / "node.log").open("ab") as log:
            command = [SERVE, elastic.home(), str(self.port), self._data]
            environment = os.environ | {"ES_HEAP": "512m"}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def wait(self) -> None:
        until = time.monotonic() + START_S
        while subprocess.run([sys.executable, ANSWERS, str(self.port), elastic.home()], check=False).returncode:
            assert self._process.poll() is None, "the node ended"
            assert time.monotonic() < until, "the node does not answer"
            time.sleep(0.5)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def node(tmp_path):
    elastic.url()
    made = Node(tmp_path / "node")
    yield made
    made.kill()


def test_a_killed_node_loses_nobody_and_brings_nobody_back(node, tmp_path, admin, shoot, pictures):
    node.wait()
    url = f"es+https://admin@localhost:{node.port}"
    servers = ElasticServers([url], elastic.options(timeout_s=2.0))
    house = open_at(tmp_path / "data", make_index=lambda _, *index: servers.open(url, *index), servers=servers)
    house.gallery.create_collection(admin, "staff")
    enrolled, erased, stop = set(), set(), threading.Event()

    def write(first: int) -> None:
        for who in range(first, PEOPLE, 2):
            while not stop.is_set():
                try:
                    house.gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
                    enrolled.add(who)
                    break
                except IndexUnavailable:
                    time.sleep(0.05)
            if who % 3 == 2 and who in enrolled:
                house.gallery.erase_subject(admin, "staff", f"p{who}")
                erased.add(who)

    def follow() -> None:
        while not stop.is_set():
            try:
                house.rosters.catch_up()
                house.rosters.check()
            except IndexUnavailable:
                pass
            time.sleep(0.1)

    workers = [threading.Thread(target=write, args=(first,)) for first in (0, 1)]
    follower = threading.Thread(target=follow)
    for each in (*workers, follower):
        each.start()
    try:
        for _ in range(KILLS):
            before = len(enrolled)
            until = time.monotonic() + START_S
            while len(enrolled) < min(before + 15, PEOPLE) and time.monotonic() < until:
                time.sleep(0.02)
            node.kill()
            time.sleep(0.5)
            node.start()
            node.wait()
        for each in workers:
            each.join(START_S)
    finally:
        stop.set()
        follower.join()

    house.rosters.catch_up()
    house.rosters.check()
    where = house.records.collection("staff")
    there = house.rosters.of(where).index.labels().tolist()
    assert there == sorted(s.number for batch in house.records.stream_samples(where) for s in batch)
    assert len(enrolled) == PEOPLE
    assert len(house.rosters.of(where)) == len(enrolled - erased)
    for who in range(PEOPLE):
        candidates = house.gallery.identify(admin, "staff", shoot(who)).faces[0].candidates
        found = {candidate.subject.id for candidate in candidates}
        assert (f"p{who}" in found) == (who not in erased)
    house.close()
    servers.close()
