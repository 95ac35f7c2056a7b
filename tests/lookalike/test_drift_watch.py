from __future__ import annotations

import numpy as np
import pytest

from lookalike.drift_watch import DriftWatch
from lookalike.errors import CollectionNotFound, InvalidInput, PermissionDenied
from lookalike.probe_counts import Counts
from lookalike.probe_log import ProbeLog
from lookalike.reindex import Reindexer


@pytest.fixture
def staff(house, admin):
    """A collection, and what puts a day of probes into it."""
    house.gallery.create_collection(admin, "staff")
    where = house.records.collection("staff")

    def day_of(light: float = 120.0, size: int = 1000) -> None:
        """Probes of today, with this light."""
        rng = np.random.default_rng([int(house.clock.now), size, int(light)])
        found = Counts.none()
        for value in rng.normal(light, 20, size):
            found.add("brightness", value, 2)
            found.add("quality", 0.95, 2)
            found.add("refused", 0.0, 2)
        today = np.datetime64(int(house.clock.now), "s").astype("datetime64[D]")
        house.drift._store.add(where, where.space.key, {str(today): found})

    return day_of


@pytest.fixture
def learned(house, staff):
    """The same, after three ordinary days."""
    for _ in range(3):
        staff()
        house.clock.later(1)
    return staff


def moved(report) -> list[str]:
    return [finding.statistic for finding in report.findings if finding.moved]


def test_nothing_is_judged_before_there_is_a_baseline(house, admin, staff):
    assert house.drift.report(admin, "staff").waiting_for == 1000
    staff(size=600)
    report = house.drift.report(admin, "staff")
    assert (report.baseline, report.findings, report.drifting, report.waiting_for) == (None, (), False, 400)
    assert "no baseline" in report.advice[0]


def test_the_first_whole_days_with_enough_faces_are_the_baseline(house, admin, staff):
    for size in (300, 300, 300, 300, 500):
        staff(size=size)
        house.clock.later(1)
    baseline = house.drift.report(admin, "staff").baseline
    assert (baseline.first, baseline.last, baseline.counts.faces) == ("2026-03-01", "2026-03-04", 1200)


def test_three_whole_days_are_needed_however_many_faces_they_hold(house, admin, staff):
    for _ in range(3):
        assert house.drift.report(admin, "staff").baseline is None
        staff(size=5000)
        assert house.drift.report(admin, "staff").waiting_for == 0
        house.clock.later(1)
    assert house.drift.report(admin, "staff").baseline.days == 3


def test_darker_days_drift_and_ordinary_ones_do_not(house, admin, learned):
    learned(size=400)
    assert not house.drift.report(admin, "staff").drifting
    house.clock.later(1)
    learned(light=70.0, size=400)
    report = house.drift.report(admin, "staff")
    assert moved(report) == ["brightness"] and report.now.first == report.now.last == "2026-03-05"
    assert report.advice[0] == "Since the baseline faces are darker."
    assert any("camera" in sentence for sentence in report.advice)


def test_a_quiet_day_is_judged_with_those_before_it(house, admin, learned):
    for _ in range(4):
        learned(light=60.0, size=40)
        house.clock.later(1)
    report = house.drift.report(admin, "staff")
    assert (report.now.first, report.now.last, report.now.counts.faces) == ("2026-03-05", "2026-03-07", 120)
    assert moved(report) == ["brightness"]


def test_as_many_days_as_asked_for_are_taken_together(house, admin, learned):
    for _ in range(3):
        learned(size=300)
        house.clock.later(1)
    assert house.drift.report(admin, "staff", 3).now.counts.faces == 600
    for wrong in (0, 91):
        with pytest.raises(InvalidInput, match="1 to 90"):
            house.drift.report(admin, "staff", wrong)


def test_days_that_an_operator_chooses_are_the_baseline_from_then_on(house, admin, learned):
    for _ in range(3):
        learned(light=70.0)
        house.clock.later(1)
    assert house.drift.report(admin, "staff").drifting
    report = house.drift.choose_baseline(admin, "staff", "2026-03-04", "2026-03-05")
    assert (report.baseline.first, report.baseline.last, report.baseline.chosen) == ("2026-03-04", "2026-03-05", True)
    assert not report.drifting and not house.drift.report(admin, "staff").drifting


@pytest.mark.parametrize(
    ("first", "last", "why"),
    [
        ("yesterday", "2026-03-01", "ISO 8601"),
        ("2026-03-02", "2026-03-01", "before its last"),
        ("2026-03-01", "2026-03-01", "hold 60 faces"),
        ("2025-03-01", "2025-03-09", "hold 0 faces"),
    ],
)
def test_days_that_cannot_be_a_baseline_are_refused(house, admin, staff, first, last, why):
    staff(size=60)
    with pytest.raises(InvalidInput, match=why):
        house.drift.choose_baseline(admin, "staff", first, last)


def test_a_look_tells_which_collections_drift_and_keeps_what_was_learned(house, admin, learned):
    assert house.drift.look() == set()
    house.clock.later(95)
    learned(light=70.0)
    assert house.drift.look() == {house.records.collection("staff").id}
    names = [name.rpartition("/")[2] for name in house.rows.read().settings("collection/")]
    assert names == ["2026-06-07", "baseline"], "its days are too old, the baseline made of them stays"


def test_a_model_that_answers_now_is_compared_with_its_own_past(house, admin, learned, shoot, pictures):
    assert house.drift.report(admin, "staff").baseline is not None
    house.gallery.enrol(admin, "staff", "ann", pictures(shoot(1)))
    reindexer = Reindexer(house.records, house.audit, house.rosters, house.models, standby_s=60.0)
    reindexer.begin(admin, "staff", model="turned")
    reindexer.run(admin, "staff", lambda done, total: None)
    house.gallery.identify(admin, "staff", shoot(1, shot=1))
    report = house.drift.report(admin, "staff")
    assert report.baseline is None and report.now.counts.faces == 1


def test_only_who_runs_a_collection_reads_of_its_drift(house, admin, as_role, staff):
    for role in ("viewer", "identifier", "enroller", "auditor", "privacy"):
        with pytest.raises(PermissionDenied):
            house.drift.report(as_role(role), "staff")
        with pytest.raises(PermissionDenied):
            house.drift.choose_baseline(as_role(role), "staff", "", "")
    house.drift.report(as_role("operator", "staff"), "staff")
    with pytest.raises(CollectionNotFound):
        house.drift.report(admin, "other")
    actions = {entry.action for entry in house.audit.page(0, 1000)}
    assert {"drift.read", "drift.baseline"} <= actions


def test_whoever_counts_nothing_is_told_so(house, admin, staff):
    off = DriftWatch(house.records, house.audit, house.models, house.drift._store, ProbeLog(None), 0, house.clock)
    with pytest.raises(InvalidInput, match="LOOKALIKE_DRIFT_DAYS"):
        off.report(admin, "staff")
