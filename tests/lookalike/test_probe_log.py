from __future__ import annotations

import threading

import pytest

from lookalike.domain import Kind, TrialMode
from lookalike.errors import FaceNotFound, InvalidInput, StorageFull, UnsupportedImage
from lookalike.probe_counts import Counts
from lookalike.reindex import Reindexer

TODAY = "2026-03-01"


@pytest.fixture
def staff(house, admin, shoot, pictures):
    """A collection of two people, and what was counted of its probes by day, once handed over."""
    house.gallery.create_collection(admin, "staff", kind=Kind.FACE)
    for who in (1, 2):
        house.gallery.enrol(admin, "staff", f"person {who}", pictures(shoot(who)))

    def counted() -> dict[str, Counts]:
        house.probes.flush()
        where = house.records.collection("staff")
        return house.drift._store.days(where, where.space.key, "")

    return counted


def values(counts: Counts, name: str) -> list[int]:
    return counts.of(name).sum(axis=0).tolist()


def test_a_probe_is_counted_with_all_its_faces(house, admin, shoot, staff):
    house.gallery.identify(admin, "staff", shoot(1, 9, shot=1, brightness=100.0, sharpness=70.0))
    (found,) = staff().values()
    assert (found.pictures, found.faces) == (1, 2)
    assert sum(values(found, "brightness")) == sum(values(found, "sharpness")) == 2
    assert sum(values(found, "turn")) == 0, "what a picture does not say is not counted"
    assert values(found, "no_candidate") == [1, 1], "one is enrolled and one is not"
    assert sum(values(found, "nearest")) == sum(values(found, "second")) == sum(values(found, "margin")) == 2
    assert values(found, "refused") == values(found, "face_not_found") == [1, 0]
    assert sum(values(found, "gallery")) == 1


def test_refusals_are_counted_by_kind(house, admin, shoot, staff):
    for wrong, error in ((shoot(), FaceNotFound), (b"no picture", UnsupportedImage)):
        with pytest.raises(error):
            house.gallery.identify(admin, "staff", wrong)
    with pytest.raises(InvalidInput):
        house.gallery.identify(admin, "staff", shoot(1), limit=0)
    (found,) = staff().values()
    assert values(found, "face_not_found") == [0, 1] and values(found, "refused") == [1, 1]
    assert (found.pictures, found.faces) == (2, 0)


def test_similarities_of_a_filtered_search_are_not_counted(house, admin, shoot, staff):
    house.gallery.put_subject(admin, "staff", "person 1", metadata={"site": "north"})
    house.gallery.identify(admin, "staff", shoot(1, shot=1), metadata={"site": "north"})
    (found,) = staff().values()
    assert found.faces == 1 and sum(values(found, "nearest")) == sum(values(found, "gallery")) == 0


def test_candidates_by_a_threshold_of_the_callers_own_are_not_counted(house, admin, shoot, staff):
    house.gallery.identify(admin, "staff", shoot(9), threshold=0.0)
    (found,) = staff().values()
    assert sum(values(found, "nearest")) == 1 and sum(values(found, "no_candidate")) == 0


def test_verify_compare_and_detect_are_no_probes(house, admin, shoot, staff):
    house.gallery.verify(admin, "staff", "person 1", shoot(1, shot=1))
    house.gallery.compare(admin, shoot(1), shoot(2))
    house.gallery.detect(admin, shoot(1))
    assert staff() == {}


def test_each_day_is_counted_by_itself_in_its_quarter(house, admin, shoot, staff):
    house.gallery.identify(admin, "staff", shoot(1, shot=1))
    house.clock.later(1)
    house.clock.now -= 9 * 3600
    house.gallery.identify(admin, "staff", shoot(1, shot=1))
    found = staff()
    assert list(found) == [TODAY, "2026-03-02"]
    assert [counts.of("quality").sum(axis=1).tolist() for counts in found.values()] == [[0, 0, 1, 0], [1, 0, 0, 0]]


def test_processes_add_into_one_day(house, open_house, admin, shoot, staff):
    other = open_house()
    for each in (house, other, other):
        each.gallery.identify(admin, "staff", shoot(1, shot=1))
        each.probes.flush()
    assert staff()[TODAY].pictures == 3


def test_a_process_that_dies_loses_what_it_had_not_handed_over_and_doubles_nothing(
    house, open_house, admin, shoot, staff
):
    dying = open_house()
    for _ in range(3):
        dying.gallery.identify(admin, "staff", shoot(1, shot=1))
    dying.probes.flush()
    dying.gallery.identify(admin, "staff", shoot(1, shot=1))
    dying.close()
    house.probes.flush()
    assert staff()[TODAY].pictures == 3


def test_what_cannot_be_kept_now_is_kept_once_later(house, admin, shoot, staff, monkeypatch):
    house.gallery.identify(admin, "staff", shoot(1, shot=1))

    def full(*_):
        raise StorageFull("the disk is full")

    monkeypatch.setattr(house.drift._store, "add", full)
    with pytest.raises(StorageFull):
        house.probes.flush()
    house.gallery.identify(admin, "staff", shoot(1, shot=1))
    monkeypatch.undo()
    assert staff()[TODAY].pictures == 2 and staff()[TODAY].pictures == 2


def test_counting_from_many_threads_loses_nothing(house, admin, shoot, staff):
    def work() -> None:
        for _ in range(20):
            house.gallery.identify(admin, "staff", shoot(1, shot=1))
            house.probes.flush()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert staff()[TODAY].pictures == 80


def test_probes_of_a_collection_that_is_gone_are_dropped(house, admin, shoot, staff):
    house.gallery.identify(admin, "staff", shoot(1, shot=1))
    house.gallery.delete_collection(admin, "staff")
    house.probes.flush()
    assert house.rows.read().settings("collection/") == {}


def test_a_shadow_s_searches_are_not_counted_twice(house, admin, shoot, staff):
    reindexer = Reindexer(house.records, house.audit, house.rosters, house.models, standby_s=60.0)
    reindexer.begin(admin, "staff", model="turned")
    reindexer.run(admin, "staff", lambda done, total: None, hold=True)
    reindexer.try_out(admin, "staff", TrialMode.SHADOW, 1.0)
    for _ in range(5):
        house.gallery.identify(admin, "staff", shoot(1, shot=1))
    house.trials.settle()
    assert house.gallery._trials.tally(house.records.collection("staff")).compared == 5
    assert staff()[TODAY].pictures == 5
