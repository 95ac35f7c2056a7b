"""Unknown faces through the use cases: kept only where asked for, grouped, enrolled, dismissed, erased, expired."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.domain import Keep, Kind
from lookalike.errors import (
    Conflict,
    InvalidInput,
    PermissionDenied,
    StorageFull,
    SubjectNotFound,
    UnknownNotFound,
)
from lookalike.ports import collection_setting
from lookalike.reindex import Reindexer
from lookalike.unknowns import MOST_WAITING, UnknownFaces
from tests.lookalike.conftest import face_of, photo

DAYS = 30


@pytest.fixture
def gate(gallery, admin, shoot, pictures):
    """Two people enrolled, and unknown faces kept."""
    gallery.create_collection(admin, "gate", keep_unknown_days=DAYS)
    for who in (1, 2):
        gallery.enrol(admin, "gate", f"p{who}", pictures(shoot(who), shoot(who, shot=1)))
    return "gate"


@pytest.fixture
def reindexed(admin):
    """Moves a collection to another model."""

    def move(house, name):
        indexer = Reindexer(house.records, house.audit, house.rosters, house.models, standby_s=3600)
        indexer.begin(admin, name, model="turned")
        assert indexer.run(admin, name, lambda done, total: None, insist=True).promoted

    return move


def rows_of(house, admin, name="gate", **options):
    return list(house.gallery.unknowns.page(admin, name, 100, None, **options)[1].items)


def settings_of(house, name="gate"):
    return house.rows.read().settings(collection_setting(house.records.collection(name).id))


def test_a_stranger_seen_fourteen_times_is_one_suggestion(house, admin, gate, shoot):
    for shot in range(14):
        house.gallery.identify(admin, gate, shoot(50, shot=shot))
        house.clock.now += 3600
    (row,) = rows_of(house, admin)
    assert (row.seen, row.visits, len(row.faces)) == (14, 14, 3)
    assert row.last_seen - row.first_seen == 13 * 3600


def test_whoever_is_enrolled_is_no_stranger_whatever_bar_the_caller_chose(house, admin, gate, shoot):
    house.gallery.identify(admin, gate, shoot(1, shot=5))
    assert house.gallery.identify(admin, gate, shoot(1, shot=6), threshold=1.0).faces[0].candidates == ()
    house.gallery.identify(admin, gate, shoot(2, shot=5), metadata={"site": "north"})
    assert rows_of(house, admin) == []


def test_a_stranger_is_kept_also_where_a_low_bar_named_somebody(house, admin, gate, shoot):
    assert house.gallery.identify(admin, gate, shoot(50), threshold=0.0).faces
    assert len(rows_of(house, admin)) == 1


def test_each_stranger_of_a_picture_is_taken_and_those_of_bad_quality_are_not(house, admin, gate, shoot):
    house.gallery.identify(admin, gate, shoot(50, 1, 51))
    house.gallery.identify(admin, gate, shoot(52, reasons=("blurred",)))
    assert [row.seen for row in rows_of(house, admin)] == [1, 1]
    entry = house.audit.page(0, 10_000)[-2]
    assert entry.action == "identify" and entry.details["unknown"] == 0


def test_a_collection_that_keeps_none_writes_nothing_and_asks_for_no_crop(house, admin, shoot, monkeypatch):
    house.gallery.create_collection(admin, "plain")
    asked = []
    encoder = house.models.encoders["scripted"]
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda *a, **o: asked.append(o["crops"]) or encode(*a, **o))
    house.gallery.identify(admin, "plain", shoot(50))
    house.gallery.unknowns.tend(admin)
    assert asked == [False] and settings_of(house, "plain") == {}
    assert rows_of(house, admin, "plain") == []
    assert "unknown" not in house.audit.page(0, 10_000)[-2].details


def test_crops_follow_what_the_collection_keeps(house, admin, gate, shoot):
    house.gallery.update_collection(admin, gate, keep=Keep.NONE)
    house.gallery.identify(admin, gate, shoot(50))
    (row,) = rows_of(house, admin)
    assert not row.faces[0].has_crop
    with pytest.raises(UnknownNotFound, match="not kept"):
        house.gallery.unknowns.crop(admin, gate, row.id, row.faces[0].id)
    house.gallery.update_collection(admin, gate, keep=Keep.CROP)
    house.gallery.identify(admin, gate, shoot(51))
    (other,) = [r for r in rows_of(house, admin) if r.id != row.id]
    assert house.gallery.unknowns.crop(admin, gate, other.id, other.faces[0].id) == b"[51, 0]"


def test_only_collections_of_faces_keep_them_and_a_time_is_needed(gallery, admin):
    with pytest.raises(InvalidInput, match="collection of pictures"):
        gallery.create_collection(admin, "shop", kind=Kind.IMAGE, keep_unknown_days=3)
    for days in (0, -1, 3651, 2.5, True):
        with pytest.raises(InvalidInput, match="keep_unknown_days: 1 to 3650"):
            gallery.create_collection(admin, "staff", keep_unknown_days=days)


def test_enrolling_one_makes_a_subject_that_is_recognised(house, admin, gate, shoot):
    for shot in range(4):
        house.gallery.identify(admin, gate, shoot(50, shot=shot))
    (row,) = rows_of(house, admin)
    subject, samples = house.gallery.unknowns.enrol(admin, gate, row.id, "visitor")
    assert subject.id == "visitor" and {s.id for s in samples} == {face.id for face in row.faces}
    assert house.gallery.crop(admin, gate, "visitor", samples[0].id).startswith(b"[50, ")
    found = house.gallery.identify(admin, gate, shoot(50, shot=9))
    assert found.faces[0].candidates[0].subject.id == "visitor"
    assert rows_of(house, admin) == [] and not [n for n in settings_of(house) if "unknown-crops" in n]


def test_enrolling_to_somebody_known_adds_samples(house, admin, gate, shoot):
    house.gallery.identify(admin, gate, shoot(50))
    (row,) = rows_of(house, admin)
    house.gallery.unknowns.enrol(admin, gate, row.id, "p1")
    assert len(house.gallery.subject(admin, gate, "p1")[1]) == 3


def test_an_enrolment_that_was_cut_off_is_done_once_when_asked_again(house, admin, gate, shoot, monkeypatch):
    house.gallery.identify(admin, gate, shoot(50))
    (row,) = rows_of(house, admin)
    monkeypatch.setattr(UnknownFaces, "_forget", lambda *_: (_ for _ in ()).throw(StorageFull("full")))
    with pytest.raises(StorageFull):
        house.gallery.unknowns.enrol(admin, gate, row.id, "visitor")
    monkeypatch.undo()
    house.gallery.unknowns.enrol(admin, gate, row.id, "visitor")
    assert len(house.gallery.subject(admin, gate, "visitor")[1]) == 1 and rows_of(house, admin) == []


def test_enrolling_without_pictures_takes_the_template_that_was_seen(house, admin, gate, shoot):
    house.gallery.update_collection(admin, gate, keep=Keep.NONE)
    house.gallery.identify(admin, gate, shoot(50))
    (row,) = rows_of(house, admin)
    _, (sample,) = house.gallery.unknowns.enrol(admin, gate, row.id, "visitor")
    assert sample.vector @ face_of(50) == pytest.approx(1, abs=1e-5)


def test_whoever_is_dismissed_stays_away_and_leaves_no_picture(house, admin, gate, shoot):
    house.gallery.identify(admin, gate, shoot(50))
    (row,) = rows_of(house, admin)
    house.gallery.unknowns.dismiss(admin, gate, row.id)
    assert not [n for n in settings_of(house) if "unknown-crops" in n]
    house.gallery.identify(admin, gate, shoot(50, shot=1))
    assert rows_of(house, admin) == []
    (hidden,) = rows_of(house, admin, hidden=True)
    assert (hidden.id, hidden.seen, hidden.faces) == (row.id, 2, ())
    with pytest.raises(Conflict, match="dismissed"):
        house.gallery.unknowns.enrol(admin, gate, row.id, "visitor")


def test_whoever_is_erased_is_new_when_seen_again(house, admin, gate, shoot):
    house.gallery.identify(admin, gate, shoot(50))
    (row,) = rows_of(house, admin)
    house.gallery.unknowns.erase(admin, gate, row.id)
    assert [n for n in settings_of(house) if not n.endswith("unknowns-version")] == []
    with pytest.raises(UnknownNotFound):
        house.gallery.unknowns.erase(admin, gate, row.id)
    house.gallery.identify(admin, gate, shoot(50, shot=1))
    (again,) = rows_of(house, admin)
    assert again.id != row.id and again.seen == 1


def test_they_are_listed_by_how_often_they_were_seen_page_by_page(house, admin, gate, shoot):
    for who in range(60, 66):
        for shot in range(who - 59):
            house.gallery.identify(admin, gate, shoot(who, shot=shot))
    seen, cursor = [], None
    while True:
        _, page = house.gallery.unknowns.page(admin, gate, 2, cursor)
        seen += [row.seen for row in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == [6, 5, 4, 3, 2, 1]
    with pytest.raises(InvalidInput, match="cursor"):
        house.gallery.unknowns.page(admin, gate, 2, "nonsense")
    with pytest.raises(InvalidInput, match="limit"):
        house.gallery.unknowns.page(admin, gate, 0, None)


def test_they_are_gone_when_their_time_ends_also_before_anybody_tidies_up(house, admin, gate, shoot):
    house.gallery.identify(admin, gate, shoot(50))
    house.clock.later(DAYS - 1)
    house.gallery.identify(admin, gate, shoot(50, shot=1))
    house.gallery.unknowns.tend(admin)
    (row,) = rows_of(house, admin)
    house.clock.later(1)
    assert rows_of(house, admin) == []
    with pytest.raises(UnknownNotFound):
        house.gallery.unknowns.one(admin, gate, row.id)
    house.gallery.unknowns.tend(admin)
    assert [n for n in settings_of(house) if not n.endswith("unknowns-version")] == []
    expired = [entry for entry in house.audit.page(0, 10_000) if entry.action == "unknown.expire"]
    assert [entry.details["unknowns"] for entry in expired] == [1]


def test_a_shorter_time_holds_for_those_already_kept(house, admin, gate, shoot):
    house.gallery.identify(admin, gate, shoot(50))
    house.clock.later(3)
    house.gallery.update_collection(admin, gate, keep_unknown_days=2)
    assert rows_of(house, admin) == []


def test_to_keep_none_any_more_erases_all(house, admin, gate, shoot):
    house.gallery.identify(admin, gate, shoot(50))
    rows_of(house, admin)
    house.gallery.identify(admin, gate, shoot(51))
    house.gallery.update_collection(admin, gate, keep_unknown_days=None)
    house.gallery.unknowns.flush()
    assert [n for n in settings_of(house) if not n.endswith("unknowns-version")] == []
    house.gallery.update_collection(admin, gate, target_fpir=0.02)
    assert house.gallery.collection(admin, gate).collection.keep_unknown_days is None


def test_what_a_kill_left_behind_when_it_was_turned_off_is_erased_later(house, admin, gate, shoot, monkeypatch):
    house.gallery.identify(admin, gate, shoot(50))
    assert len(rows_of(house, admin)) == 1
    monkeypatch.setattr(UnknownFaces, "clear", lambda *_: (_ for _ in ()).throw(StorageFull("full")))
    with pytest.raises(StorageFull):
        house.gallery.update_collection(admin, gate, keep_unknown_days=None)
    monkeypatch.undo()
    assert rows_of(house, admin) == []
    house.gallery.unknowns.tend(admin)
    assert [n for n in settings_of(house) if not n.endswith("unknowns-version")] == []


def test_a_deleted_collection_takes_them_along(house, admin, gate, shoot):
    house.gallery.identify(admin, gate, shoot(50))
    rows_of(house, admin)
    house.gallery.identify(admin, gate, shoot(51))
    house.gallery.delete_collection(admin, gate)
    house.gallery.unknowns.flush()
    assert house.rows.read().settings("collection/") == {}


def test_erasing_a_subject_erases_unknown_people_who_look_like_it(house, admin, gate, shoot, pictures):
    house.gallery.identify(admin, gate, shoot(50))
    house.gallery.identify(admin, gate, shoot(51))
    house.gallery.enrol(admin, gate, "late", pictures(shoot(50, shot=3)))
    assert len(rows_of(house, admin)) == 2
    house.gallery.erase_subject(admin, gate, "late")
    (left,) = rows_of(house, admin)
    assert left.faces[0].vector @ face_of(51) > 0.9
    (entry,) = [e for e in house.audit.page(0, 10_000) if e.action == "unknown.erase"]
    assert entry.details["unknowns"] == 1
    with pytest.raises(SubjectNotFound):
        house.gallery.erase_subject(admin, gate, "nobody")


def test_only_so_many_are_kept_and_those_not_seen_for_longest_go(house, admin, gate, shoot):
    house.gallery.unknowns._most = 3
    for who in range(60, 65):
        house.gallery.identify(admin, gate, shoot(who))
        house.clock.now += 1
    kept = {int(np.argmax([row.faces[0].vector @ face_of(w) for w in range(60, 65)])) for row in rows_of(house, admin)}
    assert kept == {2, 3, 4}
    assert len([n for n in settings_of(house) if "unknown-crops" in n]) == 3


def test_so_many_wait_in_memory_at_most(house, admin, gate):
    where = house.records.collection(gate)
    faces = house.models.encoders["scripted"].encode(photo(50))
    for _ in range(MOST_WAITING + 7):
        house.gallery.unknowns.note(where, faces)
    (row,) = rows_of(house, admin)
    assert row.seen == MOST_WAITING


def test_on_a_full_disk_they_wait_and_nothing_is_lost(house, admin, gate, shoot, monkeypatch):
    house.gallery.identify(admin, gate, shoot(50))
    assert len(rows_of(house, admin)) == 1
    write = house.rows.write

    def full(work):
        raise StorageFull("the disk is full")

    house.gallery.identify(admin, gate, shoot(51))
    monkeypatch.setattr(house.rows, "write", full)
    with pytest.raises(StorageFull):
        house.gallery.unknowns.flush()
    monkeypatch.setattr(house.rows, "write", write)
    assert sorted(row.seen for row in rows_of(house, admin)) == [1, 1]


def test_another_process_sees_them_and_both_may_add(open_house, house, admin, gate, shoot):
    other = open_house()
    other.gallery.unknowns._clock = house.clock
    house.gallery.identify(admin, gate, shoot(50))
    house.gallery.unknowns.flush()
    other.gallery.identify(admin, gate, shoot(50, shot=1))
    other.gallery.identify(admin, gate, shoot(51))
    other.gallery.unknowns.flush()
    house.gallery.identify(admin, gate, shoot(50, shot=2))
    assert [row.seen for row in rows_of(house, admin)] == [3, 1] == [row.seen for row in rows_of(other, admin)]


def test_two_processes_at_once_lose_nothing(open_house, house, admin, gate, shoot, monkeypatch):
    other = open_house()
    house.gallery.identify(admin, gate, shoot(50))
    take = house.gallery.unknowns._store.change

    def beaten(*args):
        monkeypatch.undo()
        other.gallery.identify(admin, gate, shoot(50, shot=1))
        other.gallery.unknowns.flush()
        return take(*args)

    monkeypatch.setattr(house.gallery.unknowns._store, "change", beaten)
    (row,) = rows_of(house, admin)
    assert row.seen == 2


def test_after_a_change_of_model_they_can_be_enrolled_by_their_pictures(house, admin, gate, shoot, reindexed):
    house.gallery.identify(admin, gate, shoot(50))
    (row,) = rows_of(house, admin)
    reindexed(house, gate)
    house.gallery.identify(admin, gate, shoot(50, shot=1))
    assert sorted(r.seen for r in rows_of(house, admin)) == [1, 1], "another space, another row"
    house.gallery.unknowns.enrol(admin, gate, row.id, "visitor")
    found = house.gallery.identify(admin, gate, shoot(50, shot=9))
    assert found.faces[0].candidates[0].subject.id == "visitor"


def test_without_pictures_another_model_cannot_be_given_them(house, admin, gate, shoot, reindexed):
    house.gallery.update_collection(admin, gate, keep=Keep.NONE)
    house.gallery.identify(admin, gate, shoot(50))
    (row,) = rows_of(house, admin)
    reindexed(house, gate)
    with pytest.raises(Conflict, match="no picture"):
        house.gallery.unknowns.enrol(admin, gate, row.id, "visitor")


def test_each_call_needs_its_right_and_is_on_record(house, admin, as_role, gate, shoot):
    house.gallery.identify(admin, gate, shoot(50))
    unknowns = house.gallery.unknowns
    (row,) = unknowns.page(as_role("viewer"), gate, 10, None)[1].items
    face = row.faces[0].id
    with pytest.raises(PermissionDenied):
        unknowns.crop(as_role("identifier"), gate, row.id, face)
    assert unknowns.crop(as_role("enroller"), gate, row.id, face)
    for role, call in (
        ("identifier", lambda who: unknowns.enrol(who, gate, row.id, "x")),
        ("viewer", lambda who: unknowns.dismiss(who, gate, row.id)),
        ("enroller", lambda who: unknowns.erase(who, gate, row.id)),
        ("auditor", lambda who: unknowns.page(who, gate, 10, None)),
    ):
        with pytest.raises(PermissionDenied):
            call(as_role(role))
    unknowns.erase(as_role("privacy"), gate, row.id)
    told = [(e.action, e.outcome) for e in house.audit.page(0, 10_000) if e.action.startswith("unknown.")]
    assert told == [
        ("unknown.list", "ok"),
        ("unknown.crop", "denied"),
        ("unknown.crop", "ok"),
        ("unknown.enrol", "denied"),
        ("unknown.dismiss", "denied"),
        ("unknown.erase", "denied"),
        ("unknown.list", "denied"),
        ("unknown.erase", "ok"),
    ]
