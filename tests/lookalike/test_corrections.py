"""The use cases of corrections: searches follow at once, and an access request knows the earlier name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lookalike.bulk import BulkEnroller, Loaded
from lookalike.corrections import Corrections
from lookalike.errors import ConsentRequired, InvalidInput, PermissionDenied
from security.ledger_copy import Ledger
from security.sealed_corrections import SealedCorrections
from tests.lookalike.test_access import access
from tests.lookalike.test_bulk import Listed, Notes, ignore
from tests.lookalike.test_validity import found

__all__ = ["access"]

ANN, BEN = 1, 2


@pytest.fixture
def corrections(house):
    keyring = house.records._keyring
    store = SealedCorrections(house.rows, keyring, house.audit, Ledger(house.rows, keyring, house.audit))
    return Corrections(house.records, house.audit, store, house.rosters, house.clock)


@pytest.fixture
def staff(gallery, admin, shoot, pictures):
    """Ann, whose second picture is Ben's."""
    gallery.create_collection(admin, "staff")
    gallery.enrol(admin, "staff", "Ann", pictures(shoot(ANN), shoot(BEN)))
    return "staff"


def test_a_renamed_person_is_recognised_by_the_new_name_at_once(gallery, corrections, admin, staff, shoot):
    corrections.rename(admin, staff, "Ann", "Anna")
    assert found(gallery.identify(admin, staff, shoot(ANN, shot=5), threshold=0.3)) == ["Anna"]


def test_a_moved_picture_answers_for_the_right_person_at_once(gallery, corrections, admin, staff, shoot):
    wrong = gallery.subject(admin, staff, "Ann")[1][1]
    corrections.move(admin, staff, "Ann", wrong.id, "Ben")
    assert found(gallery.identify(admin, staff, shoot(ANN, BEN, shot=5))) == ["Ann", "Ben"]
    assert not gallery.verify(admin, staff, "Ann", shoot(BEN, shot=5)).match


def test_an_import_of_the_same_wrong_folder_does_not_undo_a_move(house, gallery, corrections, admin, shoot):
    gallery.create_collection(admin, "staff")
    where = house.records.collection("staff")
    items, notes = [Listed("1.jpg", Loaded("Ann", shoot(BEN)))], Notes()

    def run():
        enroller = BulkEnroller(gallery, admin, ("staff", where.id), notes, max_bytes=1000, threads=1)
        enroller.run(items, 0, ignore)

    run()
    corrections.move(admin, "staff", "Ann", gallery.subject(admin, "staff", "Ann")[1][0].id, "Ben")
    run()
    assert [n["reasons"] for n in notes.items] == [["sample_elsewhere"]]
    assert gallery.subject(admin, "staff", "Ann")[1] == []


def test_an_access_request_finds_what_was_done_under_an_earlier_name(gallery, corrections, access, admin, staff):
    corrections.rename(admin, staff, "Ann", "Anna")
    corrections.rename(admin, staff, "Anna", "Hannah")
    gallery.put_subject(admin, staff, "Hannah", metadata={})
    told = [e.action for e in access.concerning(access.open(admin, staff, "Hannah"))]
    assert told == ["sample.enrol", "subject.rename", "subject.rename", "subject.put", "subject.export"]


def test_enrollers_correct_and_what_makes_no_sense_is_refused(house, gallery, corrections, admin, as_role, staff):
    sample = gallery.subject(admin, staff, "Ann")[1][1].id
    for role in ("viewer", "identifier", "operator", "privacy", "auditor"):
        with pytest.raises(PermissionDenied):
            corrections.rename(as_role(role), staff, "Ann", "Anna")
        with pytest.raises(PermissionDenied):
            corrections.move(as_role(role), staff, "Ann", sample, "Ben")
    with pytest.raises(InvalidInput):
        corrections.rename(admin, staff, "Ann", "a/b")
    with pytest.raises(InvalidInput):
        corrections.move(admin, staff, "Ann", sample, "Ann")
    where = house.records.collection(staff)
    entry = next(e for e in house.audit.page(0, 100) if e.action == "sample.enrol")
    house.records.change_collection(where, lambda c: replace(c, require_consent=True), entry)
    with pytest.raises(ConsentRequired):
        corrections.move(admin, staff, "Ann", sample, "Ben")
    corrections.rename(as_role("enroller", staff), staff, "Ann", "Anna")
