"""A gallery in Elasticsearch whose node hangs, refuses, is cut off, takes no writes, or is shared with a replica."""

from __future__ import annotations

import secrets
import shutil
import time
from dataclasses import replace

import pytest

from index.elastic_mapping import alias_of
from index.elastic_servers import ElasticServers
from lookalike.errors import IndexUnavailable
from lookalike.reindex import Reindexer
from tests import elastic
from tests.faults.proxy import Proxy
from tests.lookalike.conftest import open_at

pytestmark = pytest.mark.service


@pytest.fixture
def proxy():
    made = Proxy(int(elastic.url().rpartition(":")[2]))
    yield made
    made.close()


@pytest.fixture
def options(request):
    return elastic.options(timeout_s=2.5, **getattr(request, "param", {}))


@pytest.fixture
def cluster():
    """A client of the cluster itself, past the proxy."""
    with elastic.client() as client:
        yield client


@pytest.fixture
def open_elastic(tmp_path, proxy, options):
    """Opens one data folder over the proxied cluster, as often as asked: each is like a process of its own."""
    opened = []
    url = f"es+https://admin@localhost:{proxy.port}"

    def opening(url=url):
        servers = ElasticServers([url], options)
        house = open_at(tmp_path, make_index=lambda _, *index: servers.open(url, *index), servers=servers)
        opened.append((house, servers))
        return house

    yield opening
    for house, servers in opened:
        house.close()
        servers.close()
    cleaner = ElasticServers([elastic.url()], options)
    cleaner.keep_only(set)
    cleaner.close()


@pytest.fixture
def house(open_elastic, admin, shoot, pictures):
    """A collection "staff" of two people in Elasticsearch."""
    made = open_elastic()
    made.gallery.create_collection(admin, "staff")
    for who in (1, 2):
        made.gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
    return made


def known(house, admin, image):
    """The first candidate for a picture, None where there is none."""
    candidates = house.gallery.identify(admin, "staff", image).faces[0].candidates
    return candidates[0].subject.id if candidates else None


def break_it(proxy, how):
    if how == "refuse":
        proxy.refuse()
    else:
        proxy.mode = how


def labels_there(house, options, where=None):
    """The live labels that the cluster itself has, asked past the proxy. where: another generation's view."""
    where = where or house.records.collection("staff")
    servers = ElasticServers([elastic.url()], options)
    try:
        return servers.open(elastic.url(), where.space, where.id, where.generation).labels().tolist()
    finally:
        servers.close()


@pytest.mark.parametrize("how", ["hang", "refuse", "cut"])
def test_a_node_that_does_not_answer_is_an_error_and_never_an_empty_answer(house, admin, shoot, proxy, how):
    break_it(proxy, how)
    for _ in range(3):
        with pytest.raises(IndexUnavailable, match="Elasticsearch"):
            known(house, admin, shoot(1))
    with pytest.raises(IndexUnavailable):
        house.rosters.check()

    proxy.listen()
    recovered(house)
    assert known(house, admin, shoot(1)) == "p1"


def recovered(house):
    """Wait until the house's own looking after the index finds it whole, as a service's follower does."""
    for _ in range(200):
        try:
            house.rosters.catch_up()
            house.rosters.check()
            return
        except IndexUnavailable:
            time.sleep(0.05)
    house.rosters.check()


@pytest.mark.parametrize("how", ["hang", "refuse", "cut"])
def test_an_enrolment_is_refused_before_anything_is_stored(house, admin, shoot, pictures, proxy, how):
    break_it(proxy, how)
    for _ in range(2):
        with pytest.raises(IndexUnavailable):
            house.gallery.enrol(admin, "staff", "p3", pictures(shoot(3)))

    assert house.records.count(house.records.collection("staff")) == (2, 2)


def test_an_erasure_is_done_and_says_that_the_index_is_pending(house, admin, shoot, proxy, options):
    proxy.refuse()
    receipt = house.gallery.erase_subject(admin, "staff", "p1")
    assert receipt.pending == ("index",)
    assert len(labels_there(house, options)) == 2

    proxy.listen()
    recovered(house)
    assert len(labels_there(house, options)) == 1
    assert known(house, admin, shoot(1)) is None
    assert house.gallery.erase_subject(admin, "staff", "p2").pending == ()


def test_an_erasure_that_was_pending_when_the_process_ended_is_done_by_the_next(
    house, open_elastic, admin, proxy, options
):
    proxy.refuse()
    house.gallery.erase_subject(admin, "staff", "p1")
    proxy.listen()

    open_elastic().rosters.load_all()
    assert len(labels_there(house, options)) == 1


