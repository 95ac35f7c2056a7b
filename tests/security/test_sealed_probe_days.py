from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from lookalike.drift import Baseline
from lookalike.errors import CollectionNotFound, TamperedData
from lookalike.ports import collection_setting
from lookalike.probe_counts import Counts
from security.sealed_probe_days import SealedProbeDays
from tests.security.conftest import ENTRY, new_collection

SPACE = "0123456789abcdef"


@pytest.fixture
def days(rows, keyring, audit):
    return SealedProbeDays(rows, keyring, audit)


def counts(pictures: int) -> Counts:
    found = Counts.none()
    for _ in range(pictures):
        found.add("refused", 0.0, 1)
    return found


def test_counts_are_added_to_what_the_day_held(days, collection):
    days.add(collection, SPACE, {"2026-03-01": counts(2), "2026-03-02": counts(1)})
    days.add(collection, SPACE, {"2026-03-01": counts(3)})
    found = days.days(collection, SPACE, "2026-01-01")
    assert {day: held.pictures for day, held in found.items()} == {"2026-03-01": 5, "2026-03-02": 1}
    assert list(days.days(collection, SPACE, "2026-03-02")) == ["2026-03-02"]
    assert days.days(collection, "f" * 16, "") == {}


def test_nothing_of_them_is_readable_in_the_rows(days, collection, rows):
    days.add(collection, SPACE, {"2026-03-01": counts(2)})
    (sealed,) = rows.read().settings(collection_setting(collection.id)).values()
    assert b"lookalike-probes" not in sealed and b"refused" not in sealed


def test_a_day_put_in_another_s_place_is_refused(days, collection, rows):
    days.add(collection, SPACE, {"2026-03-01": counts(2)})
    ((name, sealed),) = rows.read().settings(collection_setting(collection.id)).items()
    rows.write(lambda tx: tx.put_setting(name.replace("03-01", "03-02"), sealed))
    with pytest.raises(TamperedData):
        days.days(collection, SPACE, "2026-03-02")


def test_a_baseline_is_kept_beside_the_days_and_outlives_them(days, collection, audit):
    days.add(collection, SPACE, {"2026-03-01": counts(2), "2026-03-05": counts(2)})
    baseline = Baseline.of({"2026-03-01": counts(2)})
    days.put_baseline(collection, SPACE, baseline, None)
    assert days.forget(collection, "2026-03-05") == 1
    assert list(days.days(collection, SPACE, "")) == ["2026-03-05"]
    held = days.baseline(collection, SPACE)
    assert held is not None and held.counts == baseline.counts
    assert days.forget(collection, "2026-03-05") == 0 and days.baseline(collection, "f" * 16) is None
    assert [entry.action for entry in audit.page(0, 10)].count(ENTRY.action) == 1, "creating the collection"
    days.put_baseline(collection, SPACE, baseline, ENTRY)
    assert [entry.action for entry in audit.page(0, 10)].count(ENTRY.action) == 2


def test_a_collection_takes_them_along(days, collection, records, rows):
    other = new_collection("others")
    records.create_collection(other, ENTRY)
    for each in (collection, other):
        days.add(each, SPACE, {"2026-03-01": counts(1)})
    records.delete_collection(collection, ENTRY)
    (left,) = rows.read().settings("collection/")
    assert left.startswith(collection_setting(other.id))
    for gone in (collection, replace(collection, id=secrets.token_hex(16))):
        with pytest.raises(CollectionNotFound):
            days.add(gone, SPACE, {"2026-03-01": counts(1)})
