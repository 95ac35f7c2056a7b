"""Sightings become rows: the same person again is the same row, and rows that turn out to be one are joined."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.domain import Box, Quality
from lookalike.unknown_groups import KEPT_FACES, VISIT_GAP_S, Bars, Groups, Sighting, Unknown, dismissed, oldest, unit
from tests.lookalike.conftest import DIMENSION, face_of

SPACE, BAR = "0" * 16, 0.6
BARS = Bars(BAR, BAR)
BOX = Box(0, 0, 50, 50)


def sighting(who: int, shot: int = 0, at: float = 0.0, score: float = 0.5) -> Sighting:
    return Sighting(BOX, Quality(score), face_of(who, shot=shot), at, f"{who}-{shot}".encode())


def after(*sightings: Sighting, groups: Groups | None = None) -> list[Unknown]:
    groups = groups or Groups(SPACE, ())
    groups.take(sightings, BARS)
    return list(groups.rows)


def test_one_person_seen_fourteen_times_is_one_row():
    (row,) = after(*(sighting(1, shot, 10.0 * shot) for shot in range(14)))
    assert (row.seen, row.first_seen, row.last_seen) == (14, 0.0, 130.0)


def test_several_people_in_any_order_are_rows_of_their_own():
    seen = [sighting(who, shot, at=float(10 * shot + who)) for who in range(5) for shot in range(6)]
    rows = after(*np.random.default_rng(1).permutation(np.array(seen, dtype=object)))
    assert [row.seen for row in rows] == [6] * 5


def test_visits_are_times_with_pauses_between():
    times = [0.0, 10.0, 20.0, 20.0 + VISIT_GAP_S, 21.0 + 2 * VISIT_GAP_S]
    (row,) = after(*(sighting(1, shot, at) for shot, at in enumerate(times)))
    assert (row.seen, row.visits) == (5, 2), "a pause of just the gap is none"


def test_the_best_faces_are_kept_and_only_their_crops():
    groups = Groups(SPACE, ())
    done = groups.take([sighting(1, shot, shot, score=shot / 10) for shot in range(8)], BARS)
    ((id, row),) = done.put.items()
    assert [face.quality.score for face in row.faces] == [0.7, 0.6, 0.5][:KEPT_FACES]
    assert {done.crops[face.id] for face in row.faces} == {b"1-7", b"1-6", b"1-5"} and len(done.crops) == KEPT_FACES
    assert id == row.id and done.gone == set()


def test_two_rows_that_turn_out_to_be_one_person_are_joined_under_the_one_seen_more():
    first, second = face_of(1, wobble=1.4, shot=1), face_of(1, wobble=1.4, shot=2)
    assert first @ second < BAR
    groups = Groups(SPACE, ())
    groups.take([Sighting(BOX, Quality(0.5), v, at) for at, v in ((0.0, first), (1.0, first), (2.0, second))], BARS)
    assert [row.seen for row in groups.rows] == [2, 1]
    kept, lost = (row.id for row in groups.rows)
    done = groups.take([Sighting(BOX, Quality(0.5), unit(first + second), 3.0)] * 2, BARS)
    (row,) = groups.rows
    assert row.seen == 5 and row.id == kept and done.gone == {lost} and done.put == {kept: row}
    assert np.allclose(row.total, 2 * first + second + 2 * unit(first + second), atol=1e-5)


def test_rows_are_joined_at_a_bar_of_their_own():
    first, second = face_of(1, wobble=1.4, shot=1), face_of(1, wobble=1.4, shot=2)
    groups = Groups(SPACE, ())
    sightings = [
        Sighting(BOX, Quality(0.5), v, float(at)) for at, v in enumerate((first, second, unit(first + second)))
    ]
    groups.take(sightings, Bars(BAR, 0.99))
    assert sorted(row.seen for row in groups.rows) == [1, 2]


def test_rows_are_found_again_from_what_was_stored():
    first = after(sighting(1), sighting(2, at=1.0))
    rows = after(sighting(1, shot=5, at=9.0), groups=Groups(SPACE, first))
    assert sorted(row.seen for row in rows) == [1, 2]


def test_rows_of_another_space_are_joined_by_nobody():
    (row,) = after(sighting(1))
    assert len(Groups("f" * 16, [row])) == 0


def test_whoever_was_dismissed_is_recognised_and_stays_dismissed_without_pictures():
    (row,) = after(sighting(1))
    groups = Groups(SPACE, [dismissed(row)])
    done = groups.take([sighting(1, shot=1, at=5.0)], BARS)
    (again,) = groups.rows
    assert (again.dismissed, again.seen, again.faces, done.crops) == (True, 2, (), {})


def test_what_was_taken_out_is_joined_no_more():
    groups = Groups(SPACE, ())
    groups.take([sighting(who, at=who) for who in range(4)], BARS)
    gone = groups.rows[1].id
    groups.forget({gone})
    groups.take([sighting(1, shot=1, at=9.0)], BARS)
    assert [row.seen for row in groups.rows] == [1, 1, 1, 1] and gone not in {row.id for row in groups.rows}


def test_the_ones_not_seen_for_longest_go_first():
    rows = after(*(sighting(who, at=float(who)) for who in range(5)))
    assert [row.last_seen for row in oldest(rows, 3)] == [0.0, 1.0]
    assert oldest(rows, 9) == []


@pytest.mark.parametrize("people", [300])
def test_many_rows_are_what_a_slow_search_would_find(people):
    """Each sighting joins the row of the nearest mean, as a loop over all of them says."""
    seen = [sighting(who, shot, at=float(who + people * shot)) for shot in range(2) for who in range(people)]
    groups = Groups(SPACE, ())
    for one in seen:
        best = max(groups.rows, key=lambda row: float(unit(row.total) @ one.vector), default=None)
        joins = best is not None and float(unit(best.total) @ one.vector) >= BAR
        before = {row.id: row.seen for row in groups.rows}
        done = groups.take([one], BARS)
        if joins:
            assert before[best.id] < sum(row.seen for row in done.put.values())
        else:
            assert set(done.put) - set(before)
    assert sum(row.seen for row in groups.rows) == 2 * people


def test_a_vector_without_a_direction_does_no_harm():
    assert np.array_equal(unit(np.zeros(DIMENSION, np.float32)), np.zeros(DIMENSION, np.float32))