def test_an_index_that_takes_no_writes_is_searched_and_takes_no_further_enrolment(
    house, admin, shoot, pictures, cluster, options
):
    where = house.records.collection("staff")
    alias = alias_of(options.deployment, where.id, "0")
    block = {"index.blocks.read_only_allow_delete": True}
    cluster.indices.put_settings(index=alias, settings=block)
    with pytest.raises(IndexUnavailable, match=r"no writes.*are stored"):
        house.gallery.enrol(admin, "staff", "p3", pictures(shoot(3)))
    with pytest.raises(IndexUnavailable, match="no writes"):
        house.gallery.enrol(admin, "staff", "p4", pictures(shoot(4)))
    assert house.records.count(where)[0] == 3
    assert known(house, admin, shoot(1)) == "p1"

    cluster.indices.put_settings(index=alias, settings={"index.blocks.read_only_allow_delete": None})
    recovered(house)
    assert known(house, admin, shoot(3)) == "p3"


def test_a_process_that_starts_without_the_node_loads_once_it_is_there(house, open_elastic, admin, shoot, proxy):
    proxy.refuse()
    other = open_elastic()
    with pytest.raises(IndexUnavailable):
        other.rosters.load_all()
    with pytest.raises(IndexUnavailable):
        known(other, admin, shoot(1))

    proxy.listen()
    recovered(other)
    assert known(other, admin, shoot(1)) == "p1"


def test_replicas_see_each_other_s_enrolments_and_erasures(house, open_elastic, admin, shoot, pictures):
    other = open_elastic()
    other.rosters.load_all()
    house.gallery.enrol(admin, "staff", "p3", pictures(shoot(3)))
    other.rosters.catch_up()
    assert known(other, admin, shoot(3)) == "p3"

    other.gallery.erase_subject(admin, "staff", "p3")
    house.rosters.catch_up()
    assert known(house, admin, shoot(3)) is None


def test_a_late_replica_brings_nobody_back(house, open_elastic, admin, options):
    """It read the sample before the erasure, and tells the index of it after."""
    where = house.records.collection("staff")
    (sample,) = house.records.samples(where, house.records.subject(where, "p1"))
    late = open_elastic().rosters.of(where)
    house.gallery.erase_subject(admin, "staff", "p1")

    late._rows.add(*as_rows(where, sample))
    assert sample.number not in labels_there(house, options)


def as_rows(where, sample):
    from lookalike.domain import Embeddings

    return [sample.number], Embeddings(where.space, sample.vector[None])


def test_a_restart_adds_no_row_that_is_there(house, open_elastic, admin, shoot, cluster, options):
    alias = alias_of(options.deployment, house.records.collection("staff").id, "0")
    before = cluster.indices.stats(index=alias, metric="indexing")["_all"]["primaries"]["indexing"]["index_total"]

    other = open_elastic()
    other.rosters.load_all()
    assert known(other, admin, shoot(2)) == "p2"
    after = cluster.indices.stats(index=alias, metric="indexing")["_all"]["primaries"]["indexing"]["index_total"]
    assert before == after > 0


def test_an_index_that_was_deleted_behind_the_service_is_made_anew_from_the_records(
    house, admin, shoot, cluster, options
):
    cluster.indices.delete(index=next(iter(cluster.indices.get_alias(index=f"lookalike-{options.deployment}-*"))))
    with pytest.raises(IndexUnavailable):
        known(house, admin, shoot(1))

    recovered(house)
    assert known(house, admin, shoot(1)) == "p1"


def test_rows_that_were_lost_behind_the_service_are_missed_and_made_anew(
    house, admin, shoot, cluster, options, monkeypatch
):
    """As after a lost shard was replaced by an empty one: what is left of the index answers as if it were all."""
    alias = alias_of(options.deployment, house.records.collection("staff").id, "0")
    (lost, _) = labels_there(house, options)
    cluster.delete(index=alias, id=str(lost), refresh=True)
    assert known(house, admin, shoot(1)) is None
    house.rosters.check()

    monkeypatch.setattr("lookalike.roster_rows.COUNT_EVERY_S", 0.0)
    with pytest.raises(IndexUnavailable, match="no longer in"):
        house.rosters.check()
    recovered(house)
    assert known(house, admin, shoot(1)) == "p1"
    assert len(labels_there(house, options)) == 2


def lose_shard(cluster, index, shard):
    """Take a shard's files from the node's disk, as a broken volume would."""
    identity = cluster.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    cluster.indices.close(index=index)
    shutil.rmtree(elastic.home() / "data/indices" / identity / str(shard))
    cluster.indices.open(index=index, wait_for_active_shards=0)


def replace_by_an_empty_one(cluster, index, shard):
    node = next(iter(cluster.nodes.info()["nodes"].values()))["name"]
    given_up = {"index": index, "shard": shard, "node": node, "accept_data_loss": True}
    cluster.cluster.reroute(commands=[{"allocate_empty_primary": given_up}])
    cluster.cluster.health(index=index, wait_for_status="green", timeout="60s")


