"""Batches of P classes with K pictures each, as triplet losses need them (Hermans et al. 2017, arXiv:1703.07737).

Which pictures are in batch n follows from the seed and n alone: a run that goes on after a kill sees what it would have
seen, with no state to keep.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lookalike.domain import Labels
from lookalike.errors import InvalidInput


class PKBatches:
    """Batch n, for n from 0: rows of P classes, K each. Classes come in a new order in each round of all of them."""

    def __init__(self, labels: Labels, classes: int, pictures: int, seed: int) -> None:
        """labels: (N,). Raises: InvalidInput where there are fewer classes than P."""
        found = np.unique(labels)
        if len(found) < classes:
            raise InvalidInput(f"a batch takes {classes} classes, and there are {len(found)}: lower optimiser.classes")
        self._rows = [np.flatnonzero(labels == label) for label in found]
        self._classes = classes
        self._pictures = pictures
        self._seed = seed
        self._round = len(found) // classes

    def rows(self, batch: int) -> Labels:
        """(P·K,) rows, class by class; a class with fewer than K pictures repeats some of them."""
        turn, place = divmod(batch, self._round)
        order = np.random.default_rng([self._seed, 1, turn]).permutation(len(self._rows))
        rng = np.random.default_rng([self._seed, 2, batch])
        chosen = order[place * self._classes : (place + 1) * self._classes]
        return np.concatenate([self._draw(self._rows[c], rng) for c in chosen])

    def _draw(self, rows: Labels, rng: np.random.Generator) -> Labels:
        """K rows of one class, none twice as long as there are others."""
        shuffled = rng.permutation(rows)
        return np.asarray(np.resize(shuffled, self._pictures), np.int64)

    def __iter__(self) -> Iterator[Labels]:
        batch = 0
        while True:
            yield self.rows(batch)
            batch += 1
