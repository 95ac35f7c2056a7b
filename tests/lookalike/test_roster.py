import itertools
from contextlib import contextmanager

import numpy as np
import pytest

from index.exact import ExactIndex
from lookalike import roster_file
from lookalike import rosters as rosters_module
from lookalike.domain import Embeddings
from lookalike.errors import TamperedData
from lookalike.ports import Plaintext
from lookalike.reindex import Reindexer
from lookalike.roster import Roster


@pytest.fixture
def many(house, admin, shoot, pictures, monkeypatch):
    """A collection of 30 people, large enough for a snapshot here."""
    monkeypatch.setattr(rosters_module, "SNAPSHOT_FROM", 10)
    house.gallery.create_collection(admin, "staff")
    for who in range(30):
        house.gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who), shoot(who, shot=1)))
    return house.records.collection("staff")


def restored(house, collection, snapshot):
    roster = Roster(collection, ExactIndex(collection.space), house.records)
    roster.load(snapshot if snapshot is None else Plaintext(len(snapshot), iter([snapshot])))
    return roster


def kept(house, collection):
    """The plaintext of the snapshot on disk; None where there is none."""
    with house.rosters._snapshots.reading(collection) as snapshot:
        return snapshot if snapshot is None else b"".join(snapshot.pieces)


def same(one, other):
    (labels_a, vectors_a), (labels_b, vectors_b) = one.index.dump(), other.index.dump()
    return (
        np.array_equal(labels_a, labels_b)
        and np.allclose(vectors_a, vectors_b)
        and all(one.owner(n) == other.owner(n) for n in labels_a.tolist())
    )


def test_a_snapshot_gives_the_same_roster_as_the_records(house, many):
    live = house.rosters.of(many)
    assert same(restored(house, many, b"".join(live.chunks())), restored(house, many, None))


@pytest.mark.parametrize("damage", [lambda s: s[:-1], lambda s: b"X" + s[1:], lambda s: s + b"\x00", lambda s: b""])
def test_a_snapshot_that_does_not_fit_is_left_and_the_records_are_read(house, many, damage):
    snapshot = b"".join(house.rosters.of(many).chunks())
    assert same(restored(house, many, damage(snapshot)), restored(house, many, None))


def test_an_old_snapshot_brings_nobody_back(open_house, house, admin, many):
    house.rosters.save_snapshots(at_least=0)
    old = kept(house, many)
    assert old is not None
    house.gallery.erase_subject(admin, "staff", "p3")
    house.rosters._snapshots.save(many, [old])
    later = open_house()
    roster = later.rosters.of(many)
    assert len(roster) == 29
    assert roster.samples == 58


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_snapshot_that_comes_in_pieces_and_blocks_of_any_size_gives_the_same_roster(house, many, monkeypatch, size):
    monkeypatch.setattr(roster_file, "BLOCK_ROWS", size)
    whole = b"".join(house.rosters.of(many).chunks())
    roster = Roster(many, ExactIndex(many.space), house.records)
    pieces = (whole[start : start + 10 * size] for start in range(0, len(whole), 10 * size))
    roster.load(Plaintext(len(whole), pieces))
    assert same(roster, restored(house, many, None))


def test_a_snapshot_that_is_changed_while_it_is_read_is_left_and_the_records_are_read(
    open_house, house, many, monkeypatch
):
    house.rosters.save_snapshots(at_least=0)
    later = open_house()
    opened = later.rosters._snapshots.reading

    @contextmanager
    def changed(collection):
        with opened(collection) as snapshot:
            yield Plaintext(snapshot.size, itertools.chain([next(snapshot.pieces)[:400]], torn()))

    def torn():
        raise TamperedData("a sealed file is damaged, cut short or put together from parts")
        yield b""

    monkeypatch.setattr(later.rosters._snapshots, "reading", changed)
    assert same(later.rosters.of(many), restored(house, many, None))


def test_a_gallery_read_from_the_records_is_saved_for_the_next_start(open_house, many):
    later = open_house()
    later.rosters.load_all()
    later.rosters.save_snapshots(at_least=1)
    assert kept(later, many) is not None


