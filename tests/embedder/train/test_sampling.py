"""Batches hold P classes with K pictures each, go round all classes, and follow from the seed and their number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.train.sampling import PKBatches
from lookalike.domain import Labels
from lookalike.errors import InvalidInput


def labels_of(counts: list[int]) -> Labels:
    """Class numbers with gaps, mixed, as a picture set has them."""
    labels = np.repeat(3 * np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(labels)


sizes = st.lists(st.integers(2, 9), min_size=2, max_size=12)


@given(sizes, st.integers(2, 6), st.integers(0, 10**6), st.integers(0, 10**4), st.data())
def test_a_batch_is_p_classes_with_k_pictures_of_each(
    counts: list[int], pictures: int, seed: int, number: int, data: st.DataObject
) -> None:
    classes = data.draw(st.integers(2, len(counts)))
    labels = labels_of(counts)
    drawn = labels[PKBatches(labels, classes, pictures, seed).rows(number)].reshape(classes, pictures)
    assert (drawn == drawn[:, :1]).all()
    assert len(np.unique(drawn[:, 0])) == classes


@given(sizes, st.integers(2, 12), st.integers(0, 10**4))
def test_a_small_class_repeats_no_picture_more_than_it_must(counts: list[int], pictures: int, number: int) -> None:
    labels = labels_of(counts)
    rows = PKBatches(labels, len(counts), pictures, 1).rows(number)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        times = [int((rows == row).sum()) for row in own]
        assert max(times) - min(times) <= 1


@given(st.integers(2, 12), st.integers(0, 99), st.integers(0, 50), st.data())
def test_a_round_sees_each_class_once(count: int, seed: int, turn: int, data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, count))
    labels = labels_of([2] * count)
    batches = PKBatches(labels, classes, 2, seed)
    in_round = count // classes
    seen = np.concatenate([np.unique(labels[batches.rows(turn * in_round + n)]) for n in range(in_round)])
    assert len(np.unique(seen)) == len(seen) == in_round * classes


def test_classes_that_one_round_leaves_over_come_in_others() -> None:
    labels = labels_of([2] * 7)
    batches = PKBatches(labels, 3, 2, 1)
    times = np.bincount(np.concatenate([labels[batches.rows(n)] for n in range(200)]), minlength=21)[::3]
    assert times.min() > 0.8 * times.mean()


def test_the_same_seed_and_number_give_the_same_batch_in_any_order() -> None:
    labels = labels_of([4] * 9)
    one, other = (PKBatches(labels, 3, 4, 5) for _ in range(2))
    forward = [one.rows(n) for n in range(6)]
    backward = [other.rows(n) for n in reversed(range(6))]
    assert all(np.array_equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))
    walked = iter(one)
    assert all(np.array_equal(next(walked), rows) for rows in forward)


def test_another_seed_gives_other_batches() -> None:
    labels = labels_of([4] * 9)
    assert not np.array_equal(PKBatches(labels, 3, 4, 5).rows(0), PKBatches(labels, 3, 4, 6).rows(0))


def test_more_classes_to_a_batch_than_there_are_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a batch takes 4 classes, and there are 3"):
        PKBatches(labels_of([2, 2, 2]), 4, 2, 1)
