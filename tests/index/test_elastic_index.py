"""What the contract of an index does not ask, of a real Elasticsearch."""

from __future__ import annotations

import secrets
import time

import numpy as np
import pytest

from index import elastic_index
from index.elastic_mapping import VECTORS
from index.elastic_servers import ElasticServers
from index.exact import ExactIndex
from lookalike.domain import Embeddings, Space
from lookalike.errors import IndexUnavailable
from lookalike.ports import SharedIndex
from tests import elastic

pytestmark = pytest.mark.service

SPACE = Space("toy", 24, "none")


def unit(count, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, SPACE.dimension)).astype(np.float32)
    return Embeddings(SPACE, rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def servers():
    with elastic.opened() as made:
        yield made


@pytest.fixture
def index(servers):
    return servers.open(elastic.url(), SPACE, secrets.token_hex(16), "0")


@pytest.mark.parametrize("kind", VECTORS)
def test_each_kind_of_index_agrees_with_the_reference(kind):
    reference = ExactIndex(SPACE)
    with elastic.opened(vectors=kind) as servers:
        index = servers.open(elastic.url(), SPACE, secrets.token_hex(16), "0")
        for each in (index, reference):
            each.add(np.arange(300), unit(300))
            each.remove(range(0, 300, 7))
        found, best = (each.search(unit(20, seed=1), 5) for each in (index, reference))
    for mine, theirs in zip(found, best, strict=True):
        assert [n.similarity for n in mine] == pytest.approx([n.similarity for n in theirs], abs=1e-5)


@pytest.mark.parametrize("kind", VECTORS)
def test_the_mapping_says_how_vectors_are_held_and_names_are_random(kind):
    collection = secrets.token_hex(16)
    with elastic.opened(vectors=kind, shards=2) as servers, elastic.client() as client:
        index = servers.open(elastic.url(), Space("a-model", 512, "none"), collection, "ab12")
        facts = client.indices.get(index=index.name)[index.name]
    options = facts["mappings"]["properties"]["vector"]["index_options"]
    assert options["type"] == kind
    assert facts["settings"]["index"]["number_of_shards"] == "2"
    assert "a-model" not in str(facts) and collection in index.name


def test_it_is_a_shared_index(index):
    assert isinstance(index, SharedIndex)
    assert not isinstance(ExactIndex(SPACE), SharedIndex)


def test_a_put_after_a_drop_changes_nothing_whoever_makes_it(servers):
    where = secrets.token_hex(16)
    one, other = (servers.open(elastic.url(), SPACE, where, "0") for _ in range(2))
    one.put(np.arange(3), unit(3))
    other.drop([1])
    one.put(np.array([1]), unit(1))
    assert one.labels().tolist() == other.labels().tolist() == [0, 2]
    assert len(one.search(unit(1), 5)[0]) == 2


def test_a_drop_before_its_put_holds(index):
    index.drop([5])
    index.put(np.array([5]), unit(1))
    assert index.labels().tolist() == []


def test_what_is_filled_is_found_once_settled(index):
    index.fill(np.arange(50), unit(50))
    index.settle()
    assert len(index) == 50


def test_a_long_list_of_allowed_labels_takes_several_clauses(index, monkeypatch):
    monkeypatch.setattr(elastic_index, "TERMS_A_CLAUSE", 16)
    monkeypatch.setattr(elastic_index, "TERMS_A_CALL", 100)
    index.fill(np.arange(200), unit(200))
    index.settle()
    allowed = np.arange(0, 200, 3)
    found = index.search(unit(4, seed=2), 200, allowed)
    assert all(sorted(n.label for n in row) == allowed.tolist() for row in found)


def test_more_neighbours_than_the_server_gives_come_from_a_full_scan(index, monkeypatch):
    monkeypatch.setattr(elastic_index, "MOST_CANDIDATES", 10)
    monkeypatch.setattr(elastic_index, "ROWS_A_PAGE", 16)
    index.fill(np.arange(60), unit(60))
    index.settle()
    assert sorted(n.label for n in index.search(unit(1), 40)[0]) != list(range(40))
    assert index.search(unit(1), 60)[0][0].label == 0
    assert len(index.search(unit(1), 30, np.arange(20))[0]) == 20


def test_vectors_a_hair_off_are_taken_and_found(index):
    rows = unit(3).vectors * np.float32(1.0009)
    index.put(np.arange(3), Embeddings(SPACE, rows))
    found = index.search(Embeddings(SPACE, rows), 1)
    assert [row[0].label for row in found] == [0, 1, 2]
    assert found[0][0].similarity == pytest.approx(1.0, abs=1e-5)


def test_two_that_make_an_index_at_once_end_up_with_one(servers, monkeypatch):
    from index import elastic_servers

    where = secrets.token_hex(16)
    resolve, calls = elastic_servers._resolve, []

    def late(*arguments):
        """The first look finds nothing, as if the other one's came right after it."""
        calls.append(arguments)
        return None if len(calls) == 1 else resolve(*arguments)

    one = servers.open(elastic.url(), SPACE, where, "0")
    monkeypatch.setattr(elastic_servers, "_resolve", late)
    assert servers.open(elastic.url(), SPACE, where, "0").name == one.name


def test_the_mark_is_the_latest_change_that_anybody_wrote(servers):
    where = secrets.token_hex(16)
    one, other = (servers.open(elastic.url(), SPACE, where, "0") for _ in range(2))
    assert one.marked() == 0
    for index, seq in ((one, 7), (other, 5)):
        index.mark(seq)
        index.put(np.array([seq]), unit(1))
    assert other.marked() == 7
    assert one.labels().tolist() == [5, 7]


def test_memories_of_old_drops_are_deleted(servers, monkeypatch):
    where = secrets.token_hex(16)
    index = servers.open(elastic.url(), SPACE, where, "0")
    index.put(np.arange(3), unit(3))
    index.drop([0, 1])
    monkeypatch.setattr(elastic_index, "KEEP_GONE_S", -10)
    again = servers.open(elastic.url(), SPACE, where, "0")
    with elastic.client() as client:
        assert client.count(index=again.name)["count"] == 1


@pytest.mark.slow
def test_a_dropped_vector_leaves_the_segments(index, monkeypatch):
    monkeypatch.setattr(elastic_index, "TIDY_AFTER_S", 0.0)
    monkeypatch.setattr(elastic_index, "TIDY_EVERY_S", 0.0)
    with elastic.client() as client:
        index.put(np.arange(20), unit(20))
        index.drop(range(1, 20))
        for _ in range(60):  # leases are renewed every half minute
            index._untidy = True
            index.tidy()
            client.indices.refresh(index=index.name)
            stats = client.indices.stats(index=index.name, metric="dense_vector")["_all"]["primaries"]
            if stats["dense_vector"]["value_count"] == 1:
                return
            time.sleep(1)
    pytest.fail("the segments still have the dropped vectors")


def test_an_index_that_is_gone_is_lost_and_never_made_by_a_write(index):
    index.put(np.arange(3), unit(3))
    with elastic.client() as client:
        client.indices.delete(index=index.name)
        index.put(np.array([9]), unit(1))
        assert index.lost
        with pytest.raises(IndexUnavailable, match="no longer"):
            index.search(unit(1), 1)
        assert not client.indices.exists(index=index.name)


def test_discarding_deletes_the_index(index):
    with pytest.raises(IndexUnavailable):
        index.discard("a test")
    assert index.lost
    with elastic.client() as client:
        assert not client.indices.exists(index=index.name)


def test_an_api_key_that_may_do_what_the_document_says_suffices(tmp_path):
    privileges = {"cluster": ["monitor"], "indices": [{"names": ["lookalike-*"], "privileges": ["all"]}]}
    with elastic.client() as client:
        made = client.security.create_api_key(name="lookalike", role_descriptors={"lookalike": privileges})
    (tmp_path / "es.key").write_text(made["encoded"])
    url = elastic.url().replace("admin@", "")
    chosen = elastic.options(password_file=None, api_key_file=tmp_path / "es.key")
    servers = ElasticServers([url], chosen)
    index = servers.open(url, SPACE, secrets.token_hex(16), "0")
    index.put(np.arange(3), unit(3))
    index.drop([1])
    assert servers.greet() and len(index.search(unit(1), 3)[0]) == 2
    servers.check()
    index.describe()
    index._dropped_at = index._tidied_at = -1e6
    index.tidy()
    assert servers.keep_only(set) == 1
    servers.close()
