"""The scale from 0 to 100: what the documents promise of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rekognition.scale import ANCHORS, fmr_of, similarity_of
from lookalike.calibration import Calibration

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("similarity", "fmr"), [(50, 1e-2), (80, 1e-4), (90, 1e-5), (99, 1e-6)])
def test_the_anchors_are_the_rates_that_are_published(similarity, fmr):
    assert fmr_of(similarity) == pytest.approx(fmr)
    assert similarity_of(fmr) == pytest.approx(similarity)


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_greater_similarity_is_a_rarer_false_match(a, b):
    low, high = sorted((a, b))
    assert fmr_of(low) >= fmr_of(high)
    assert 0 <= similarity_of(fmr_of(a)) <= 100


@given(st.floats(0.001, 99.999))
def test_a_similarity_comes_back_from_its_rate(similarity):
    assert similarity_of(fmr_of(similarity)) == pytest.approx(similarity, abs=1e-6)


@pytest.mark.parametrize("name", ["sface", "sface-int8"])
def test_at_nought_everything_matches_and_a_copy_is_a_hundred(name):
    calibration = Calibration.from_json((ROOT / f"lookalike/calibrations/{name}.json").read_text())
    assert calibration.threshold_for_fmr(fmr_of(0)).similarity == -1.0
    assert similarity_of(calibration.fmr(1.0)) == 100.0
    assert similarity_of(calibration.fmr(-1.0)) == pytest.approx(0.0, abs=1e-9)


def test_the_document_has_the_anchors():
    told = (ROOT / "docs/rekognition.md").read_text()
    for similarity, exponent in ANCHORS[1:-1]:
        assert re.search(rf"^\| {similarity:.0f} \| 1 in {10**exponent:,.0f} pairs \|", told, re.MULTILINE), similarity
