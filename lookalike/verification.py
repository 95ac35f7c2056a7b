"""How a generation is asked before it answers: does its index find its own rows, and does it know the enrolled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from lookalike.domain import Embeddings
from lookalike.fusion import fuse
from lookalike.roster import Roster

RECALL_QUERIES: Final = 200
RECALL_AT: Final = 5
COMPARED_AT_ONCE: Final = 16
"""Queries that are compared with every row together: all of them would take as much memory as a million vectors do."""

JUDGED_SUBJECTS: Final = 2000
"""Subjects with several samples that say whether the new generation still knows them."""


def recall_of(roster: Roster, queries: int = RECALL_QUERIES, seed: int = 1) -> float:
    """The share of the true nearest rows that a roster's index gives, for some of its own rows; ties count as found."""
    labels, vectors = roster.index.dump()
    if not len(labels):
        return 1.0
    chosen = np.random.default_rng(seed).choice(len(labels), min(queries, len(labels)), replace=False)
    k = min(RECALL_AT, len(labels))
    found = roster.index.search(Embeddings(roster.collection.space, vectors[chosen]), k)
    hits = 0
    for start in range(0, len(chosen), COMPARED_AT_ONCE):
        some = slice(start, start + COMPARED_AT_ONCE)
        for row, neighbours in zip(vectors[chosen[some]] @ vectors.T, found[some], strict=True):
            least = float(np.partition(row, len(row) - k)[len(row) - k])
            hits += sum(n.similarity >= least - 1e-5 for n in neighbours)
    return hits / (k * len(chosen))


def known_by(roster: Roster, threshold: float, subjects: int = JUDGED_SUBJECTS) -> Mapping[int, bool]:
    """Of subjects with several samples: whether the first is like enough to the others, by the sample's number."""
    found = {}
    for numbers in roster.several(subjects):
        vectors = roster.index.vectors(numbers)
        found[numbers[0]] = fuse(vectors[0], vectors[1:], roster.fusion) >= threshold
    return found
