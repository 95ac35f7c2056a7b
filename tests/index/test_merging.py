from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from index.merging import Size, due, largest

LIMIT = 1000


def grown(appended):
    """Segments after each of these was appended and all that was due was done, and how many rows were copied."""
    sizes, copied = [], 0
    for alive in appended:
        sizes.append(Size(alive, 0))
        while chosen := due(sizes, LIMIT):
            merged = sum(sizes[i].alive for i in chosen)
            copied += merged
            sizes = [size for i, size in enumerate(sizes) if i not in chosen] + [Size(merged, 0)]
    return [size.alive for size in sizes], copied


@given(st.lists(st.integers(1, 60), max_size=300))
def test_segments_stay_few_and_within_the_limit_and_a_row_is_copied_once_per_doubling(appended):
    sizes, copied = grown(appended)

    assert sum(sizes) == sum(appended)
    assert all(size <= LIMIT for size in sizes)
    assert sum(1 for size in sizes if 2 * size < LIMIT) <= math.log2(LIMIT) + 1
    assert copied <= sum(appended) * (math.log2(LIMIT) + 1)


def test_a_segment_of_half_the_limit_is_left_alone_when_small_ones_come():
    assert due([Size(500, 0), Size(500, 0), Size(30, 0)], LIMIT) == []


def test_equals_are_merged():
    assert sorted(due([Size(500, 0), Size(30, 0), Size(30, 0)], LIMIT)) == [1, 2]


def test_of_very_many_small_ones_only_as_many_are_merged_as_the_limit_allows():
    chosen = due([Size(30, 0)] * 200, LIMIT)

    assert 900 <= 30 * len(chosen) <= LIMIT


def test_a_segment_of_which_a_fifth_is_gone_is_rewritten_alone():
    assert due([Size(90_000, 10_000), Size(70_000, 30_000)], 100_000) == [1]


def test_a_few_dead_rows_are_left_where_they_are():
    assert due([Size(100, 900)], LIMIT) == []


def test_segments_of_long_vectors_hold_fewer_rows():
    assert largest(128) == 262_144
    assert largest(1280) == 52_428
