import math

import pytest

from lookalike import inputs
from lookalike.errors import InvalidInput


def test_a_threshold_in_percent_is_refused_with_a_hint():
    with pytest.raises(InvalidInput, match=r"did you mean 0\.80"):
        inputs.similarity(80)


@pytest.mark.parametrize("value", [-0.1, 1.01, math.nan, math.inf, 101])
def test_a_threshold_outside_0_to_1_is_refused(value):
    with pytest.raises(InvalidInput):
        inputs.similarity(value)


@pytest.mark.parametrize("value", [0, 1, -1, math.nan, math.inf])
def test_a_rate_of_none_or_all_is_refused(value):
    with pytest.raises(InvalidInput, match="fpir"):
        inputs.rate(value, "fpir")


@pytest.mark.parametrize("value", [0, -1, 36_501, 1.5, "7", True])
def test_a_retention_that_is_no_number_of_days_is_refused(value):
    if value is True:
        value = "true"
    with pytest.raises(InvalidInput):
        inputs.retention(value)


def test_no_retention_means_no_limit():
    assert inputs.retention(None) is None
    assert inputs.retention(30) == 30


@pytest.mark.parametrize("text", ["tomorrow", "2026-13-01", ""])
def test_a_date_in_another_form_is_refused(text):
    with pytest.raises(InvalidInput, match="ISO 8601"):
        inputs.moment(text, "valid_until")


@pytest.mark.parametrize("pairs", [{"": "x"}, {"k" * 65: "x"}, {"k": "v" * 1025}, {str(i): "" for i in range(65)}])
def test_metadata_beyond_its_bounds_is_refused(pairs):
    with pytest.raises(InvalidInput):
        inputs.metadata(pairs)
