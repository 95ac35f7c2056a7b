from __future__ import annotations

import pytest

from lookalike.errors import Conflict, PermissionDenied
from lookalike.four_eyes import Pending, PendingState, Suspect, confirmed, rejected

DAY_S = 86_400.0
ANNA, BERT = Suspect("anna", "s1", 0.8, 0.001), Suspect("bert", "s2", 0.7, None)
WAITING = Pending("p", 1000.0, 7, "searcher", (ANNA, BERT))


def test_two_who_name_the_same_confirm_it_and_the_others_are_forgotten() -> None:
    first = confirmed(WAITING, "one", "anna", 2000.0)
    assert (first.state, first.suspects, len(first.verdicts)) == (PendingState.PENDING, (ANNA, BERT), 1)
    second = confirmed(first, "two", "anna", 3000.0)
    assert (second.state, second.suspects, second.decided_at) == (PendingState.CONFIRMED, (ANNA,), 3000.0)
    assert not second.names("bert")


def test_two_who_differ_end_it_and_nobody_is_named() -> None:
    ended = confirmed(confirmed(WAITING, "one", "anna", 2000.0), "two", "bert", 3000.0)
    assert (ended.state, ended.suspects) == (PendingState.REJECTED, ())
    assert not any(verdict.subject_key for verdict in ended.verdicts)


def test_one_who_rejects_ends_it_whatever_another_said() -> None:
    for before in (WAITING, confirmed(WAITING, "one", "anna", 2000.0)):
        assert rejected(before, "two", 3000.0).state is PendingState.REJECTED
        assert rejected(before, "two", 3000.0).suspects == ()


def test_whoever_searched_is_none_of_the_two() -> None:
    with pytest.raises(PermissionDenied):
        confirmed(WAITING, "searcher", "anna", 2000.0)
    with pytest.raises(PermissionDenied):
        rejected(WAITING, "searcher", 2000.0)


def test_nobody_counts_twice_and_nobody_changes_what_is_decided() -> None:
    first = confirmed(WAITING, "one", "anna", 2000.0)
    for again in ("anna", "bert"):
        with pytest.raises(Conflict, match="before"):
            confirmed(first, "one", again, 3000.0)
    with pytest.raises(Conflict, match="before"):
        rejected(first, "one", 3000.0)
    for decided in (confirmed(first, "two", "anna", 3000.0), rejected(first, "two", 3000.0)):
        with pytest.raises(Conflict, match="already"):
            confirmed(decided, "three", "anna", 4000.0)
        with pytest.raises(Conflict, match="already"):
            rejected(decided, "three", 4000.0)


def test_only_a_candidate_can_be_named() -> None:
    with pytest.raises(Conflict, match="candidate"):
        confirmed(WAITING, "one", "carl", 2000.0)


def test_its_time_counts_from_the_search() -> None:
    assert WAITING.expires_at == 1000.0 + 7 * DAY_S
    assert confirmed(WAITING, "one", "anna", 2 * DAY_S).expires_at == WAITING.expires_at


def test_it_shows_nobody_where_it_is_printed() -> None:
    assert "anna" not in repr(WAITING) + repr(ANNA) + str(confirmed(WAITING, "one", "anna", 2000.0))
