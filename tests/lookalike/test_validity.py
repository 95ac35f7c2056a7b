"""Whoever may not be a candidate is found by no call, and takes no place of those who may."""

from __future__ import annotations

import pytest

from lookalike.domain import Consent, Kind

ANN, TWIN = 1, 1


@pytest.fixture
def twins(gallery, admin, shoot, pictures):
    """Two subjects with pictures of one face, in a collection of faces, and two of one thing in one of pictures."""
    gallery.create_collection(admin, "staff")
    gallery.create_collection(admin, "shelf", kind=Kind.IMAGE)
    for where in ("staff", "shelf"):
        gallery.enrol(admin, where, "near", pictures(shoot(ANN)))
        gallery.enrol(admin, where, "far", pictures(shoot(TWIN, shot=1)))
    return gallery


def found(answer):
    return [c.subject.id for face in answer.faces for c in face.candidates]


OUT = {
    "not yet": {"valid_from": "2026-03-02"},
    "no longer": {"valid_until": "2026-02-28"},
    "by a time in another zone": {"valid_until": "2026-03-01T13:59:00+02:00"},
    "consent expired": {"consent": Consent("contract", "", "2026-02-28")},
}
IN = {
    "from today": {"valid_from": "2026-03-01"},
    "through today": {"valid_until": "2026-03-01"},
    "by a time in another zone": {"valid_until": "2026-03-01T14:01:00+02:00"},
    "consent through today": {"consent": Consent("contract", "", "2026-03-01")},
}


@pytest.mark.parametrize("facts", OUT.values(), ids=OUT)
def test_whoever_may_not_be_a_candidate_is_found_by_no_call(twins, admin, shoot, facts):
    for where in ("staff", "shelf"):
        twins.put_subject(admin, where, "near", metadata={}, **facts)
    assert found(twins.identify(admin, "staff", shoot(ANN), limit=1)) == ["far"]
    assert found(twins.search(admin, "shelf", shoot(ANN), threshold=0.5, limit=1)) == ["far"]
    assert found(twins.search(admin, "shelf", shoot(ANN), near_duplicates=True)) == []
    assert found(twins.search(admin, "shelf", shoot(ANN), regions=True, threshold=0.5, limit=1)) == ["far"]
    assert not twins.verify(admin, "staff", "near", shoot(ANN)).match


@pytest.mark.parametrize("facts", IN.values(), ids=IN)
def test_whoever_may_be_one_still_is_found_by_each(twins, admin, shoot, facts):
    for where in ("staff", "shelf"):
        twins.put_subject(admin, where, "near", metadata={}, **facts)
    assert found(twins.identify(admin, "staff", shoot(ANN), limit=1)) == ["near"]
    assert found(twins.search(admin, "shelf", shoot(ANN), threshold=0.5, limit=1)) == ["near"]
    assert found(twins.search(admin, "shelf", shoot(ANN), near_duplicates=True)) == ["near"]
    assert found(twins.search(admin, "shelf", shoot(ANN), regions=True, threshold=0.5, limit=1)) == ["near"]
    assert twins.verify(admin, "staff", "near", shoot(ANN)).match


def test_a_gallery_of_nobody_who_may_be_recognised_answers_that_it_knows_nobody(twins, admin, shoot):
    for id in ("near", "far"):
        twins.put_subject(admin, "staff", id, metadata={}, valid_until="2020-01-01")
    assert found(twins.identify(admin, "staff", shoot(ANN))) == []


def test_whoever_may_not_be_recognised_does_not_become_an_unknown_face(twins, admin, shoot):
    twins.update_collection(admin, "staff", keep_unknown_days=30)
    for id in ("near", "far"):
        twins.put_subject(admin, "staff", id, metadata={}, valid_until="2020-01-01")
    twins.identify(admin, "staff", shoot(ANN))
    twins.unknowns.flush()
    assert twins.unknowns.page(admin, "staff", 10, None)[1].items == ()