def test_an_erasure_drops_the_snapshot_at_once(house, admin, many):
    house.rosters.save_snapshots(at_least=0)
    house.gallery.erase_subject(admin, "staff", "p3")
    assert kept(house, many) is None


def test_a_snapshot_that_was_being_written_while_somebody_was_erased_is_dropped(house, admin, many, monkeypatch):
    save = house.rosters._snapshots.save

    def save_slowly(collection, chunks):
        written = list(chunks)
        house.gallery.erase_subject(admin, "staff", "p3")
        save(collection, written)

    monkeypatch.setattr(house.rosters._snapshots, "save", save_slowly)
    house.rosters.save_snapshots(at_least=0)
    assert kept(house, many) is None


def test_whoever_is_enrolled_while_a_snapshot_is_written_is_there_once(house, admin, many, shoot, pictures):
    live = house.rosters.of(many)
    chunks = live.chunks()
    head = next(chunks)
    house.gallery.enrol(admin, "staff", "late", pictures(shoot(99)))
    roster = restored(house, many, b"".join([head, *chunks]))
    roster.apply(house.records.changes(roster.seq))
    assert same(roster, live)
    assert roster.samples == live.samples == 61


def test_a_snapshot_from_the_future_is_not_believed(house, many):
    live = house.rosters.of(many)
    true_seq = live.seq
    live.seq = true_seq + 100
    ahead = b"".join(live.chunks())
    live.seq = true_seq
    assert restored(house, many, ahead).seq == true_seq


def test_ranking_widens_until_it_has_enough_subjects(house, admin, shoot, pictures):
    house.gallery.create_collection(admin, "crowd")
    house.gallery.enrol(admin, "crowd", "often", pictures(*(shoot(1, shot=n) for n in range(60))))
    for who in (2, 3):
        house.gallery.enrol(admin, "crowd", f"p{who}", pictures(shoot(who)))
    roster = house.rosters.of(house.records.collection("crowd"))
    query = house.records.samples(roster.collection, house.records.subject(roster.collection, "often"))[0].vector
    ranked = roster.rank(Embeddings(roster.collection.space, query[None, :]), 3)[0]
    assert len(ranked) == 3
    assert ranked[0].similarity == max(r.similarity for r in ranked)


def test_a_filter_asked_again_is_not_worked_out_again_until_something_changes(
    house, admin, shoot, pictures, monkeypatch
):
    house.gallery.create_collection(admin, "staff")
    for who in (1, 2):
        house.gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
        house.gallery.put_subject(admin, "staff", f"p{who}", metadata={"site": "north"})
    roster = house.rosters.of(house.records.collection("staff"))
    counted = []
    plain = roster._matching
    monkeypatch.setattr(roster, "_matching", lambda wanted: (counted.append(wanted), plain(wanted))[1])
    for _ in range(3):
        assert roster.labels_with({"site": "north"})[1] == 2
    house.gallery.erase_subject(admin, "staff", "p1")
    assert roster.labels_with({"site": "north"})[1] == 1
    assert len(counted) == 2


def test_what_will_be_asked_is_loaded_beforehand_and_what_will_not_is_let_go(house, admin, many):
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models)
    indexer.begin(admin, "staff", model="turned")
    indexer.run(admin, "staff", lambda done, total: None, hold=True)
    held = house.records.collection("staff")
    waiting = held.seen_as(held.others[0])
    house.rosters._rosters.pop((waiting.id, waiting.generation))

    house.rosters.tend()
    assert house.rosters.is_live(held) and house.rosters.is_live(waiting)

    now = indexer.promote(admin, "staff")
    house.rosters.tend()
    assert house.rosters.is_live(now) and not house.rosters.is_live(held)


def test_a_process_that_has_not_loaded_the_promoted_generation_answers_through_the_one_before(
    open_house, house, admin, many, shoot
):
    other = open_house()
    assert other.gallery.identify(admin, "staff", shoot(4)).model == "scripted"
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models)
    indexer.begin(admin, "staff", model="turned")
    indexer.run(admin, "staff", lambda done, total: None)

    found = other.gallery.identify(admin, "staff", shoot(4))
    assert found.model == "scripted" and found.faces[0].candidates[0].subject.id == "p4"
    other.rosters.tend()
    assert other.gallery.identify(admin, "staff", shoot(4)).model == "turned"
