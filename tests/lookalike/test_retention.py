"""Retention over a real store whose clock the tests move: who goes, who stays, and when nobody goes unasked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import pytest

from lookalike.domain import Consent
from lookalike.errors import InvalidInput, NeedsConfirmation, PermissionDenied, SubjectNotFound
from lookalike.retention import Retention
from security.receipts import check_receipt
from security.sealed_retention import SealedRetention
from tests.lookalike.conftest import Clock, House, open_at

ANN, BEN = 1, 2


@dataclass
class Kept:
    """A house whose rows are stamped by its clock, and the retention of one process."""

    house: House
    retention: Retention

    def ids(self) -> list[str]:
        return sorted(s.id for s in self.house.records.list_subjects(self.staff, 100, None, {}).items)

    @property
    def staff(self):
        return self.house.records.collection("staff")

    def daily(self, caller) -> dict[str, object] | None:
        """What the service's own job does, if a look is due."""
        for collection in self.retention.claim():
            return self.retention.run(caller, collection.name, lambda done, total: None)
        return None


@pytest.fixture
def kept(tmp_path, admin, shoot, pictures):
    house = open_at(tmp_path, clock=Clock())
    keyring = house.records._keyring
    retention = Retention(house.records, house.audit, house.gallery, SealedRetention(house.rows, keyring), house.clock)
    house.gallery.create_collection(admin, "staff", retention_days=30)
    for id, who in (("Ann", ANN), ("Ben", BEN)):
        house.gallery.enrol(admin, "staff", id, pictures(shoot(who)))
    yield Kept(house, retention)
    house.close()


def days_pass(kept: Kept, admin, days: int) -> list[dict[str, object] | None]:
    """Each day the service looks; the results of those looks."""
    results = []
    for _ in range(days):
        kept.house.clock.later(1)
        results.append(kept.daily(admin))
    return results


def matched(kept, admin, picture):
    return [
        c.subject.id for face in kept.house.gallery.identify(admin, "staff", picture).faces for c in face.candidates
    ]


def test_whoever_is_past_their_time_is_no_candidate_before_any_job_ran(kept, admin, shoot):
    kept.house.clock.later(29)
    assert matched(kept, admin, shoot(ANN, shot=5)) == ["Ann"]
    kept.house.clock.later(1)
    assert matched(kept, admin, shoot(ANN, shot=5)) == []
    assert not kept.house.gallery.verify(admin, "staff", "Ann", shoot(ANN, shot=5)).match
    assert kept.ids() == ["Ann", "Ben"]


def test_the_daily_job_erases_them_with_a_receipt_a_ledger_line_and_an_audit_entry(kept, admin):
    kept.daily(admin)
    results = days_pass(kept, admin, 30)
    assert [r["erased"] for r in results] == [0] * 29 + [2]
    assert kept.ids() == []
    entries = [e for e in kept.house.audit.page(0, 1000) if e.action == "subject.erase"]
    assert sorted((e.subject, e.details["why"]) for e in entries) == [
        ("Ann", "past_retention"),
        ("Ben", "past_retention"),
    ]
    assert all(len(e.details["receipt_sha256"]) == 64 for e in entries)
    receipts = kept.retention.receipts(admin, "staff")
    digests = [hashlib.sha256(receipt.body.encode()).hexdigest() for receipt in receipts]
    assert digests == [e.details["receipt_sha256"] for e in entries]
    public_key = kept.house.records._keyring.public_key
    assert [check_receipt(receipt, public_key)["kind"] for receipt in receipts] == ["subject", "subject"]
    lines = [json.loads(line) for line in kept.house.rows.read().settings("ledger/").values()]
    assert [line["kind"] for line in lines] == ["subject", "subject"]


def test_a_new_picture_or_a_renewal_begins_the_time_anew_and_new_metadata_does_not(kept, admin, shoot, pictures):
    kept.daily(admin)
    days_pass(kept, admin, 20)
    kept.house.gallery.enrol(admin, "staff", "Ann", pictures(shoot(ANN, shot=3)))
    kept.house.gallery.put_subject(admin, "staff", "Ben", metadata={"site": "north"})
    days_pass(kept, admin, 11)
    assert kept.ids() == ["Ann"]
    kept.retention.renew(admin, "staff", "Ann")
    kept.house.gallery.put_subject(admin, "staff", "Ann", metadata={"site": "north"})
    days_pass(kept, admin, 29)
    assert kept.ids() == ["Ann"]
    days_pass(kept, admin, 1)
    assert kept.ids() == []


def test_a_look_is_given_to_one_process_a_day(kept, admin):
    other = Retention(
        kept.house.records,
        kept.house.audit,
        kept.house.gallery,
        SealedRetention(kept.house.rows, kept.house.records._keyring),
        kept.house.clock,
    )
    assert [c.name for c in kept.retention.claim()] == ["staff"]
    assert list(other.claim()) == list(kept.retention.claim()) == []
    kept.house.clock.later(1)
    assert [c.name for c in other.claim()] == ["staff"]
    assert list(kept.retention.claim()) == []
    other.release(kept.staff)
    assert [c.name for c in kept.retention.claim()] == ["staff"]


