"""Collections of pictures: searched with and without thresholds, by part, for near duplicates, and never as faces."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.domain import Box, Embeddings, Keep, Kind, TrialMode
from lookalike.errors import (
    AllRejected,
    InvalidInput,
    NotCalibratable,
    NotCalibrated,
    PermissionDenied,
    WrongKind,
)
from lookalike.reindex import Reindexer
from tests.lookalike.conftest import photo

THINGS = 30


@pytest.fixture
def shop(gallery, admin, shoot, pictures):
    """Thirty things of two pictures each; the model has no calibration."""
    gallery.create_collection(admin, "shop", kind=Kind.IMAGE)
    for thing in range(THINGS):
        gallery.enrol(admin, "shop", f"t{thing}", pictures(shoot(thing), shoot(thing, shot=1)))
    return "shop"


def found(answer) -> list[str]:
    (only,) = answer.faces
    return [candidate.subject.id for candidate in only.candidates]


def test_a_collection_of_pictures_has_its_kind_s_model_and_says_that_no_rate_is_known(gallery, admin):
    made = gallery.create_collection(admin, "shop", kind=Kind.IMAGE)
    assert (made.collection.kind, made.collection.space.model, made.calibration) == (Kind.IMAGE, "things", "none")
    assert gallery.collection(admin, "shop").calibration == "none"


def test_without_a_calibration_the_nearest_are_given_and_no_rate_is_promised(gallery, admin, shop, shoot):
    answer = gallery.search(admin, shop, shoot(3, shot=7), limit=4)
    assert found(answer)[0] == "t3" and len(found(answer)) == 4
    assert (answer.threshold.source, answer.threshold.similarity, answer.threshold.target) == ("uncalibrated", -1, None)
    assert {candidate.fpir for candidate in answer.faces[0].candidates} == {None}
    assert answer.faces[0].face.landmarks == ()


def test_a_threshold_decides_without_a_calibration_too(gallery, admin, shop, shoot):
    assert found(gallery.search(admin, shop, shoot(3, shot=7), threshold=0.6)) == ["t3"]
    assert found(gallery.search(admin, shop, shoot(99), threshold=0.6)) == []


def test_a_rate_that_nobody_can_promise_is_refused(gallery, admin, shop, shoot):
    with pytest.raises(NotCalibrated, match="give a threshold, or calibrate"):
        gallery.search(admin, shop, shoot(3), fpir=0.01)
    with pytest.raises(NotCalibrated):
        gallery.verify(admin, shop, "t3", shoot(3))


def test_a_model_with_a_calibration_decides_as_for_faces(house, admin, shoot, shop):
    house.models.uncalibrated.clear()
    house.rosters.of(house.records.collection(shop)).calibration_stale = True
    answer = house.gallery.search(admin, shop, shoot(3, shot=7))
    assert found(answer) == ["t3"] and answer.threshold.target == 0.01
    assert 0 <= answer.faces[0].candidates[0].fpir < 0.01
    assert found(house.gallery.search(admin, shop, shoot(99))) == []
    assert house.gallery.collection(admin, shop).calibration == "model"


def test_it_learns_from_its_own_pairs_without_a_calibration_of_its_model(gallery, admin, shop, shoot):
    report = gallery.calibrate(admin, shop)
    assert (report.subjects, report.before.source) == (THINGS, "uncalibrated")
    answer = gallery.search(admin, shop, shoot(3, shot=7))
    assert found(answer) == ["t3"] and answer.threshold.target == 0.01
    assert gallery.collection(admin, shop).calibration == "collection"


def test_too_few_things_teach_nothing(gallery, admin, shoot, pictures):
    gallery.create_collection(admin, "shop", kind=Kind.IMAGE)
    gallery.enrol(admin, "shop", "t", pictures(shoot(1)))
    with pytest.raises(NotCalibratable):
        gallery.calibrate(admin, "shop")


def test_a_service_calibrates_it_by_itself_too(gallery, admin, shop):
    assert [due.name for due in gallery.overdue(THINGS)] == [shop]
    gallery.calibrate(admin, shop)
    assert gallery.overdue(THINGS) == []


def test_the_part_in_the_box_is_searched(gallery, admin, shop, shoot):
    assert found(gallery.search(admin, shop, shoot(4, 9, shot=7), limit=1)) == ["t4"]
    assert found(gallery.search(admin, shop, shoot(4, 9, shot=7), limit=1, box=Box(1, 0, 50, 50))) == ["t9"]


def test_a_thing_is_as_like_as_its_most_similar_picture(gallery, admin, shoot, pictures):
    gallery.create_collection(admin, "shop", kind=Kind.IMAGE)
    front, back = pictures(shoot(1), shoot(2))
    gallery.enrol(admin, "shop", "box", [front, back])
    (best,) = gallery.search(admin, "shop", shoot(2)).faces[0].candidates
    assert best.similarity == pytest.approx(1.0, abs=1e-5)
    samples = gallery.subject(admin, "shop", "box")[1]
    assert best.sample_id == samples[1].id
    assert gallery.verify(admin, "shop", "box", shoot(2), threshold=0.9).match


def test_sides_of_a_thing_are_no_conflict_but_another_thing_s_picture_is(house, admin, shoot, pictures):
    house.models.uncalibrated.clear()
    house.gallery.create_collection(admin, "shop", kind=Kind.IMAGE)
    sides = house.gallery.enrol(admin, "shop", "box", pictures(shoot(1)))
    again = house.gallery.enrol(admin, "shop", "box", pictures(shoot(2)))
    assert [s.conflict for s in (*sides.samples, *again.samples)] == [None, None]
    (copied,) = house.gallery.enrol(admin, "shop", "other", pictures(shoot(1, shot=3))).samples
    assert (copied.conflict.kind, copied.conflict.subject) == ("matches_other_subject", "box")


def test_metadata_chooses_what_is_searched(gallery, admin, shop, shoot):
    gallery.put_subject(admin, shop, "t5", metadata={"aisle": "north"})
    answer = gallery.search(admin, shop, shoot(3, shot=7), metadata={"aisle": "north"})
    assert found(answer) == ["t5"] and answer.threshold.gallery_size == 1


def test_near_duplicates_are_copies_of_a_picture_alone(gallery, admin, shop, shoot):
    answer = gallery.search(admin, shop, shoot(3, shot=1), near_duplicates=True)
    assert found(answer) == ["t3"]
    (copy,) = answer.faces[0].candidates
    assert copy.likeness == 1.0 and answer.threshold.source == "near_duplicates"
    samples = gallery.subject(admin, shop, "t3")[1]
    assert copy.sample_id == samples[1].id
    assert found(gallery.search(admin, shop, shoot(3, shot=7), near_duplicates=True)) == []


def test_a_picture_enrolled_under_two_names_is_found_under_both(gallery, admin, shop, shoot, pictures):
    gallery.enrol(admin, shop, "copy", pictures(shoot(3, shot=1)))
    answer = gallery.search(admin, shop, shoot(8, 3, shot=1), near_duplicates=True, box=Box(1, 0, 50, 50))
    assert sorted(found(answer)) == ["copy", "t3"]
    assert len(found(gallery.search(admin, shop, shoot(3, shot=1), near_duplicates=True, limit=1))) == 1


def test_near_duplicates_need_pictures_and_no_threshold(gallery, admin, shop, shoot):
    with pytest.raises(InvalidInput, match="pixels decide"):
        gallery.search(admin, shop, shoot(3), near_duplicates=True, threshold=0.5)
    gallery.update_collection(admin, shop, keep=Keep.NONE)
    with pytest.raises(InvalidInput, match="keeps none"):
        gallery.search(admin, shop, shoot(3), near_duplicates=True)


def test_an_empty_collection_has_nothing_like_it(gallery, admin, shoot):
    gallery.create_collection(admin, "shop", kind=Kind.IMAGE)
    assert found(gallery.search(admin, "shop", shoot(1))) == []
    assert found(gallery.search(admin, "shop", shoot(1), near_duplicates=True)) == []


def test_faces_are_not_asked_of_pictures_nor_pictures_of_faces(gallery, admin, shop, shoot):
    gallery.create_collection(admin, "staff")
    with pytest.raises(WrongKind, match="of the kind 'image': use search"):
        gallery.identify(admin, shop, shoot(1))
    with pytest.raises(WrongKind, match="of the kind 'face': use identify"):
        gallery.search(admin, "staff", shoot(1))


def test_searching_needs_its_right_and_is_on_record(house, admin, as_role, shop, shoot):
    with pytest.raises(PermissionDenied):
        house.gallery.search(as_role("viewer"), shop, shoot(1))
    house.gallery.search(as_role("identifier", shop), shop, shoot(3, shot=7), threshold=0.6)
    denied, done = [entry for entry in house.audit.page(0, 1000) if entry.action == "search"]
    assert denied.outcome == "denied"
    subject = house.gallery.subject(admin, shop, "t3")[0]
    assert (done.outcome, done.details["matched"], done.collection) == ("ok", subject.key, shop)


def test_a_picture_of_too_little_quality_is_rejected_with_its_reasons(gallery, admin, shop, shoot, pictures):
    with pytest.raises(AllRejected) as refused:
        gallery.enrol(admin, shop, "dark", pictures(shoot(1, reasons=("too_dark",))))
    assert refused.value.rejected == (("0.jpg", ("too_dark",)),)


def test_another_model_is_given_the_kept_pictures(house, admin, shop, shoot):
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models, standby_s=3600)
    indexer.begin(admin, shop, model="turned-things")
    report = indexer.run(admin, shop, lambda done, total: None)
    assert (report.samples, report.left_behind, report.promoted) == (2 * THINGS, 0, True)
    answer = house.gallery.search(admin, shop, shoot(3, shot=7))
    assert found(answer)[0] == "t3" and answer.model == "turned-things"
    assert answer.threshold.source == "uncalibrated", "what ranked before goes on to"
    indexer.roll_back(admin, shop)
    assert house.gallery.search(admin, shop, photo(3, shot=7)).model == "things"


def test_what_it_learned_is_learned_anew_for_another_model(house, admin, shop, shoot):
    house.gallery.calibrate(admin, shop)
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models, standby_s=3600)
    indexer.begin(admin, shop, model="turned-things")
    report = indexer.run(admin, shop, lambda done, total: None)
    assert report.promoted and 0 < report.threshold == pytest.approx(report.threshold_before, abs=0.02)
    answer = house.gallery.search(admin, shop, shoot(3, shot=7))
    assert found(answer) == ["t3"] and answer.threshold.target == 0.01


def test_few_things_without_a_calibration_can_change_their_model_too(house, admin, shoot, pictures):
    house.gallery.create_collection(admin, "shop", kind=Kind.IMAGE)
    house.gallery.enrol(admin, "shop", "t", pictures(shoot(1), shoot(1, shot=2)))
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models, standby_s=3600)
    indexer.begin(admin, "shop", model="turned-things")
    report = indexer.run(admin, "shop", lambda done, total: None)
    assert report.promoted and report.verdict == "same"
    assert house.gallery.search(admin, "shop", shoot(1, shot=7)).threshold.source == "uncalibrated"


def test_the_nearest_samples_are_several_of_a_subject(house, admin, shop):
    roster = house.rosters.of(house.records.collection(shop))
    _, vectors = roster.index.dump()
    near = roster.nearest(Embeddings(roster.collection.space, np.asarray(vectors[:1])), 2)
    assert len({ranked.subject_key for ranked in near}) == 1
    assert len({ranked.number for ranked in near}) == 2


def test_each_place_with_something_enrolled_is_given_and_nothing_else(gallery, admin, shop, shoot):
    answer = gallery.search(admin, shop, shoot(4, 77, 9, shot=7), regions=True, threshold=0.6)
    assert {face.candidates[0].subject.id: round(face.face.box.x / 100) for face in answer.faces} == {"t4": 0, "t9": 2}
    scores = [face.candidates[0].similarity for face in answer.faces]
    assert scores == sorted(scores, reverse=True) and 16 < answer.regions <= 300
    assert gallery.search(admin, shop, shoot(77, 78, shot=7), regions=True, threshold=0.6).faces == ()


def test_regions_need_something_that_decides(gallery, admin, shop, shoot):
    with pytest.raises(NotCalibrated, match="give a threshold, or calibrate"):
        gallery.search(admin, shop, shoot(4, 9), regions=True)
    gallery.calibrate(admin, shop)
    answer = gallery.search(admin, shop, shoot(4, 9, shot=7), regions=True)
    assert {found.candidates[0].subject.id for found in answer.faces} == {"t4", "t9"}


def test_regions_are_of_the_whole_picture_and_of_collections_of_pictures(gallery, admin, shop, shoot):
    for other in ({"box": Box(0, 0, 50, 50)}, {"near_duplicates": True}):
        with pytest.raises(InvalidInput, match="regions"):
            gallery.search(admin, shop, shoot(4), regions=True, threshold=0.6, **other)


def test_regions_choose_by_metadata_too(gallery, admin, shop, shoot):
    gallery.put_subject(admin, shop, "t9", metadata={"aisle": "north"})
    answer = gallery.search(admin, shop, shoot(4, 9, shot=7), regions=True, threshold=0.6, metadata={"aisle": "north"})
    assert {face.candidates[0].subject.id for face in answer.faces} == {"t9"}


def test_how_many_parts_were_looked_at_is_on_record(house, admin, shop, shoot):
    answer = house.gallery.search(admin, shop, shoot(4, 9), regions=True, threshold=0.6)
    entry = house.audit.page(0, 10_000)[-1]
    assert (entry.action, entry.details["regions"], entry.details["faces"]) == ("search", answer.regions, 2)


def test_a_trial_takes_a_search_that_finds_no_place(house, admin, shop, shoot):
    house.gallery.calibrate(admin, shop)
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models, standby_s=3600)
    indexer.begin(admin, shop, model="turned-things")
    indexer.run(admin, shop, lambda done, total: None, hold=True)
    indexer.try_out(admin, shop, TrialMode.CANARY, 1.0)
    answer = house.gallery.search(admin, shop, shoot(77), regions=True)
    assert answer.faces == () and answer.model == "turned-things"
