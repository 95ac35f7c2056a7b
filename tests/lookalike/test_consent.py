"""Consent: required where a collection says so by whatever way somebody is enrolled, given, expired, withdrawn."""

from __future__ import annotations

import pytest

from lookalike.bulk import BulkEnroller, Facts, Loaded
from lookalike.consent import Consents
from lookalike.domain import Consent
from lookalike.errors import ConsentRequired, InvalidInput, PermissionDenied, SubjectNotFound
from lookalike.retention import Retention
from security.sealed_retention import SealedRetention
from tests.lookalike.test_bulk import Listed, Notes, ignore
from tests.lookalike.test_validity import found

ANN, BEN = 1, 2
PAPER = Consent("consent", "file 12", "2030-12-31")
EXPIRED = Consent("consent", "file 12", "2020-12-31")


@pytest.fixture
def store(house):
    return SealedRetention(house.rows, house.records._keyring)


@pytest.fixture
def consents(house, store):
    return Consents(house.records, house.audit, house.gallery, store, house.clock)


@pytest.fixture
def staff(house, store, gallery, admin):
    """A collection that enrols nobody without consent."""
    gallery.create_collection(admin, "staff")
    Retention(house.records, house.audit, gallery, store, house.clock).set_rules(admin, "staff", require_consent=True)
    return "staff"


def test_nobody_is_enrolled_without_a_valid_consent_and_nothing_is_left_of_the_attempt(
    house, gallery, admin, staff, shoot, pictures
):
    for consent in (None, EXPIRED):
        with pytest.raises(ConsentRequired):
            gallery.enrol(admin, staff, "Ann", pictures(shoot(ANN)), consent=consent)
        with pytest.raises(ConsentRequired):
            gallery.put_subject(admin, staff, "Ann", metadata={}, consent=consent)
    with pytest.raises(SubjectNotFound):
        gallery.subject(admin, staff, "Ann")
    assert [e.outcome for e in house.audit.page(0, 100) if e.action == "sample.enrol"] == ["consent_required"] * 2


def test_a_consent_comes_with_the_pictures_or_before_them(gallery, admin, staff, shoot, pictures):
    gallery.enrol(admin, staff, "Ann", pictures(shoot(ANN)), consent=PAPER)
    gallery.put_subject(admin, staff, "Ben", metadata={}, consent=PAPER)
    gallery.enrol(admin, staff, "Ben", pictures(shoot(BEN)))
    assert [gallery.subject(admin, staff, id)[0].consent for id in ("Ann", "Ben")] == [PAPER, PAPER]
    assert found(gallery.identify(admin, staff, shoot(ANN, BEN, shot=5))) == ["Ann", "Ben"]


def test_new_facts_without_the_consent_are_refused_rather_than_taking_it_away(gallery, admin, staff):
    gallery.put_subject(admin, staff, "Ann", metadata={}, consent=PAPER)
    with pytest.raises(ConsentRequired):
        gallery.put_subject(admin, staff, "Ann", metadata={"site": "north"})
    assert gallery.subject(admin, staff, "Ann")[0].consent == PAPER


def test_an_import_enrols_those_whose_list_has_a_consent_and_notes_the_others(house, gallery, admin, staff, shoot):
    where = house.records.collection(staff)
    items = [
        Listed("1.jpg", Loaded("Ann", shoot(ANN), Facts(consent=PAPER))),
        Listed("2.jpg", Loaded("Ben", shoot(BEN))),
    ]
    notes = Notes()
    BulkEnroller(gallery, admin, (staff, where.id), notes, max_bytes=1000, threads=2).run(items, 0, ignore)
    assert [(n["subject"], n["reasons"]) for n in notes.items] == [("Ben", ["consent_required"])]
    assert gallery.subject(admin, staff, "Ann")[0].consent == PAPER


