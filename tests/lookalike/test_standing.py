"""Whether a subject may be recognised, and whether it is kept: at the very moments where that changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lookalike.domain import Collection, Consent, Kind, Space, Subject
from lookalike.standing import DAY_S, Standing, begins, ends, kept_until, reason_to_erase, standing

WHERE = Collection("0" * 32, "staff", Kind.FACE, Space("m", 4, "v"))
ANN = Subject("1" * 32, "ann", {}, created_at=1_000.0)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def at(*moment: int, hours: int = 0) -> float:
    return datetime(*moment, tzinfo=timezone(timedelta(hours=hours))).timestamp()


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-03-01", at(2026, 3, 1), at(2026, 3, 2)),
        ("2026-03-01T10:00", at(2026, 3, 1, 10), at(2026, 3, 1, 10)),
        ("2026-03-01T10:00:00+02:00", at(2026, 3, 1, 10, hours=2), at(2026, 3, 1, 8)),
        ("2026-03-01T00:30:00-05:00", at(2026, 3, 1, 0, 30, hours=-5), at(2026, 3, 1, 5, 30)),
        ("9999-12-31", at(9999, 12, 31), at(9999, 12, 31) + DAY_S),
    ],
)
def test_a_date_is_a_whole_day_of_utc_and_a_time_is_in_its_own_zone(text, first, last):
    assert (begins(text), ends(text)) == (first, last)


def test_validity_holds_from_the_first_moment_of_the_first_day_through_the_last_day():
    ann = replace(ANN, valid_from="2026-03-01", valid_until="2026-03-02")
    moments = {
        at(2026, 3, 1) - 1: Standing.NOT_YET_VALID,
        at(2026, 3, 1): Standing.GOOD,
        at(2026, 3, 3) - 1: Standing.GOOD,
        at(2026, 3, 3): Standing.NO_LONGER_VALID,
    }
    assert {moment: standing(WHERE, ann, 0.0, moment) for moment in moments} == moments


def test_retention_counts_from_the_latest_of_creation_enrolment_and_renewal():
    where = replace(WHERE, retention_days=10)
    assert kept_until(where, ANN, 0.0) == 1_000.0 + 10 * DAY_S
    assert kept_until(where, ANN, 2_000.0) == 2_000.0 + 10 * DAY_S
    assert kept_until(where, replace(ANN, renewed_at=3_000.0), 2_000.0) == 3_000.0 + 10 * DAY_S
    assert kept_until(WHERE, ANN, 0.0) is None


def test_whoever_is_past_retention_is_no_candidate_and_to_be_erased_from_that_moment_on():
    where = replace(WHERE, retention_days=10)
    end = 1_000.0 + 10 * DAY_S
    assert standing(where, ANN, 0.0, end - 1) is Standing.GOOD
    assert reason_to_erase(where, ANN, 0.0, end - 1) is None
    assert standing(where, ANN, 0.0, end) is reason_to_erase(where, ANN, 0.0, end) is Standing.PAST_RETENTION


@pytest.mark.parametrize(
    ("consent", "required", "expected", "erased", "erased_by_rule"),
    [
        (None, False, Standing.GOOD, None, None),
        (None, True, Standing.CONSENT_MISSING, None, None),
        (Consent("contract"), True, Standing.GOOD, None, None),
        (Consent("contract", "", "2026-03-01"), True, Standing.GOOD, None, None),
        (Consent("contract", "", "2026-02-28"), False, Standing.CONSENT_EXPIRED, None, Standing.CONSENT_EXPIRED),
        (Consent("contract", "", "some day"), False, Standing.CONSENT_EXPIRED, None, Standing.CONSENT_EXPIRED),
        (
            Consent("contract", withdrawn_at="2026-02-01"),
            False,
            Standing.CONSENT_WITHDRAWN,
            Standing.CONSENT_WITHDRAWN,
            Standing.CONSENT_WITHDRAWN,
        ),
    ],
)
def test_consent_decides_who_may_be_recognised_and_the_rule_who_is_erased(
    consent, required, expected, erased, erased_by_rule
):
    where, ann = replace(WHERE, require_consent=required), replace(ANN, consent=consent)
    assert standing(where, ann, 0.0, NOON) is expected
    assert reason_to_erase(where, ann, 0.0, NOON) is erased
    assert reason_to_erase(replace(where, erase_expired_consent=True), ann, 0.0, NOON) is erased_by_rule


def test_the_end_of_validity_erases_nobody():
    ann = replace(ANN, valid_until="2020-01-01")
    assert standing(WHERE, ann, 0.0, NOON) is Standing.NO_LONGER_VALID
    assert reason_to_erase(replace(WHERE, erase_expired_consent=True), ann, 0.0, NOON) is None
