"""Channels that others can stand in for go, and the layers behind make up for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from embedder.compress.prune import (
    last_features,
    learn_chain_ranges,
    multiplications,
    prune,
    refit_matrix,
)
from embedder.network_chain import Chain, Layer

pytestmark = pytest.mark.train

SIDE, WIDTH = 12, 32
RNG = np.random.default_rng(0)
CROPS = RNG.integers(0, 256, (40, SIDE, SIDE, 3), np.uint8)


def layer(name: str, outputs: int, inputs: int, kernel: int, groups: int = 1) -> Layer:
    weights = RNG.normal(size=(outputs, inputs // groups, kernel, kernel)) / np.sqrt(inputs // groups * kernel**2)
    pads = (kernel // 2,) * 4
    return Layer(name, weights, RNG.normal(size=outputs), np.full(outputs, 0.25), groups, (1, 1), pads)


def chain() -> Chain:
    layers = (
        layer("a", WIDTH, 3, 3),
        layer("b_dw", WIDTH, WIDTH, 3, WIDTH),
        layer("b", WIDTH, WIDTH, 1),
        layer("c_dw", WIDTH, WIDTH, 3, WIDTH),
        layer("c", WIDTH, WIDTH, 1),
    )
    matrix = RNG.normal(size=(8, WIDTH, SIDE * SIDE)) / np.sqrt(WIDTH * SIDE**2)
    return Chain("x", "y", (3, SIDE, SIDE), 127.5, 1 / 128, layers, matrix, np.zeros(8))


def vectors(of: Chain) -> np.ndarray:
    return last_features(of, CROPS) @ of.matrix.reshape(8, -1).T.astype(np.float32)


def with_copies(of: Chain) -> Chain:
    """The second half of the first two groups' channels repeats the first half."""
    layers = list(of.layers)
    for k in (0, 1, 2, 3):
        half = [np.concatenate([v[: WIDTH // 2]] * 2) for v in (layers[k].weights, layers[k].bias, layers[k].slopes)]
        layers[k] = replace(layers[k], weights=half[0], bias=half[1], slopes=half[2])
    return replace(of, layers=tuple(layers))


def test_channels_that_repeat_others_go_and_nothing_changes() -> None:
    whole = with_copies(chain())
    small, steps = prune(whole, CROPS, 1e-4)
    assert [(step.layer, step.channels, step.kept) for step in steps] == [("a", 32, 16), ("b", 32, 16)]
    assert multiplications(small) < 0.6 * multiplications(whole)
    assert np.allclose(vectors(small), vectors(whole), atol=0.02)


def test_channels_that_nothing_can_stand_in_for_stay() -> None:
    whole = chain()
    same, steps = prune(whole, CROPS, 1e-9)
    assert all(step.kept == step.channels for step in steps)
    assert multiplications(same) == multiplications(whole)


def test_more_tolerance_takes_more_and_never_exceeds_what_was_allowed() -> None:
    kept = []
    for tolerance in (0.05, 0.3):
        _, steps = prune(chain(), CROPS, tolerance)
        kept.append(sum(step.kept for step in steps))
        assert all(step.error <= tolerance for step in steps if step.kept < step.channels)
    assert kept[1] < kept[0]


def test_a_matrix_fitted_anew_brings_the_vectors_nearer_to_those_of_the_whole() -> None:
    whole = chain()
    small, _ = prune(whole, CROPS, 0.3)
    wanted = vectors(whole)
    mended = refit_matrix(small, CROPS, wanted)
    assert np.abs(vectors(mended) - wanted).mean() < 0.5 * np.abs(vectors(small) - wanted).mean()


def test_ranges_hold_nearly_all_values_and_span_zero() -> None:
    ranges = learn_chain_ranges(chain(), CROPS)
    assert set(ranges) == {"a", "b_dw", "b", "c_dw", "c"}
    for span in ranges.values():
        assert (span.low <= 0).all() and (span.high >= 0).all()
