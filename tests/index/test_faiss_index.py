from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from index import faiss_index, faiss_segment
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.faiss_segment import Segment
from lookalike.domain import Embeddings, Space

SPACE = Space("toy", 24, "none")


def unit(count: int, seed: int = 0, dimension: int = 24) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def crowd(count: int, seed: int) -> np.ndarray:
    """Unit vectors so close together that four bits a dimension cannot tell them apart."""
    rows = unit(1, seed) + 0.004 * unit(count, seed + 1)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def similarities(found):
    return [[neighbour.similarity for neighbour in row] for row in found]


@pytest.mark.parametrize("queries", [1, 6])
def test_a_crowd_that_the_codes_cannot_tell_apart_is_ranked_exactly(queries):
    gallery = Embeddings(SPACE, np.concatenate([unit(8000), crowd(2000, seed=5)]))
    probes = Embeddings(SPACE, crowd(2000, seed=5)[:queries])
    index, reference = FaissIndex(SPACE), ExactIndex(SPACE)
    index.add(np.arange(10000), gallery)
    reference.add(np.arange(10000), gallery)

    for found, true in zip(
        similarities(index.search(probes, 5)), similarities(reference.search(probes, 5)), strict=True
    ):
        assert found == pytest.approx(true, abs=1e-6)


@pytest.mark.parametrize("dimension", [64, 129])
def test_the_codes_alone_answer_ordinary_queries(dimension, monkeypatch):
    space = Space("toy", dimension, "none")
    gallery = np.concatenate([unit(20000, 1, dimension), unit(50, 2, dimension)])
    probes = unit(50, 2, dimension) + 0.1 * unit(50, 3, dimension)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    index = FaissIndex(space)
    index.add(np.arange(20050), Embeddings(space, gallery))
    looked = []
    monkeypatch.setattr(Segment, "_by_rows", lambda self, queries, k, live: looked.append(len(queries)) or [])

    found = index.search(Embeddings(space, probes), 1)

    assert [row[0].label for row in found] == list(range(20000, 20050))
    assert looked == []


def test_when_all_the_nearest_rows_are_gone_the_next_are_found():
    gallery = unit(9000)
    probe = unit(1, seed=1)
    index = FaissIndex(SPACE)
    index.add(np.arange(9000), Embeddings(SPACE, gallery))
    nearest = np.argsort(-(gallery @ probe[0]))
    index.remove(nearest[:600].tolist())

    found = index.search(Embeddings(SPACE, probe), 5)[0]

    assert [neighbour.label for neighbour in found] == nearest[600:605].tolist()


def test_a_search_that_has_begun_is_not_touched_by_later_writes():
    index = FaissIndex(SPACE)
    index.add(np.arange(3000), Embeddings(SPACE, unit(3000)))
    index.add(np.arange(3000, 3010), Embeddings(SPACE, unit(10, seed=1)))
    index.remove([1, 3001])
    begun = index._state
    before = [part.copy() for part in begun.everything()]

    index.remove([5, 3004])
    index.add(np.array([6, 3005]), Embeddings(SPACE, unit(2, seed=2)))

    after = begun.everything()
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_rows_that_are_gone_are_given_back(monkeypatch):
    monkeypatch.setattr(faiss_index, "SMALLEST_TAIL", 50)
    index = FaissIndex(SPACE)
    index.add(np.arange(1000), Embeddings(SPACE, unit(1000)))
    for label in range(900):
        index.remove([label])

    assert len(index._state.main) <= 200
    assert index.dump()[0].tolist() == list(range(900, 1000))


def test_replacing_a_few_rows_over_and_over_does_not_make_the_index_grow():
    index = FaissIndex(SPACE)
    index.add(np.arange(200), Embeddings(SPACE, unit(200)))
    for seed in range(200):
        index.add(np.arange(20), Embeddings(SPACE, unit(20, seed=seed)))

    assert len(index) == 200
    assert len(index._state.main) <= 200 + faiss_index.SMALLEST_TAIL
    assert np.array_equal(index.vectors(range(20)), unit(20, seed=199))


def test_a_hundred_thousand_rows_of_128_take_less_than_a_hundred_megabytes():
    space = Space("toy", 128, "none")
    gallery = Embeddings(space, unit(100_000, 0, 128))
    tracemalloc.start()
    index = FaissIndex(space)
    index.add(np.arange(100_000), gallery)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    codes = index._state.main._codes.codes.size()

    assert kept + codes < 100e6


def test_faiss_keeps_to_the_calling_thread():
    index = FaissIndex(SPACE)
    index.add(np.arange(60_000), Embeddings(SPACE, unit(60_000)))
    probes = Embeddings(SPACE, unit(64, seed=1))
    faiss_segment.faiss.omp_set_num_threads(2)
    faiss_segment._mine.ready = False

    index.search(probes, 5)

    assert faiss_segment.faiss.omp_get_max_threads() == 1