def test_a_clock_that_leaps_ahead_by_years_erases_nobody_unasked_and_is_forgiven_once_it_is_right(kept, admin):
    kept.daily(admin)
    right = kept.house.clock.now
    kept.house.clock.later(20_000)
    assert kept.daily(admin) == {"erased": 0, "due": 2, "held": 0, "paused": "clock"}
    assert days_pass(kept, admin, 3)[-1]["paused"] == "clock"
    assert kept.ids() == ["Ann", "Ben"]
    kept.house.clock.now = right + 60
    assert kept.daily(admin) == {"erased": 0, "due": 0, "held": 0, "paused": ""}
    days_pass(kept, admin, 30)
    assert kept.ids() == []


def test_a_clock_that_is_set_back_erases_nobody_and_looks_go_on(kept, admin):
    kept.daily(admin)
    kept.house.clock.later(-400)
    assert kept.daily(admin)["erased"] == 0
    assert [r["paused"] for r in days_pass(kept, admin, 2)] == ["", ""]
    assert kept.ids() == ["Ann", "Ben"]


def test_after_a_week_without_a_look_a_person_confirms_and_that_it_waits_is_on_record_once(kept, admin):
    kept.daily(admin)
    kept.house.clock.later(31)
    kept.daily(admin)
    days_pass(kept, admin, 2)
    assert [e.action for e in kept.house.audit.page(0, 1000)].count("retention.pause") == 1
    with pytest.raises(NeedsConfirmation, match="2 of 2"):
        kept.retention.require(admin, "staff", confirmed=False)
    kept.retention.require(admin, "staff", confirmed=True)
    assert kept.retention.run(admin, "staff", lambda done, total: None, confirmed=True)["erased"] == 2
    assert kept.retention.report(admin, "staff").state.paused == ""


def test_rules_that_come_to_an_old_collection_erase_nobody_unasked_at_first(kept, admin):
    kept.retention.set_rules(admin, "staff", retention_days=None)
    days_pass(kept, admin, 60)
    kept.retention.set_rules(admin, "staff", retention_days=30)
    (first,) = days_pass(kept, admin, 1)
    assert (first["erased"], first["due"], first["paused"]) == (0, 2, "clock")
    assert kept.retention.run(admin, "staff", lambda done, total: None, confirmed=True)["erased"] == 2


def test_many_at_once_wait_for_a_confirmation(kept, admin, shoot, pictures):
    for who in range(100, 130):
        kept.house.gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
    kept.daily(admin)
    assert days_pass(kept, admin, 30)[-1] == {"erased": 0, "due": 32, "held": 0, "paused": "many"}
    assert len(kept.ids()) == 32


def test_a_job_that_was_cut_short_is_gone_on_with(kept, admin):
    class Stopped(Exception):
        pass

    def stop(done, total):
        if done == 1:
            raise Stopped

    kept.daily(admin)
    days_pass(kept, admin, 29)
    kept.house.clock.later(1)
    with pytest.raises(Stopped):
        kept.retention.run(admin, "staff", stop)
    assert len(kept.ids()) == 1
    assert kept.retention.run(admin, "staff", lambda done, total: None)["erased"] == 1
    assert kept.ids() == []


def test_whoever_is_renewed_between_the_look_and_the_erasure_stays(kept, admin):
    kept.daily(admin)
    days_pass(kept, admin, 29)
    kept.house.clock.later(1)
    renewed = []

    def renew(done, total):
        if not renewed:
            renewed.append([kept.retention.renew(admin, "staff", id) for id in ("Ann", "Ben")])

    assert kept.retention.run(admin, "staff", renew) == {"erased": 0, "due": 2, "held": 0, "paused": ""}
    assert kept.ids() == ["Ann", "Ben"]


def test_rules_that_are_lifted_while_a_job_runs_are_heeded(kept, admin):
    kept.daily(admin)
    days_pass(kept, admin, 29)
    kept.house.clock.later(1)
    kept.retention.run(
        admin, "staff", lambda done, total: kept.retention.set_rules(admin, "staff", retention_days=None)
    )
    assert kept.ids() == ["Ann", "Ben"]


def test_a_report_tells_who_goes_and_why_and_erases_nobody(kept, admin):
    kept.house.gallery.put_subject(
        admin, "staff", "Cat", metadata={}, consent=Consent("contract", "", "2026-03-10T00:00:00Z")
    )
    kept.retention.set_rules(admin, "staff", erase_expired_consent=True)
    kept.house.clock.later(31)
    kept.retention.renew(admin, "staff", "Cat")
    found = kept.retention.report(admin, "staff")
    assert sorted((d.subject.id, d.why.value) for d in found.due) == [
        ("Ann", "past_retention"),
        ("Ben", "past_retention"),
        ("Cat", "consent_expired"),
    ]
    assert found.reasons() == {"past_retention": 2, "consent_expired": 1}
    assert kept.ids() == ["Ann", "Ben", "Cat"]


def test_a_collection_without_rules_is_never_looked_at(kept, admin):
    kept.retention.set_rules(admin, "staff", retention_days=None)
    assert list(kept.retention.claim()) == []


def test_rules_are_for_those_who_look_after_privacy(kept, admin, as_role):
    privacy = as_role("privacy", "staff")
    assert kept.retention.set_rules(privacy, "staff", retention_days=5).retention_days == 5
    with pytest.raises(InvalidInput):
        kept.retention.set_rules(privacy, "staff")
    for role in ("viewer", "identifier", "enroller", "operator", "auditor"):
        with pytest.raises(PermissionDenied):
            kept.retention.report(as_role(role), "staff")
        with pytest.raises(PermissionDenied):
            kept.retention.run(as_role(role), "staff", lambda done, total: None)
    with pytest.raises(SubjectNotFound):
        kept.retention.renew(admin, "staff", "nobody")
