"""Drawn people whose impostor scores are spread, skewed by resemblance and heavy for some, as faces' are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lookalike.domain import Floats


def people(count: int, seed: int, dimension: int = 96, kin: float = 0.6) -> Floats:
    """(count, dimension) unit vectors of as many people; those of one of six groups resemble each other more."""
    rng = np.random.default_rng(seed)
    groups = np.random.default_rng(99).standard_normal((6, dimension)) * kin
    vectors = rng.standard_normal((count, dimension)) + groups[rng.integers(6, size=count)]
    return unit(vectors)


def another_picture(vectors: Floats, seed: int, noise: float = 0.5) -> Floats:
    """The same people again, photographed differently."""
    rng = np.random.default_rng(seed)
    return unit(vectors + noise * rng.standard_normal(vectors.shape) / np.sqrt(vectors.shape[1]))


def photos(count: int, seed: int) -> Floats:
    """One picture each of as many people."""
    return another_picture(people(count, seed), seed + 1000)


def unit(vectors: Floats) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def scores_of_strangers(templates: Floats, probes: Floats) -> Iterator[tuple[int, Floats]]:
    """Each person's probe against everyone else's template."""
    for row, probe in enumerate(probes):
        yield row, np.delete(templates @ probe, row)
