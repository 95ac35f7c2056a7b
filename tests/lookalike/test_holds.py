"""The use cases of legal holds: who may, what is on record, and what rules and withdrawals do meanwhile."""

from __future__ import annotations

import pytest

from lookalike.consent import Consents
from lookalike.domain import Consent
from lookalike.errors import InvalidInput, LegalHold, PermissionDenied
from lookalike.holds import Holds
from security.holds import SealedHolds
from tests.lookalike.test_retention import days_pass, kept, matched

__all__ = ["kept"]

ANN = 1


@pytest.fixture
def holds(kept):
    house = kept.house
    return Holds(house.records, house.audit, SealedHolds(house.rows, house.records._keyring, house.audit), house.clock)


def test_the_daily_job_passes_over_whom_a_hold_keeps_and_takes_them_once_it_is_lifted(kept, holds, admin, shoot):
    hold = holds.set(admin, "staff", "Ann", "file 7/26")
    kept.daily(admin)
    assert days_pass(kept, admin, 30)[-1] == {"erased": 1, "due": 1, "held": 1, "paused": ""}
    assert kept.ids() == ["Ann"]
    assert matched(kept, admin, shoot(ANN, shot=5)) == []
    holds.lift(admin, "staff", hold.id, "file closed")
    assert days_pass(kept, admin, 1)[-1]["erased"] == 1
    assert kept.ids() == []


def test_a_hold_on_the_collection_keeps_everybody(kept, holds, admin):
    holds.set(admin, "staff", None, "file 7/26")
    kept.daily(admin)
    assert days_pass(kept, admin, 30)[-1] == {"erased": 0, "due": 0, "held": 2, "paused": ""}
    with pytest.raises(LegalHold):
        kept.house.gallery.delete_collection(admin, "staff")


def test_an_erasure_that_a_hold_refuses_takes_no_unknown_face_either(kept, holds, admin, shoot):
    gallery = kept.house.gallery
    gallery.update_collection(admin, "staff", keep_unknown_days=30)
    gallery.erase_subject(admin, "staff", "Ann")
    gallery.identify(admin, "staff", shoot(ANN))
    gallery.unknowns.flush()
    (row,) = gallery.unknowns.page(admin, "staff", 10, None)[1].items
    gallery.unknowns.enrol(admin, "staff", row.id, "Ann")
    gallery.identify(admin, "staff", shoot(ANN), threshold=0.99)
    holds.set(admin, "staff", "Ann", "file 7/26")
    with pytest.raises(LegalHold):
        gallery.erase_subject(admin, "staff", "Ann")
    assert [e.action for e in kept.house.audit.page(0, 1000)].count("unknown.erase") == 0


def test_whoever_withdraws_while_held_is_recognised_no_more_and_erased_after_the_hold(kept, holds, admin, shoot):
    consents = Consents(
        kept.house.records, kept.house.audit, kept.house.gallery, kept.retention._store, kept.house.clock
    )
    kept.retention.set_rules(admin, "staff", retention_days=None)
    consents.give(admin, "staff", "Ann", Consent("consent", "file 12"))
    hold = holds.set(admin, "staff", "Ann", "file 7/26")
    done = consents.withdraw(admin, "staff", "Ann")
    assert (done.receipt, done.kept.consent.reference) == (None, "file 12")
    assert done.kept.consent.withdrawn_at.startswith("2026-03-01")
    assert matched(kept, admin, shoot(ANN, shot=5)) == []
    kept.daily(admin)
    days_pass(kept, admin, 2)
    assert kept.ids() == ["Ann", "Ben"]
    holds.lift(admin, "staff", hold.id, "file closed")
    kept.house.gallery.put_subject(admin, "staff", "Ann", metadata={"site": "north"})
    assert matched(kept, admin, shoot(ANN, shot=5)) == []
    days_pass(kept, admin, 1)
    assert kept.ids() == ["Ben"]
    assert days_pass(kept, admin, 2) == [None, None]


def test_the_privacy_role_alone_sets_and_lifts_holds_and_says_why(kept, holds, as_role):
    privacy = as_role("privacy", "staff")
    hold = holds.set(privacy, "staff", "Ann", " file 7/26 ")
    assert [(h.id, h.subject, h.reason, h.by) for h in holds.list(privacy, "staff")] == [
        (hold.id, "Ann", "file 7/26", "key:test")
    ]
    for role in ("viewer", "identifier", "enroller", "operator", "auditor"):
        for attempt in (
            lambda who: holds.set(who, "staff", "Ann", "why"),
            lambda who: holds.lift(who, "staff", hold.id, "why"),
            lambda who: holds.list(who, "staff"),
        ):
            with pytest.raises(PermissionDenied):
                attempt(as_role(role))
    for empty in ("", "  ", "x" * 1025):
        with pytest.raises(InvalidInput):
            holds.lift(privacy, "staff", hold.id, empty)
    holds.lift(privacy, "staff", hold.id, "file closed")
    told = [(e.action, e.subject, e.details["reason"]) for e in kept.house.audit.page(0, 1000) if "reason" in e.details]
    assert told == [("hold.set", "Ann", "file 7/26"), ("hold.lift", None, "file closed")]
