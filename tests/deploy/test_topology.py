"""Two replicas behind HAProxy, as the profile `scale` has them: one may die, and nothing is lost."""

from __future__ import annotations

import io
import signal
import threading
import time

import pytest
from PIL import Image

from api.client import Client, ClientError
from tests.deploy.conftest import DEADLINE_S, Topology, address, soon
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.service, pytest.mark.slow]
CLIENTS = 3


def names(client: Client, picture: bytes) -> set[str]:
    found = client.identify("staff", picture, faces="largest")
    return {candidate["subject"] for candidate in found["faces"][0]["candidates"]}


def smaller(picture: bytes) -> bytes:
    """So that a burst of requests is many requests, and not much decoding."""
    with Image.open(io.BytesIO(picture)) as image:
        image.thumbnail((360, 360))
        out = io.BytesIO()
        image.save(out, "JPEG")
    return out.getvalue()


class Worker(threading.Thread):
    """A client that enrols and identifies through HAProxy until told to stop, and notes what was answered."""

    def __init__(self, topology: Topology, number: int, picture: bytes) -> None:
        super().__init__()
        self.topology = topology
        self.number = number
        self.picture = picture
        self.acknowledged: list[str] = []
        self.wrong: list[str] = []
        self.enough = threading.Event()

    def run(self) -> None:
        with self.topology.through() as client:
            while not self.enough.is_set():
                name = f"{self.number}-{len(self.acknowledged)}"
                try:
                    client.enrol("crowd", name, self.picture)
                    self.acknowledged.append(name)
                    if names(client, self.picture) != {"Joe Biden"}:
                        self.wrong.append("somebody was not recognised")
                except ClientError as error:
                    self.wrong.append(f"{error.code}: {error}")
                    return


def wait_for(workers: list[Worker], more: int) -> None:
    """Until each has had so many more things acknowledged, or one was refused."""
    wanted = [len(worker.acknowledged) + more for worker in workers]
    deadline = time.monotonic() + 3 * DEADLINE_S
    while any(len(worker.acknowledged) < target for worker, target in zip(workers, wanted, strict=True)):
        assert time.monotonic() < deadline, "the clients stand still"
        if any(worker.wrong for worker in workers):
            return
        time.sleep(0.02)


def again(replica: Installation, topology: Topology) -> None:
    """Start a replica that died at the address that HAProxy knows."""
    replica.settings["LOOKALIKE_PORT"] = address(replica).rpartition(":")[2]
    replica.start().close()
    assert soon(lambda: topology.proxy.ready() == {"api-1", "api-2"})


def test_clients_enrol_and_identify_through_the_load_balancer_and_both_replicas_work(topology, portraits) -> None:
    with topology.through() as client:
        client.create_collection("staff")
        client.enrol("staff", "Barack Obama", portraits["obama.jpg"])

    def answered() -> bool:
        with topology.through() as client:  # a connection of its own each time
            return names(client, portraits["obama2.jpg"]) == {"Barack Obama"}

    assert soon(answered)
    assert soon(lambda: answered() and all(topology.proxy.connections(name) > 0 for name in ("api-1", "api-2")))
    with topology.through() as client:
        assert names(client, portraits["biden.jpg"]) == set()
        client.erase("staff", "Barack Obama")
        assert soon(lambda: names(client, portraits["obama2.jpg"]) == set())


def test_a_replica_killed_under_load_loses_no_retried_request(topology, portraits) -> None:
    picture = smaller(portraits["biden.jpg"])
    with topology.through() as client:
        for name in ("staff", "crowd"):
            if name not in {one["name"] for one in client.collections()}:
                client.create_collection(name)
        client.enrol("staff", "Joe Biden", picture)
        assert soon(lambda: names(client, picture) == {"Joe Biden"})
    for replica in topology.replicas:
        with replica.client() as client:
            assert soon(lambda client=client: names(client, picture) == {"Joe Biden"})

    workers = [Worker(topology, number, picture) for number in range(CLIENTS)]
    for worker in workers:
        worker.start()
    try:
        wait_for(workers, 2)
        topology.replicas[0].stop(signal.SIGKILL)
        wait_for(workers, 2)
    finally:
        for worker in workers:
            worker.enough.set()
            worker.join()

    again(topology.replicas[0], topology)
    assert [worker.wrong for worker in workers if worker.wrong] == []
    acknowledged = {name for worker in workers for name in worker.acknowledged}
    with topology.through() as client:
        kept = [subject["id"] for subject in client.subjects("crowd")]
        found = client.collection("crowd")
    assert acknowledged == set(kept)
    assert len(kept) == len(acknowledged)
    assert found["samples"] == len(acknowledged), "a request that was sent again enrolled twice"


def test_where_no_replica_is_ready_callers_are_told_so_by_the_service_itself(topology, postgresql, portraits) -> None:
    database = topology.replicas[0].settings["LOOKALIKE_RECORDS"].rpartition("/")[2]
    postgresql.run(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false")
    postgresql.run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'")
    try:
        assert soon(lambda: topology.proxy.ready() == set())
        with topology.through(retries=0) as client, pytest.raises(ClientError) as refused:
            client.collection("staff")
        assert (refused.value.status, refused.value.code) == (503, "storage_unavailable")
    finally:
        postgresql.run(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true")
    assert soon(lambda: topology.proxy.ready() == {"api-1", "api-2"})