@pytest.mark.parametrize("options", [{"shards": 2}], indirect=True)
@pytest.mark.parametrize("given_up_by", ["deleting its index", "an empty shard"])
def test_a_shard_that_the_node_lost_is_never_passed_over_and_its_rows_are_made_anew_once_it_is_given_up(
    house, admin, shoot, pictures, cluster, options, given_up_by
):
    for who in range(3, 9):
        house.gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
    before = labels_there(house, options)
    index = next(iter(cluster.indices.get_alias(index=f"lookalike-{options.deployment}-*")))
    lose_shard(cluster, index, 0)

    for who in range(1, 9):
        with pytest.raises(IndexUnavailable, match="could not search all"):
            known(house, admin, shoot(who))
    with pytest.raises(IndexUnavailable, match=r"a shard is away.*lost for good, delete its index"):
        house.rosters.check()
    with pytest.raises(IndexUnavailable):
        house.gallery.enrol(admin, "staff", "p9", pictures(shoot(9)))

    if given_up_by == "an empty shard":
        replace_by_an_empty_one(cluster, index, 0)
    else:
        cluster.indices.delete(index=index)
    recovered(house)
    assert set(before) <= set(labels_there(house, options))
    assert [known(house, admin, shoot(who)) for who in range(1, 9)] == [f"p{who}" for who in range(1, 9)]


def test_after_the_node_did_not_answer_rows_are_counted_before_all_is_said_to_be_well(
    house, admin, shoot, proxy, cluster, options
):
    alias = alias_of(options.deployment, house.records.collection("staff").id, "0")
    proxy.refuse()
    with pytest.raises(IndexUnavailable):
        house.rosters.check()
    cluster.delete(index=alias, id=str(labels_there(house, options)[0]), refresh=True)

    proxy.listen()
    recovered(house)
    assert known(house, admin, shoot(1)) == "p1"


def test_an_index_ahead_of_records_that_were_put_back_is_not_used(house, open_elastic, admin, shoot):
    """Its numbers may belong to others by now."""
    where = house.records.collection("staff")
    roster = house.rosters.of(where)
    roster.index.mark(house.records.last_seq() + 100)
    roster.index.put(*as_rows(where, replace(sample_of(house, where), number=50)))

    other = open_elastic()
    with pytest.raises(IndexUnavailable):
        other.rosters.load_all()
    recovered(other)
    assert other.rosters.of(where).index.labels().tolist() == sorted(numbers_of(other, where))
    assert known(other, admin, shoot(1)) == "p1"


def sample_of(house, where):
    return house.records.samples(where, house.records.subject(where, "p1"))[0]


def numbers_of(house, where):
    return [sample.number for batch in house.records.stream_samples(where) for sample in batch]


def test_a_deleted_collection_takes_its_index_along_also_when_it_is_not_loaded(
    house, open_elastic, admin, cluster, options
):
    assert open_elastic().gallery.delete_collection(admin, "staff").pending == ()
    assert not cluster.indices.get_alias(index=f"lookalike-{options.deployment}-*")


def test_an_erasure_reaches_generations_that_are_not_loaded(house, open_elastic, admin, options):
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models)
    indexer.begin(admin, "staff", model="turned")
    indexer.run(admin, "staff", lambda done, total: None)
    now = house.records.collection("staff")
    standby = now.seen_as(now.others[0])
    open_elastic().gallery.erase_subject(admin, "staff", "p1")
    assert len(labels_there(house, options, standby)) == 1


def test_a_generation_that_is_let_go_takes_its_index_along(house, admin, shoot, cluster, options):
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models)
    indexer.begin(admin, "staff", model="turned")
    indexer.run(admin, "staff", lambda done, total: None)
    assert len(cluster.indices.get_alias(index=f"lookalike-{options.deployment}-*")) == 2

    indexer.retire(admin, "staff", now=True)
    assert len(cluster.indices.get_alias(index=f"lookalike-{options.deployment}-*")) == 1
    assert known(house, admin, shoot(2)) == "p2"


def test_orphans_are_swept_and_others_indexes_are_left(house, open_elastic, admin, shoot, cluster, options):
    where = house.records.collection("staff")
    with elastic.opened() as others:
        others.open(elastic.url(), where.space, where.id, "0")
        mine = ElasticServers([elastic.url()], options)
        mine.open(elastic.url(), where.space, secrets.token_hex(16), "0")
        mine.close()
        house.rosters.sweep()
        assert len(cluster.indices.get_alias(index=f"lookalike-{options.deployment}-*")) == 1
        others.check()
    assert known(house, admin, shoot(1)) == "p1"
