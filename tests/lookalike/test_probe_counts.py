from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import TamperedData
from lookalike.probe_counts import QUARTERS, STATISTICS, Counts, quarter_of, total

values = st.tuples(
    st.sampled_from(sorted(STATISTICS)), st.floats(-1e6, 1e6, allow_nan=False), st.integers(0, QUARTERS - 1)
)


def counts_of(seen: list[tuple[str, float, int]]) -> Counts:
    found = Counts.none()
    for name, value, quarter in seen:
        found.add(name, value, quarter)
    return found


@given(st.lists(values), st.lists(values))
def test_counting_in_two_processes_and_adding_up_is_counting_in_one(one, other):
    assert counts_of(one) + counts_of(other) == counts_of(one + other) == total([counts_of(other), counts_of(one)])


@given(st.lists(values))
def test_json_gives_the_same_counts_back(seen):
    found = counts_of(seen)
    assert Counts.from_json(found.to_json()) == found


@given(values)
def test_a_value_falls_into_the_one_bin_whose_edges_surround_it(value):
    name, number, quarter = value
    row = counts_of([value]).of(name)[quarter]
    edges = (-np.inf, *STATISTICS[name].edges, np.inf)
    (place,) = np.flatnonzero(row)
    assert row.sum() == 1 and edges[place] <= number < edges[place + 1]


def test_edges_ascend_and_a_share_has_two_bins():
    for name, statistic in STATISTICS.items():
        assert list(statistic.edges) == sorted(set(statistic.edges)), name
        assert not statistic.share or statistic.bins == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": "lookalike-probes/2", "quarters": [{}, {}, {}, {}]}',
        '{"format": "lookalike-probes/1", "quarters": [{}]}',
        '{"format": "lookalike-probes/1", "quarters": [{"faces": [1]}, {}, {}, {}]}',
        '{"format": "lookalike-probes/1", "quarters": [{"names": [1]}, {}, {}, {}]}',
        '{"format": "lookalike-probes/1", "quarters": [{"refused": [-1, 0]}, {}, {}, {}]}',
    ],
)
def test_what_was_not_written_here_is_refused(text):
    with pytest.raises(TamperedData):
        Counts.from_json(text)


def test_a_quarter_is_six_hours_of_the_utc_day():
    assert [quarter_of(86_400 * 20_000 + hour * 3600) for hour in (0, 5.99, 6, 12, 18, 23.99)] == [0, 0, 1, 2, 3, 3]
