"""Access requests: all of one subject and nothing of others, on record before anything leaves."""

from __future__ import annotations

import json

import pytest

from lookalike.access import AccessRequests
from lookalike.domain import Consent, Keep
from lookalike.errors import PermissionDenied, SubjectNotFound
from security.sealed_retention import SealedRetention

ANN, BEN = 1, 2


@pytest.fixture
def access(house):
    store = SealedRetention(house.rows, house.records._keyring)
    return AccessRequests(house.records, house.audit, house.gallery.live, house.gallery.unknowns, store, house.clock)


@pytest.fixture
def staff(gallery, admin, shoot, pictures):
    """Ann with two pictures, consent and metadata; Ben; both were searched; unknown faces are kept."""
    gallery.create_collection(admin, "staff", keep=Keep.IMAGE, retention_days=36_500, keep_unknown_days=30)
    gallery.put_subject(admin, "staff", "Ann", metadata={"site": "north"}, consent=Consent("contract", "file 12"))
    gallery.enrol(admin, "staff", "Ann", pictures(shoot(ANN), shoot(ANN, shot=1)))
    gallery.enrol(admin, "staff", "Ben", pictures(shoot(BEN)))
    gallery.identify(admin, "staff", shoot(ANN, BEN, shot=5))
    gallery.identify(admin, "staff", shoot(BEN, shot=5))
    return "staff"


def test_all_that_is_kept_is_there_and_nothing_of_others(access, admin, staff, gallery, shoot):
    dossier = access.open(admin, staff, "Ann")
    assert (dossier.subject.metadata, dossier.subject.consent.reference) == ({"site": "north"}, "file 12")
    assert [[space.model for space in kept.spaces] for kept in dossier.samples] == [["scripted"], ["scripted"]]
    found = list(access.pictures(dossier))
    assert sorted((p.of, p.kind) for p in found) == sorted(
        (kept.sample.id, kind) for kept in dossier.samples for kind in ("crop", "image")
    )
    assert {p.data for p in found if p.kind == "image"} == {shoot(ANN), shoot(ANN, shot=1)}


def test_audit_entries_that_name_or_match_the_subject_are_told_without_whom_else_they_matched(access, admin, staff):
    entries = access.concerning(access.open(admin, staff, "Ann"))
    assert [(e.action, e.how) for e in entries] == [
        ("subject.put", "named"),
        ("sample.enrol", "named"),
        ("identify", "matched"),
        ("subject.export", "named"),
    ]
    assert entries[2].details == {}
    assert entries[1].details["samples"] == 2
    assert all(e.by == "key:test" for e in entries)


def test_entries_long_before_the_enrolment_are_not_even_opened(house, access, gallery, admin, shoot, pictures):
    house.audit._clock = house.records._clock = house.clock
    gallery.create_collection(admin, "staff")
    for _ in range(30):
        gallery.collections(admin)
    house.clock.later(10)
    gallery.enrol(admin, "staff", "Ann", pictures(shoot(ANN)))
    dossier = access.open(admin, "staff", "Ann")
    opened = []
    page = house.audit.page
    access._audit = type("Counting", (), {"page": lambda _, a, n: opened.append(found := page(a, n)) or found})()
    assert [e.action for e in access.concerning(dossier)] == ["sample.enrol", "subject.export"]
    assert sum(len(found) for found in opened) < 20


def test_unknown_faces_that_look_alike_are_part_of_it(access, gallery, admin, staff, shoot, pictures):
    gallery.identify(admin, staff, shoot(3, 4))
    gallery.unknowns.flush()
    gallery.enrol(admin, staff, "Cat", pictures(shoot(3, shot=1)))
    dossier = access.open(admin, staff, "Cat")
    (row,) = dossier.alike
    assert [p.data for p in access.pictures(dossier) if p.kind == "unknown"] == [json.dumps([3, 0]).encode()]
    assert [p.of for p in access.pictures(dossier) if p.kind == "unknown"] == [row.faces[0].id]
    assert access.open(admin, staff, "Ann").alike == ()


def test_a_request_that_is_not_on_record_gives_nothing_and_only_the_privacy_role_may(
    house, access, admin, as_role, staff
):
    for role in ("viewer", "identifier", "enroller", "operator", "auditor"):
        with pytest.raises(PermissionDenied):
            access.open(as_role(role), staff, "Ann")
    access.open(as_role("privacy", staff), staff, "Ann")
    with pytest.raises(SubjectNotFound):
        access.open(admin, staff, "nobody")
    told = [e.outcome for e in house.audit.page(0, 1000) if e.action == "subject.export"]
    assert told == ["denied"] * 5 + ["ok", "subject_not_found"]
