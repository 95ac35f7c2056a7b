import numpy as np
import pytest

from lookalike.domain import Keep, Kind
from lookalike.errors import (
    AllRejected,
    CollectionExists,
    CollectionNotFound,
    FaceNotFound,
    InvalidInput,
    ModelNotAvailable,
    PermissionDenied,
    SampleNotFound,
    StorageFull,
    SubjectNotFound,
)

ANN, BEN, CAT, STRANGER = 1, 2, 3, 99


@pytest.fixture
def staff(gallery, admin, shoot, pictures):
    gallery.create_collection(admin, "staff")
    for id, who in (("Ann", ANN), ("Ben", BEN), ("Cat", CAT)):
        gallery.enrol(admin, "staff", id, pictures(shoot(who), shoot(who, shot=1)))
    return "staff"


def names(identification):
    return [[c.subject.id for c in face.candidates] for face in identification.faces]


def test_an_enrolled_person_is_identified_and_a_stranger_gets_an_empty_list(gallery, admin, staff, shoot):
    answer = gallery.identify(admin, staff, shoot(ANN, STRANGER, BEN, shot=5))
    assert names(answer) == [["Ann"], [], ["Ben"]]
    assert answer.threshold.gallery_size == 3
    assert answer.threshold.target == 0.01


def test_a_candidate_carries_the_chance_that_it_is_a_false_alarm(gallery, admin, staff, shoot):
    candidate = gallery.identify(admin, staff, shoot(ANN, shot=5)).faces[0].candidates[0]
    assert 0 <= candidate.fpir < 0.01


def test_the_sample_nearest_to_the_probe_is_named(gallery, admin, staff, shoot):
    _, samples = gallery.subject(admin, staff, "Ann")
    answer = gallery.identify(admin, staff, shoot(ANN, shot=1))
    assert answer.faces[0].candidates[0].sample_id == samples[1].id


def test_only_the_largest_face_is_searched_when_asked(gallery, admin, staff, shoot):
    assert names(gallery.identify(admin, staff, shoot(BEN, ANN, shot=5), largest_only=True)) == [["Ben"]]


def test_a_lower_false_alarm_rate_asks_for_more_similarity(gallery, admin, staff, shoot):
    strict = gallery.identify(admin, staff, shoot(ANN), fpir=0.001).threshold
    lax = gallery.identify(admin, staff, shoot(ANN), fpir=0.1).threshold
    assert strict.similarity > lax.similarity


def test_an_explicit_threshold_is_echoed_as_such(gallery, admin, staff, shoot):
    answer = gallery.identify(admin, staff, shoot(STRANGER), threshold=0.0, limit=2)
    assert answer.threshold.source == "explicit"
    assert len(answer.faces[0].candidates) <= 2


def test_a_metadata_filter_narrows_the_gallery_and_follows_updates(gallery, admin, staff, shoot):
    gallery.put_subject(admin, staff, "Ann", metadata={"site": "north"})
    north = gallery.identify(admin, staff, shoot(ANN, BEN, shot=5), metadata={"site": "north"})
    assert names(north) == [["Ann"], []]
    assert north.threshold.gallery_size == 1
    gallery.put_subject(admin, staff, "Ann", metadata={"site": "south"})
    assert names(gallery.identify(admin, staff, shoot(ANN, shot=5), metadata={"site": "north"})) == [[]]


def test_a_subject_outside_its_validity_is_no_candidate(gallery, admin, staff, shoot):
    gallery.put_subject(admin, staff, "Ann", metadata={}, valid_until="2025-12-31")
    assert names(gallery.identify(admin, staff, shoot(ANN, shot=5))) == [[]]
    assert not gallery.verify(admin, staff, "Ann", shoot(ANN, shot=5)).match


def test_a_picture_without_a_face_is_refused_as_a_probe(gallery, admin, staff, shoot):
    with pytest.raises(FaceNotFound):
        gallery.identify(admin, staff, shoot())


def test_an_empty_gallery_answers_that_it_knows_nobody(gallery, admin, shoot):
    gallery.create_collection(admin, "empty")
    assert names(gallery.identify(admin, "empty", shoot(ANN))) == [[]]


def test_the_good_pictures_of_an_enrolment_are_kept_and_the_others_told(gallery, admin, shoot, pictures):
    gallery.create_collection(admin, "staff")
    done = gallery.enrol(
        admin, "staff", "Ann", pictures(shoot(ANN, BEN), b"rubbish", shoot(), shoot(ANN, reasons=("blurred",)))
    )
    assert [s.filename for s in done.samples] == ["0.jpg"]
    assert len(done.samples[0].others) == 1
    assert [(r.filename, r.reasons) for r in done.rejected] == [
        ("1.jpg", ("unsupported_image",)),
        ("2.jpg", ("face_not_found",)),
        ("3.jpg", ("blurred",)),
    ]


