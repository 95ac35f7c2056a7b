"""The rate warms up, then falls as a cosine, or stays."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.train.config import Optimiser
from embedder.train.schedule import rate_factor


def test_the_warm_up_is_a_straight_line_to_the_full_rate() -> None:
    settings = Optimiser(warmup=4, steps=100)
    assert [rate_factor(step, settings) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_cosine_is_half_at_half_and_ends_at_nothing() -> None:
    settings = Optimiser(warmup=10, steps=110)
    assert rate_factor(60, settings) == pytest.approx(0.5)
    assert rate_factor(110, settings) == pytest.approx(0)
    assert rate_factor(35, settings) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_others_stay_at_the_full_rate(schedule: str) -> None:
    settings = Optimiser(warmup=2, steps=10, schedule=schedule)
    assert {rate_factor(step, settings) for step in range(2, 10)} == {1.0}


@given(st.integers(0, 50), st.integers(1, 500), st.sampled_from(["cosine", "plateau", "constant"]))
def test_it_never_rises_after_the_warm_up_and_stays_within_bounds(warmup: int, steps: int, schedule: str) -> None:
    settings = Optimiser(warmup=warmup, steps=steps, schedule=schedule)
    after = [rate_factor(step, settings) for step in range(warmup, steps)]
    assert all(0 <= b <= a <= 1 for a, b in itertools.pairwise(after))
    assert all(0 < rate_factor(step, settings) <= 1 for step in range(min(warmup, steps)))