def test_an_unknown_face_is_enrolled_only_for_a_subject_with_consent(gallery, admin, staff, shoot):
    gallery.update_collection(admin, staff, keep_unknown_days=30)
    gallery.identify(admin, staff, shoot(ANN))
    gallery.unknowns.flush()
    (row,) = gallery.unknowns.page(admin, staff, 10, None)[1].items
    with pytest.raises(ConsentRequired):
        gallery.unknowns.enrol(admin, staff, row.id, "Ann")
    gallery.put_subject(admin, staff, "Ann", metadata={}, consent=PAPER)
    assert len(gallery.unknowns.enrol(admin, staff, row.id, "Ann")[1]) == 1


def test_whoever_was_enrolled_before_consent_was_required_is_no_candidate_until_it_is_given(
    house, store, gallery, consents, admin, shoot, pictures
):
    gallery.create_collection(admin, "staff")
    gallery.enrol(admin, "staff", "Ann", pictures(shoot(ANN)))
    retention = Retention(house.records, house.audit, gallery, store, house.clock)
    retention.set_rules(admin, "staff", require_consent=True)
    assert found(gallery.identify(admin, "staff", shoot(ANN, shot=5))) == []
    assert retention.report(admin, "staff").flagged == {"consent_missing": 1}
    consents.give(admin, "staff", "Ann", PAPER)
    assert found(gallery.identify(admin, "staff", shoot(ANN, shot=5))) == ["Ann"]


def test_giving_a_consent_leaves_all_else_as_it_is(gallery, consents, admin, staff):
    gallery.put_subject(admin, staff, "Ann", metadata={"site": "north"}, consent=PAPER, valid_until="2031-01-01")
    given = consents.give(admin, staff, "Ann", Consent("contract"))
    assert (given.metadata, given.valid_until, given.consent) == (
        {"site": "north"},
        "2031-01-01",
        Consent("contract"),
    )


@pytest.mark.parametrize("bad", [Consent(""), Consent("x" * 1025), Consent("consent", "", "some day")])
def test_a_consent_that_says_nothing_is_refused_wherever_it_comes_in(gallery, consents, admin, staff, pictures, bad):
    gallery.put_subject(admin, staff, "Ann", metadata={}, consent=PAPER)
    for attempt in (
        lambda: consents.give(admin, staff, "Ann", bad),
        lambda: gallery.put_subject(admin, staff, "Ann", metadata={}, consent=bad),
        lambda: gallery.enrol(admin, staff, "Ann", pictures(), consent=bad),
    ):
        with pytest.raises(InvalidInput):
            attempt()


def test_whoever_withdraws_is_erased_with_a_receipt_and_both_are_on_record(
    house, gallery, consents, admin, staff, shoot, pictures
):
    gallery.enrol(admin, staff, "Ann", pictures(shoot(ANN)), consent=PAPER)
    assert consents.withdraw(admin, staff, "Ann").receipt.signature
    with pytest.raises(SubjectNotFound):
        gallery.subject(admin, staff, "Ann")
    told = [(e.action, e.outcome, e.details.get("why")) for e in house.audit.page(0, 100)][-3:-1]
    assert told == [("consent.withdraw", "ok", None), ("subject.erase", "ok", "consent_withdrawn")]


def test_enrollers_and_the_privacy_role_give_consent_and_the_latter_alone_takes_it_back(
    gallery, consents, admin, as_role, staff
):
    gallery.put_subject(admin, staff, "Ann", metadata={}, consent=PAPER)
    for role in ("enroller", "privacy"):
        consents.give(as_role(role, staff), staff, "Ann", PAPER)
    for role in ("viewer", "identifier", "operator", "auditor"):
        with pytest.raises(PermissionDenied):
            consents.give(as_role(role), staff, "Ann", PAPER)
    with pytest.raises(PermissionDenied):
        consents.withdraw(as_role("enroller"), staff, "Ann")
    assert consents.withdraw(as_role("privacy", staff), staff, "Ann").receipt is not None