def test_an_enrolment_of_nothing_usable_leaves_no_subject(gallery, admin, shoot, pictures):
    gallery.create_collection(admin, "staff")
    with pytest.raises(AllRejected) as refusal:
        gallery.enrol(admin, "staff", "Ann", pictures(shoot()))
    assert refusal.value.rejected == (("0.jpg", ("face_not_found",)),)
    with pytest.raises(SubjectNotFound):
        gallery.subject(admin, "staff", "Ann")


def test_a_face_that_is_already_someone_else_is_flagged_not_refused(gallery, admin, staff, shoot, pictures):
    done = gallery.enrol(admin, staff, "Eve", pictures(shoot(ANN, shot=6)))
    assert done.samples[0].conflict.kind == "matches_other_subject"
    assert done.samples[0].conflict.subject == "Ann"


def test_a_face_unlike_the_subjects_own_is_flagged(gallery, admin, staff, shoot, pictures):
    done = gallery.enrol(admin, staff, "Ann", pictures(shoot(STRANGER)))
    assert done.samples[0].conflict.kind == "differs_from_own_samples"


def test_a_retried_enrolment_is_kept_once(gallery, admin, shoot, pictures):
    gallery.create_collection(admin, "staff")
    first = gallery.enrol(admin, "staff", "Ann", pictures(shoot(ANN)), idempotency_key="k1")
    again = gallery.enrol(admin, "staff", "Ann", pictures(shoot(ANN)), idempotency_key="k1")
    assert [s.sample.id for s in again.samples] == [s.sample.id for s in first.samples]
    assert len(gallery.subject(admin, "staff", "Ann")[1]) == 1


def test_a_collection_keeps_what_its_policy_says(gallery, admin, shoot, pictures):
    for keep in (Keep.NONE, Keep.CROP):
        gallery.create_collection(admin, keep.value, keep=keep)
        sample = gallery.enrol(admin, keep.value, "Ann", pictures(shoot(ANN))).samples[0].sample
        if keep is Keep.CROP:
            assert gallery.crop(admin, keep.value, "Ann", sample.id) == b"[1, 0]"
        else:
            with pytest.raises(SampleNotFound):
                gallery.crop(admin, keep.value, "Ann", sample.id)


def test_verification_tells_the_person_from_another(gallery, admin, staff, shoot):
    assert gallery.verify(admin, staff, "Ann", shoot(ANN, shot=5)).match
    other = gallery.verify(admin, staff, "Ann", shoot(BEN, shot=5))
    assert not other.match
    assert other.fmr > other.threshold.target


def test_comparison_needs_no_collection(gallery, admin, shoot):
    assert gallery.compare(admin, shoot(ANN), shoot(ANN, shot=1)).match
    assert not gallery.compare(admin, shoot(ANN), shoot(BEN)).match


def test_an_erased_person_is_found_no_more(gallery, admin, staff, shoot):
    receipt = gallery.erase_subject(admin, staff, "Ann")
    assert receipt.signature
    assert "Ann" not in receipt.body
    assert names(gallery.identify(admin, staff, shoot(ANN, shot=5))) == [[]]
    with pytest.raises(SubjectNotFound):
        gallery.erase_subject(admin, staff, "Ann")


def test_a_deleted_sample_is_searched_no_more(gallery, admin, staff, shoot):
    _, samples = gallery.subject(admin, staff, "Ann")
    for sample in samples:
        gallery.delete_sample(admin, staff, "Ann", sample.id)
    assert names(gallery.identify(admin, staff, shoot(ANN, shot=5))) == [[]]
    with pytest.raises(SampleNotFound):
        gallery.verify(admin, staff, "Ann", shoot(ANN))


def test_a_deleted_collection_is_gone_and_its_name_free(gallery, admin, staff):
    gallery.delete_collection(admin, staff)
    with pytest.raises(CollectionNotFound):
        gallery.collection(admin, staff)
    assert gallery.create_collection(admin, staff).samples == 0


def test_a_collections_name_is_taken_once(gallery, admin, staff):
    with pytest.raises(CollectionExists):
        gallery.create_collection(admin, staff)


def test_a_collection_of_pictures_waits_for_a_model(house, gallery, admin):
    house.models.pictures.clear()
    with pytest.raises(ModelNotAvailable):
        gallery.create_collection(admin, "shelf", kind=Kind.IMAGE)


