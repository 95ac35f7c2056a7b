"""Requests that wait together share a batch; none waits for company, and errors stay with their cause."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embedder.batching import Batcher
from lookalike.domain import Floats


def rows(*values: float) -> Floats:
    return np.array([[value, -value] for value in values], np.float32)


class Network:
    """Doubles its rows, notes each batch's size, fails on 13 and can be held up."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.busy = 0
        self.busiest = 0
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def __call__(self, batch: Floats) -> Floats:
        with self._lock:
            self.sizes.append(len(batch))
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        self.entered.set()
        assert self.gate.wait(10)
        with self._lock:
            self.busy -= 1
        if (batch == 13).any():
            raise ValueError("thirteen")
        return batch * 2


def test_a_lone_request_runs_at_once_and_keeps_its_order() -> None:
    network = Network()
    assert np.array_equal(Batcher(network, slots=1)(rows(1, 2, 3)), rows(2, 4, 6))
    assert network.sizes == [3]


def test_a_request_of_many_rows_is_split() -> None:
    network = Network()
    many = rows(*range(20, 41))
    assert np.array_equal(Batcher(network, slots=2, max_rows=8)(many), many * 2)
    assert sorted(network.sizes) == [5, 8, 8]


def held_up(network: Network, batcher: Batcher, pool: ThreadPoolExecutor, later: list[Floats]) -> list[Floats | str]:
    """Runs one request into the closed gate, lets the others queue behind it, opens the gate."""
    network.gate.clear()
    first = pool.submit(batcher, rows(1))
    assert network.entered.wait(10)
    others = [pool.submit(batcher, item) for item in later]
    while len(batcher._waiting) < len(later):
        threading.Event().wait(0.001)
    network.gate.set()
    assert np.array_equal(first.result(10), rows(2))
    return [str(other.exception(10)) if other.exception(10) else other.result(10) for other in others]


def test_requests_that_wait_together_share_one_batch() -> None:
    network = Network()
    with ThreadPoolExecutor(8) as pool:
        answers = held_up(network, Batcher(network, slots=1, max_rows=8), pool, [rows(i, i + 1) for i in (20, 30, 40)])
    assert network.sizes == [1, 6]
    for answer, start in zip(answers, (20, 30, 40), strict=True):
        assert np.array_equal(answer, rows(start, start + 1) * 2)


def test_a_batch_never_exceeds_its_size() -> None:
    network = Network()
    with ThreadPoolExecutor(12) as pool:
        held_up(network, Batcher(network, slots=1, max_rows=4), pool, [rows(i, i, i) for i in range(20, 29)])
    assert max(network.sizes) <= 4


def test_an_error_reaches_only_the_request_that_caused_it() -> None:
    network = Network()
    with ThreadPoolExecutor(8) as pool:
        answers = held_up(network, Batcher(network, slots=1), pool, [rows(20), rows(13), rows(40)])
    assert answers[1] == "thirteen"
    assert np.array_equal(answers[0], rows(40))
    assert np.array_equal(answers[2], rows(80))


def test_an_error_leaves_the_slot_free() -> None:
    batcher = Batcher(Network(), slots=1)
    with pytest.raises(ValueError, match="thirteen"):
        batcher(rows(13))
    assert np.array_equal(batcher(rows(1)), rows(2))


def test_many_threads_each_get_their_own_rows_from_at_most_as_many_calls_as_slots() -> None:
    network = Network()
    batcher = Batcher(network, slots=3, max_rows=5)
    with ThreadPoolExecutor(16) as pool:
        asked = [rows(*range(100 + i, 100 + i + i % 7 + 1)) for i in range(400)]
        answers = list(pool.map(batcher, asked))
    assert all(np.array_equal(answer, item * 2) for answer, item in zip(answers, asked, strict=True))
    assert network.busiest <= 3
