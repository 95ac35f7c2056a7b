"""The service with its vectors in Elasticsearch: moved there and back, two replicas, and a node that goes away."""

from __future__ import annotations

import time

import pytest

from api.client import Client, ClientError
from tests import elastic
from tests.e2e.conftest import KEY, Installation
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.service, pytest.mark.slow]


@pytest.fixture
def proxy():
    made = Proxy(int(elastic.url().rpartition(":")[2]))
    yield made
    made.close()


@pytest.fixture
def cluster(proxy):
    """A client of the cluster past the proxy; what a test leaves there is deleted at its end."""
    with elastic.client() as client:
        before = set(client.indices.get_alias(index="lookalike-*"))
        yield client
        for name in set(client.indices.get_alias(index="lookalike-*")) - before:
            client.indices.delete(index=name)


def recognised(client, photo):
    faces = client.identify("staff", photo, faces="largest")["faces"]
    return [candidate["subject"] for candidate in faces[0]["candidates"]]


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def replica(installation):
    """Another service on the same data folder."""
    made = Installation(installation.folder / "replica", dict(installation.settings))
    made.folder.mkdir()
    made.settings["LOOKALIKE_DATA"] = str(installation.data)
    made.client = lambda: Client(made.url, api_key=KEY, ca=installation.data / "tls" / "ca.crt", retries=2)
    return made


def test_a_collection_moves_into_elasticsearch_and_back_and_replicas_share_it(
    installation, proxy, cluster, portraits
) -> None:
    url = f"es+https://admin@localhost:{proxy.port}"
    installation.settings |= elastic.settings(url) | {
        "LOOKALIKE_INDEX": "faiss:",
        "LOOKALIKE_INDEXES": f'["{url}"]',
    }
    there_before = set(cluster.indices.get_alias(index="lookalike-*"))
    with installation.start() as client:
        client.create_collection("staff")
        client.enrol("staff", "Barack Obama", portraits["obama.jpg"])
        refused = installation.command("reindex", "staff", "--index", "es+https://elsewhere:9200", remote=True)
        assert refused.returncode == 1 and "elsewhere" not in refused.stderr
        moved = installation.command("reindex", "staff", "--index", url, remote=True)
        assert moved.returncode == 0, moved.stderr
        assert client.collection("staff")["index"] == url
        assert recognised(client, portraits["obama2.jpg"]) == ["Barack Obama"]

        second = replica(installation)
        with second.start() as other:
            client.enrol("staff", "Eileen Collins", portraits["astronaut.png"])
            wait_until(lambda: recognised(other, portraits["astronaut.png"]) == ["Eileen Collins"])
            assert other.erase("staff", "Eileen Collins")["pending"] == []
            wait_until(lambda: recognised(client, portraits["astronaut.png"]) == [])
        assert second.stop() == 0

        back = installation.command("reindex", "staff", "--index", "faiss:", remote=True)
        assert back.returncode == 0, back.stderr
        assert installation.command("reindex", "staff", "--finish", remote=True).returncode == 0
        assert recognised(client, portraits["obama2.jpg"]) == ["Barack Obama"]
        assert set(cluster.indices.get_alias(index="lookalike-*")) == there_before


@pytest.mark.parametrize("how", ["hang", "refuse"])
def test_a_service_whose_node_goes_says_so_and_recovers(installation, proxy, cluster, portraits, how) -> None:
    installation.settings |= elastic.settings(f"es+https://admin@localhost:{proxy.port}")
    with installation.start() as client:
        client.create_collection("staff")
        client.enrol("staff", "Barack Obama", portraits["obama.jpg"])
        client.enrol("staff", "Eileen Collins", portraits["astronaut.png"])
        if how == "refuse":
            proxy.refuse()
        else:
            proxy.mode = how
        with pytest.raises(ClientError) as asked:
            recognised(client, portraits["obama2.jpg"])
        assert (asked.value.status, asked.value.code) == (503, "index_unavailable")
        wait_until(lambda: not client.ready())
        with pytest.raises(ClientError) as enrolled:
            client.enrol("staff", "Joe Biden", portraits["biden.jpg"])
        assert enrolled.value.code == "index_unavailable"
        assert client.collection("staff")["samples"] == 2
        assert client.erase("staff", "Eileen Collins")["pending"] == ["index"]

        proxy.listen()
        wait_until(client.ready)
        assert recognised(client, portraits["astronaut.png"]) == []
        assert recognised(client, portraits["obama2.jpg"]) == ["Barack Obama"]
    assert installation.stop() == 0