def test_settings_of_a_collection_change_one_by_one(gallery, admin, staff):
    gallery.update_collection(admin, staff, retention_days=30)
    gallery.update_collection(admin, staff, target_fpir=0.05)
    kept = gallery.collection(admin, staff).collection
    assert (kept.retention_days, kept.target_fpir, kept.keep) == (30, 0.05, Keep.CROP)
    assert gallery.update_collection(admin, staff, retention_days=None).collection.retention_days is None


def test_a_subject_page_has_a_limit(gallery, admin, staff):
    assert sorted(s.id for s in gallery.list_subjects(admin, staff, 100, None, {}).items) == ["Ann", "Ben", "Cat"]
    for limit in (0, 101):
        with pytest.raises(InvalidInput):
            gallery.list_subjects(admin, staff, limit, None, {})


# ------------------------------------------------------------------------------------------ right and record


def test_a_stranger_learns_nothing_of_what_exists(gallery, as_role, staff, shoot):
    nobody = as_role("identifier", "other")
    for collection in (staff, "no-such-collection"):
        with pytest.raises(PermissionDenied) as refusal:
            gallery.identify(nobody, collection, shoot(ANN))
        assert collection not in str(refusal.value)


def test_a_listing_shows_only_what_may_be_read(gallery, admin, as_role, staff):
    gallery.create_collection(admin, "visitors")
    assert [i.collection.name for i in gallery.collections(as_role("viewer", "visitors"))] == ["visitors"]
    with pytest.raises(PermissionDenied):
        gallery.collections(as_role("auditor"))


def test_every_operation_and_every_refusal_is_on_record(gallery, admin, as_role, staff, shoot):
    gallery.identify(admin, staff, shoot(ANN))
    with pytest.raises(PermissionDenied):
        gallery.erase_subject(as_role("viewer"), staff, "Ann")
    with pytest.raises(FaceNotFound):
        gallery.identify(admin, staff, shoot())
    told = [(e.action, e.outcome) for e in gallery.audit_page(admin, 0, 100)]
    assert told[0] == ("collection.create", "ok")
    assert told[-3:] == [("identify", "ok"), ("subject.erase", "denied"), ("identify", "face_not_found")]
    assert told.count(("sample.enrol", "ok")) == 3


def test_an_operation_that_cannot_be_recorded_is_refused(house, admin, staff, shoot, monkeypatch):
    def full(entry):
        raise StorageFull("no space is left")

    monkeypatch.setattr(house.audit, "append", full)
    with pytest.raises(StorageFull):
        house.gallery.identify(admin, staff, shoot(ANN))


# ---------------------------------------------------------------------------------------- several processes


def test_a_second_process_sees_writes_and_erasures(open_house, admin, shoot, pictures):
    one, two = open_house(), open_house()
    one.gallery.create_collection(admin, "staff")
    one.gallery.enrol(admin, "staff", "Ann", pictures(shoot(ANN)))
    two.rosters.catch_up()
    assert names(two.gallery.identify(admin, "staff", shoot(ANN, shot=5))) == [["Ann"]]
    one.gallery.erase_subject(admin, "staff", "Ann")
    two.rosters.catch_up()
    assert names(two.gallery.identify(admin, "staff", shoot(ANN, shot=5))) == [[]]


def test_a_restart_finds_everyone_again(open_house, admin, shoot, pictures):
    first = open_house()
    first.gallery.create_collection(admin, "staff")
    first.gallery.enrol(admin, "staff", "Ann", pictures(shoot(ANN), shoot(ANN, shot=1)))
    first.close()
    assert names(open_house().gallery.identify(admin, "staff", shoot(ANN, shot=5))) == [["Ann"]]


# ------------------------------------------------------------------------------------------------ calibration


def test_calibrate_learns_from_the_collections_own_pairs(gallery, admin, shoot, pictures):
    gallery.create_collection(admin, "staff")
    for who in range(100, 160):
        gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
    report = gallery.calibrate(admin, "staff")
    assert report.subjects == 60
    assert gallery.collection(admin, "staff").calibration == "collection"
    threshold = gallery.identify(admin, "staff", shoot(STRANGER)).threshold
    assert np.isclose(threshold.similarity, report.after.similarity)


def test_a_collection_is_due_for_calibration_when_large_enough_and_again_when_doubled(gallery, admin, shoot, pictures):
    gallery.create_collection(admin, "staff")
    for who in range(100, 130):
        gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
    assert gallery.overdue(31) == []
    assert [due.name for due in gallery.overdue(30)] == ["staff"]
    gallery.calibrate(admin, "staff")
    assert gallery.overdue(30) == []
    for who in range(130, 160):
        gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
    assert [due.name for due in gallery.overdue(30)] == ["staff"]
