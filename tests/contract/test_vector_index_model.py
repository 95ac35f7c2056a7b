from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from lookalike.domain import Embeddings, Space
from tests.contract.small_faiss import shrink_faiss

SPACE = Space("toy", 6, "none")
LABELS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


class FaissFollowsTheReference(RuleBasedStateMachine):
    """Any sequence of adds, replacements and removals leaves FAISS and the reference with equal answers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        shrink_faiss(self.patch)
        self.ours, self.reference = FaissIndex(SPACE), ExactIndex(SPACE)

    def teardown(self) -> None:
        self.ours.settle()
        self.patch.undo()

    def vectors(self, count: int, seed: int) -> Embeddings:
        # A coarse grid of directions, so that equal and nearly equal vectors come up often.
        rows = np.random.default_rng(seed).integers(-2, 3, (count, SPACE.dimension)).astype(np.float32)
        rows[np.all(rows == 0, axis=1), 0] = 1
        return Embeddings(SPACE, rows / np.linalg.norm(rows, axis=1, keepdims=True))

    @rule(labels=LABELS, seed=st.integers(0, 1000))
    def add(self, labels: list[int], seed: int) -> None:
        for index in (self.ours, self.reference):
            index.add(np.array(labels), self.vectors(len(labels), seed))

    @rule(labels=LABELS)
    def remove(self, labels: list[int]) -> None:
        assert self.ours.remove(labels) == self.reference.remove(labels)

    @rule(seed=st.integers(0, 1000), k=st.integers(1, 50), allowed=st.none() | LABELS)
    def search(self, seed: int, k: int, allowed: list[int] | None) -> None:
        queries = self.vectors(3, seed)
        limit = None if allowed is None else np.array(allowed)
        ours, theirs = self.ours.search(queries, k, limit), self.reference.search(queries, k, limit)
        for mine, best in zip(ours, theirs, strict=True):
            assert [n.similarity for n in mine] == pytest.approx([n.similarity for n in best], abs=1e-5)
            assert allowed is None or {n.label for n in mine} <= set(allowed)

    @invariant()
    def both_hold_the_same_rows(self) -> None:
        ours, theirs = self.ours.dump(), self.reference.dump()
        assert len(self.ours) == len(self.reference) == len(theirs[0])
        assert np.array_equal(ours[0], theirs[0])
        assert np.array_equal(ours[1], theirs[1])


TestFaissFollowsTheReference = FaissFollowsTheReference.TestCase
TestFaissFollowsTheReference.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
