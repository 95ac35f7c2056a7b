from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.drift import (
    LEAST,
    Baseline,
    against_calibration,
    chi2_chance,
    holm,
    join_bins,
    judge,
    ks_chance,
    pearson,
    psi,
)
from lookalike.errors import TamperedData
from lookalike.probe_counts import STATISTICS, Counts
from lookalike.thresholds import learn

rows = st.lists(st.integers(0, 500), min_size=2, max_size=20).map(lambda numbers: np.array(numbers, np.float64))


def day(
    rng: np.random.Generator, size: int = 1000, light: float = 120.0, quarter: int | None = None, refused: float = 0.02
) -> Counts:
    """Probes whose brightness is normal, and a share of which shows no face."""
    found = Counts.none()
    for value, faceless in zip(rng.normal(light, 20, size), rng.random(size) < refused, strict=True):
        at = int(rng.integers(0, 4)) if quarter is None else quarter
        found.add("brightness", value, at)
        found.add("face_not_found", float(faceless), at)
    return found


def verdicts(baseline: Baseline, now: Counts) -> dict[str, str]:
    return {finding.statistic: finding.verdict for finding in judge(baseline, now) if finding.verdict != "too_few"}


def test_days_of_the_same_light_are_the_same_and_a_darker_one_moved():
    rng = np.random.default_rng(1)
    baseline = Baseline.of({"2026-01-01": day(rng)})
    assert verdicts(baseline, day(rng)) == {"brightness": "same", "face_not_found": "same"}
    darker = {finding.statistic: finding for finding in judge(baseline, day(rng, 300, light=90.0))}
    assert darker["brightness"].moved and not darker["brightness"].rose and not darker["face_not_found"].moved
    assert darker["brightness"].before == pytest.approx(120, abs=4)
    assert darker["brightness"].now == pytest.approx(90, abs=4)


def test_a_shift_that_is_certain_but_small_is_not_drift():
    rng = np.random.default_rng(2)
    baseline = Baseline.of({f"2026-01-0{n}": day(rng, 20_000) for n in range(1, 8)})
    (found,) = (f for f in judge(baseline, day(rng, 20_000, light=123.0)) if f.statistic == "brightness")
    assert found.p is not None and found.p < 1e-6 and found.verdict == "same"


def test_a_share_that_grew_is_drift_once_it_is_large_enough():
    rng = np.random.default_rng(3)
    baseline = Baseline.of({f"2026-01-0{n}": day(rng, 1000, refused=0.02) for n in range(1, 8)})
    assert verdicts(baseline, day(rng, 2000, refused=0.10))["face_not_found"] == "moved"
    assert verdicts(baseline, day(rng, 2000, refused=0.03))["face_not_found"] == "same"


def test_a_single_case_of_what_had_never_happened_is_not_drift():
    rng = np.random.default_rng(3)
    baseline = Baseline.of({f"2026-01-0{n}": day(rng, 1000, refused=0.0) for n in range(1, 8)})
    one = day(rng, 99, refused=0.0) + day(rng, 1, refused=1.0)
    assert verdicts(baseline, one)["face_not_found"] == "same"
    assert verdicts(baseline, one + day(rng, 400, refused=0.25))["face_not_found"] == "moved"


def test_a_baseline_of_one_day_is_not_trusted_as_far_as_one_of_a_week():
    rng = np.random.default_rng(11)
    day_only = Baseline.of({"2026-01-01": day(rng, 7000)})
    week = Baseline.of({f"2026-01-0{n}": day(rng, 1000) for n in range(1, 8)})
    odd = day(rng, 500, light=133.0)
    assert verdicts(week, odd)["brightness"] == "moved"
    assert verdicts(day_only, odd)["brightness"] == "same"


def test_too_few_values_are_no_verdict():
    rng = np.random.default_rng(4)
    baseline = Baseline.of({"2026-01-01": day(rng)})
    assert verdicts(baseline, day(rng, LEAST - 1, light=30.0)) == {}
    assert all(finding.verdict == "too_few" for finding in judge(baseline, Counts.none()))


def test_a_dark_morning_is_compared_with_mornings():
    rng = np.random.default_rng(5)
    ordinary = day(rng, 500, light=60.0, quarter=1) + day(rng, 4000, light=150.0, quarter=2)
    baseline = Baseline.of({"2026-01-01": ordinary})
    assert verdicts(baseline, day(rng, 400, light=60.0, quarter=1))["brightness"] == "same"
    assert verdicts(baseline, day(rng, 400, light=60.0, quarter=2))["brightness"] == "moved"


def test_hours_that_the_baseline_does_not_know_are_left_out():
    rng = np.random.default_rng(6)
    baseline = Baseline.of({"2026-01-01": day(rng, 1000, quarter=2)})
    assert verdicts(baseline, day(rng, 1000, light=20.0, quarter=0)) == {}
    mixed = day(rng, 1000, light=20.0, quarter=0) + day(rng, 300, quarter=2)
    (found,) = (f for f in judge(baseline, mixed) if f.statistic == "brightness")
    assert (found.now_count, found.verdict) == (300, "same")


def test_days_that_differ_by_themselves_make_a_judgement_more_careful():
    rng = np.random.default_rng(7)
    steady = Baseline.of({f"2026-01-0{n}": day(rng) for n in range(1, 8)})
    restless = Baseline.of({f"2026-01-0{n}": day(rng, light=120 + rng.normal(0, 12)) for n in range(1, 8)})
    assert steady.spread["brightness"] < 0.003 < 0.01 < restless.spread["brightness"]
    odd = day(rng, 300, light=136.0)
    assert verdicts(steady, odd)["brightness"] == "moved"
    assert verdicts(restless, odd)["brightness"] == "same"


