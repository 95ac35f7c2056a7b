"""Windows cover a picture within their number; places come once each, and where their windows agree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.domain import Box
from lookalike.regions import SAME_PLACE, Seen, overlap, places, windows
from lookalike.roster import Ranked

SIDES = st.integers(15, 5000)


def seen(x: float, y: float, side: float, similarity: float, subject: str = "a") -> Seen:
    return Seen(Box(x, y, side, side), (Ranked(subject, 1, similarity),))


@settings(deadline=None)
@given(width=SIDES, height=SIDES, most=st.integers(16, 600))
def test_windows_lie_within_the_picture_and_within_their_number(width, height, most):
    found = windows(width, height, most)
    assert 1 <= len(found) <= most and found[0] == Box(0, 0, width, height)
    for box in found:
        assert box.x >= 0 and box.y >= 0 and box.width > 0 and box.height > 0
        assert box.x + box.width <= width + 1e-6 and box.y + box.height <= height + 1e-6


@settings(deadline=None)
@given(x=st.floats(0, 1), y=st.floats(0, 1), side=st.floats(0.2, 0.9))
def test_whatever_is_a_fifth_of_the_picture_or_larger_has_a_window_that_overlaps_it_well(x, y, side):
    width, height = 1200, 900
    thing = Box(x * (width - side * height), y * (height - side * height), side * height, side * height)
    assert max(overlap(thing, box) for box in windows(width, height, 300)) > 0.3


def test_more_windows_make_smaller_ones():
    smallest = [min(box.width for box in windows(1200, 900, most)) for most in (50, 100, 300, 600)]
    assert smallest == sorted(smallest, reverse=True) and smallest[0] > 1.5 * smallest[-1]


def test_a_picture_too_narrow_for_windows_is_looked_at_as_a_whole():
    assert windows(4000, 20, 300) == [Box(0, 0, 4000, 20)]


def test_overlap_is_intersection_over_union():
    assert overlap(Box(0, 0, 10, 10), Box(0, 0, 10, 10)) == pytest.approx(1)
    assert overlap(Box(0, 0, 10, 10), Box(5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert overlap(Box(0, 0, 10, 10), Box(20, 0, 10, 10)) == 0


def test_the_best_window_of_a_place_stands_for_it():
    found = places([seen(0, 0, 100, 0.7), seen(20, 0, 100, 0.9), seen(500, 0, 100, 0.8)], 0.5)
    assert [round(place.similarity, 2) for place in found] == [0.9, 0.8]


def test_what_does_not_reach_the_bar_is_no_place():
    assert places([seen(0, 0, 100, 0.4)], 0.5) == []
    assert places([], 0.5) == []


def test_another_subject_s_window_of_the_same_place_is_suppressed_too():
    (found,) = places([seen(0, 0, 100, 0.9, "a"), seen(10, 0, 100, 0.8, "b")], 0.5)
    assert found.subject_key == "a"


def test_a_part_of_a_thing_is_not_a_place_of_its_own():
    assert len(places([seen(0, 0, 200, 0.9), seen(50, 50, 80, 0.85)], 0.5)) == 1


def test_one_thing_twice_is_two_places():
    assert len(places([seen(0, 0, 100, 0.9), seen(120, 0, 100, 0.9)], 0.5)) == 2


def test_the_box_lies_where_the_windows_that_agree_lie():
    (found,) = places([seen(0, 0, 100, 0.9), seen(40, 0, 100, 0.9), seen(20, 10, 100, 0.3)], 0.5)
    assert found.box.x == pytest.approx(20, abs=1) and found.box.width == pytest.approx(100)


def test_windows_whose_votes_draw_them_together_are_one_place():
    one, other = seen(0, 0, 100, 0.8), seen(60, 0, 100, 0.79)
    assert overlap(one.box, other.box) < SAME_PLACE
    assert len(places([one, other], 0.5)) == 1


def test_windows_of_other_subjects_have_no_vote():
    (found,) = places([seen(0, 0, 100, 0.9, "a"), seen(40, 0, 100, 0.89, "b")], 0.5)
    assert found.box == Box(0, 0, 100, 100)
