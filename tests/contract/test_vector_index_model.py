from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from lookalike.domain import Embeddings, Space
from lookalike.ports import VectorIndex
from security.row_files import SealedRowFiles
from tests import elastic
from tests.contract.small_faiss import shrink_faiss

SPACE = Space("toy", 6, "none")
LABELS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


class FollowsTheReference(RuleBasedStateMachine):
    """Any sequence of adds, replacements and removals leaves an index and the reference with equal answers."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = ExitStack()
        self.ours, self.reference = self.make(), ExactIndex(SPACE)

    def make(self) -> VectorIndex:
        raise NotImplementedError

    def teardown(self) -> None:
        self.kept.close()

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


class FaissFollowsTheReference(FollowsTheReference):
    def make(self) -> VectorIndex:
        shrink_faiss(self.kept.enter_context(pytest.MonkeyPatch.context()))
        index = FaissIndex(SPACE)
        self.kept.callback(index.settle)
        return index


class FaissOnDiskFollowsTheReference(FollowsTheReference):
    def make(self) -> VectorIndex:
        shrink_faiss(self.kept.enter_context(pytest.MonkeyPatch.context()))
        folder = self.kept.enter_context(tempfile.TemporaryDirectory())
        index = FaissIndex(SPACE, SealedRowFiles(Path(folder)))
        self.kept.callback(index.settle)
        return index

    @rule()
    def settle(self) -> None:
        self.ours.settle()


class ElasticFollowsTheReference(FollowsTheReference):
    def make(self) -> VectorIndex:
        servers = self.kept.enter_context(elastic.opened())
        return servers.open(elastic.url(), SPACE, secrets.token_hex(16), "0")


TestFaissFollowsTheReference = FaissFollowsTheReference.TestCase
TestFaissFollowsTheReference.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

TestFaissOnDiskFollowsTheReference = FaissOnDiskFollowsTheReference.TestCase
TestFaissOnDiskFollowsTheReference.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

TestElasticFollowsTheReference = pytest.mark.service(
    pytest.mark.skipif(
        "LOOKALIKE_TEST_ELASTICSEARCH" not in os.environ, reason="left out: no Elasticsearch was started"
    )(ElasticFollowsTheReference.TestCase)
)
TestElasticFollowsTheReference.settings = settings(max_examples=4, stateful_step_count=12, deadline=None)