@given(st.integers(0, 2**32 - 1))
def test_a_baseline_comes_back_from_json_as_it_was(seed):
    rng = np.random.default_rng(seed)
    made = Baseline.of({"2026-01-01": day(rng, 60), "2026-01-02": day(rng, 70)}, chosen=True)
    back = Baseline.from_json(made.to_json())
    assert (back.counts, back.first, back.last, back.chosen) == (made.counts, "2026-01-01", "2026-01-02", True)
    assert back.spread == pytest.approx(dict(made.spread), abs=1e-3)


def test_a_damaged_baseline_is_refused():
    with pytest.raises(TamperedData):
        Baseline.from_json('{"counts": {}}')


# ----------------------------------------------------------------------------------------------- the maths


@given(rows, st.floats(0.1, 50))
def test_psi_is_never_negative_and_nought_for_equal_shares(counts, times):
    assert psi(counts, counts) == 0
    assert psi(counts, np.roll(counts, 1) * times) >= 0


def test_psi_without_drift_is_distributed_as_it_is_taken_to_be():
    rng = np.random.default_rng(8)
    shares = np.array([0.05, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05])
    drawn = [
        psi(*(rng.multinomial(n, shares).astype(float) for n in (1000, 400))) / (1 / 1000 + 1 / 400)
        for _ in range(2000)
    ]
    chances = [chi2_chance(value, len(shares) - 1) for value in drawn]
    for level in (0.5, 0.1, 0.01):
        assert np.mean(np.array(chances) < level) == pytest.approx(level, rel=0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_rejects_what_its_definition_rejects(chances):
    corrected = holm(chances)
    order = np.argsort(chances, kind="stable")
    rejecting = True
    for rank, place in enumerate(order):
        rejecting = rejecting and chances[place] * (len(chances) - rank) < 0.05
        assert (corrected[place] < 0.05) == rejecting
    assert all(c >= p for c, p in zip(corrected, chances, strict=True))


@given(st.lists(st.lists(st.integers(0, 40), min_size=5, max_size=5), min_size=1, max_size=3), st.integers(1, 60))
def test_joined_bins_hold_all_that_was_there_and_enough_each(table, at_least):
    numbers = np.array(table, np.float64)
    joined = join_bins(numbers, at_least)
    assert joined.sum(axis=1).tolist() == numbers.sum(axis=1).tolist()
    assert joined.shape[1] == 1 or (joined.sum(axis=0) >= at_least).all()


@pytest.mark.train
def test_chances_are_those_of_scipy():
    from scipy import stats

    for freedom in (1, 2, 3, 4, 7, 22, 41):
        for value in (1e-6, 0.3, 1.0, 5.0, 20.0, 80.0, 700.0, 3000.0):
            assert chi2_chance(value, freedom) == pytest.approx(stats.chi2.sf(value, freedom), rel=1e-9, abs=1e-300)
    for value in (0.0, 0.1, 0.21, 0.5, 1.0, 1.36, 3.0):
        assert ks_chance(value) == pytest.approx(stats.kstwobign.sf(value), rel=1e-9)
    table = np.array([[12.0, 5, 30], [20, 2, 9]])
    assert pearson(table) == pytest.approx(stats.chi2_contingency(table, correction=False).statistic)


@pytest.mark.train
def test_the_distance_of_kolmogorov_and_smirnov_is_that_of_scipy_on_values_of_bins():
    from scipy import stats

    rng = np.random.default_rng(9)
    before, now = rng.integers(0, 8, 700), rng.integers(0, 10, 300).clip(max=7)
    expected = stats.ks_2samp(before, now, method="asymp")
    counts = [np.bincount(side, minlength=8) / len(side) for side in (before, now)]
    distance = np.abs(np.cumsum(counts[0] - counts[1])).max()
    assert distance == pytest.approx(expected.statistic)
    # scipy takes sizes into account that the limit does not.
    assert np.log(ks_chance(distance * np.sqrt(700 * 300 / 1000))) == pytest.approx(np.log(expected.pvalue), rel=0.1)


# ------------------------------------------------------------------------------------ beside a calibration


def test_strangers_as_the_calibration_expects_lie_near_it_and_others_do_not():
    rng = np.random.default_rng(10)
    scores = np.clip(rng.standard_normal((200, 400)) / 8, -1, 1).astype(np.float32)
    calibration = learn(enumerate(scores), resamples=20)
    bar = calibration.threshold(0.01, 300).similarity

    def nearest(width: float) -> Counts:
        found = Counts.none()
        for value in (rng.standard_normal((1000, 300)) * width).max(axis=1):
            found.add("nearest", value, 0)
        return found

    expected = against_calibration(nearest(1 / 8), calibration, 300, bar)
    other = against_calibration(nearest(1 / 10), calibration, 300, bar)
    assert expected is not None and other is not None and expected < 0.1 < 0.5 < other
    assert against_calibration(Counts.none(), calibration, 300, bar) is None


def test_every_statistic_that_is_tested_is_judged():
    judged = [finding.statistic for finding in judge(Baseline.of({"2026-01-01": Counts.none()}), Counts.none())]
    assert judged == [name for name, statistic in STATISTICS.items() if statistic.tested]
