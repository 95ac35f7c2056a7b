from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest

from index import codes, faiss_index, faiss_parts, merging
from index.codes import Codes, learn
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.faiss_segment import Segment
from index.stored_rows import HeldRows
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


@pytest.mark.parametrize("queries", [1, 40])
@pytest.mark.parametrize("in_cache_bytes", [0, 2**40])
def test_codes_in_the_cache_and_codes_from_memory_name_the_same_rows(queries, in_cache_bytes, monkeypatch):
    rows = unit(20000)
    scanned = Codes(learn(rows, len(rows)), HeldRows(rows))
    asked = unit(queries, seed=3)
    monkeypatch.setattr(codes, "IN_CACHE_BYTES", in_cache_bytes)

    similarities, positions = scanned.scan(asked, 64, scanned.memory_bytes)

    true = asked @ rows.T
    assert np.abs(np.take_along_axis(true, positions, axis=1) - similarities).max() < 0.1
    assert (np.diff(similarities, axis=1) <= 0).all()
    best = true.argmax(axis=1)
    assert (positions == best[:, None]).any(axis=1).all()


@pytest.mark.parametrize("dimension", [64, 129])
def test_the_codes_alone_answer_ordinary_queries(dimension, monkeypatch):
    space = Space("toy", dimension, "none")
    gallery = np.concatenate([unit(20000, 1, dimension), unit(50, 2, dimension)])
    probes = unit(50, 2, dimension) + 0.1 * unit(50, 3, dimension)
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    index = FaissIndex(space)
    index.add(np.arange(20050), Embeddings(space, gallery))
    looked = []
    monkeypatch.setattr(Segment, "best", lambda self, queries, k, live: looked.append(len(queries)) or [])

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


def held_by(state):
    """Labels and vectors of all that is alive in a state of the index."""
    return [part for labels, places, rows in state.places() for part in (labels.copy(), rows.at(places).copy())]


def test_a_search_that_has_begun_is_not_touched_by_later_writes():
    index = FaissIndex(SPACE)
    index.add(np.arange(3000), Embeddings(SPACE, unit(3000)))
    index.add(np.arange(3000, 3010), Embeddings(SPACE, unit(10, seed=1)))
    index.remove([1, 3001])
    begun = index._state
    before = held_by(begun)

    index.remove([5, 3004])
    index.add(np.array([6, 3005]), Embeddings(SPACE, unit(2, seed=2)))

    after = held_by(begun)
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_rows_that_are_gone_are_given_back(monkeypatch):
    monkeypatch.setattr(merging, "FEWEST_DEAD", 50)
    index = FaissIndex(SPACE)
    index.add(np.arange(1100), Embeddings(SPACE, unit(1100)))
    for label in range(900):
        index.remove([label])
    index.settle()

    assert sum(len(part.segment) for part in index._state.parts) <= 260
    assert index.dump()[0].tolist() == list(range(900, 1100))


def test_replacing_a_few_rows_over_and_over_does_not_make_the_index_grow():
    index = FaissIndex(SPACE)
    index.add(np.arange(200), Embeddings(SPACE, unit(200)))
    for seed in range(200):
        index.add(np.arange(20), Embeddings(SPACE, unit(20, seed=seed)))
    index.settle()

    assert len(index) == 200
    assert sum(len(part.segment) for part in index._state.parts) <= 200 + faiss_parts.SMALLEST_TAIL
    assert np.array_equal(index.vectors(range(20)), unit(20, seed=199))


def test_a_hundred_thousand_rows_of_128_take_less_than_a_hundred_megabytes():
    space = Space("toy", 128, "none")
    gallery = Embeddings(space, unit(100_000, 0, 128))
    tracemalloc.start()
    index = FaissIndex(space)
    index.add(np.arange(100_000), gallery)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    coded = sum(part.segment.codes.memory_bytes for part in index._state.parts)

    assert kept + coded < 100e6


def test_faiss_keeps_to_the_calling_thread():
    index = FaissIndex(SPACE)
    index.add(np.arange(60_000), Embeddings(SPACE, unit(60_000)))
    probes = Embeddings(SPACE, unit(64, seed=1))
    codes.faiss.omp_set_num_threads(2)
    codes._mine.ready = False

    index.search(probes, 5)

    assert codes.faiss.omp_get_max_threads() == 1


@pytest.fixture
def eager(monkeypatch):
    """Bounds at which some thousand rows fill tails, segments of several sizes, and codes."""
    monkeypatch.setattr(faiss_parts, "SMALLEST_TAIL", 64)
    monkeypatch.setattr(merging, "LARGEST_ROWS", 4096)


def filled(rows, step=64):
    index = FaissIndex(SPACE)
    for start in range(0, len(rows), step):
        index.add(np.arange(start, min(start + step, len(rows))), Embeddings(SPACE, rows[start : start + step]))
    return index


def test_many_small_writes_end_in_few_segments_with_codes(eager):
    rows = unit(9000)
    index = filled(rows)
    index.settle()

    sizes = sorted(len(part.segment) for part in index._state.parts)
    assert sizes[-1] >= 2048
    assert len(sizes) <= 10
    assert all(part.segment.codes is not None for part in index._state.parts if len(part.segment) >= 1024)
    assert np.array_equal(index.dump()[1], rows)


def test_searches_and_writes_go_on_while_segments_are_merged(eager, monkeypatch):
    merge, begun, go_on = faiss_index.merged, threading.Event(), threading.Event()

    def slowly(parts, codec, store):
        begun.set()
        assert go_on.wait(30)
        return merge(parts, codec, store)

    monkeypatch.setattr(faiss_index, "merged", slowly)
    rows = unit(200)
    index = filled(rows)
    assert begun.wait(30)

    index.remove([3])
    index.add(np.array([5, 300]), Embeddings(SPACE, unit(2, seed=1)))
    during = [row[0].label for row in index.search(Embeddings(SPACE, np.concatenate([rows[4:5], unit(2, seed=1)])), 1)]
    go_on.set()
    index.settle()

    assert during == [4, 5, 300]
    assert index.dump()[0].tolist() == [label for label in [*range(200), 300] if label != 3]
    assert np.array_equal(index.vectors([5, 300]), unit(2, seed=1))
    assert [n.label for n in index.search(Embeddings(SPACE, rows[3:4]), 1)[0]] != [3]


def test_a_merge_that_fails_loses_nothing_and_is_tried_again_by_the_next_write(eager, monkeypatch, caplog):
    merge = faiss_index.merged
    monkeypatch.setattr(faiss_index, "merged", lambda *_: (_ for _ in ()).throw(MemoryError))
    index = filled(unit(500))
    index.settle()
    before = len(index._state.parts)
    monkeypatch.setattr(faiss_index, "merged", merge)
    index.add(np.array([500]), Embeddings(SPACE, unit(1, seed=1)))
    index.settle()

    assert "segments could not be merged: MemoryError" in caplog.text
    assert len(index._state.parts) < before
    assert index.dump()[0].tolist() == list(range(501))


def test_codes_are_learned_anew_when_the_gallery_has_doubled(eager, monkeypatch):
    monkeypatch.setattr(codes, "CODES_FROM", 1200)
    rows = unit(6000)
    index = filled(rows[:1300])
    index.settle()
    first = index._codec
    index.add(np.arange(1300, 6000), Embeddings(SPACE, rows[1300:]))
    index.settle()

    assert first.rows >= 1200
    assert index._codec.rows >= 2 * first.rows
    assert all(part.segment.is_coded_by(index._codec) for part in index._state.parts)


def near_a_subspace(count, seed, dimension=256, rank=40):
    """Unit vectors of which nearly all lies in a subspace, and somewhat more in some of its dimensions than others."""
    rng = np.random.default_rng(seed)
    axes = np.random.default_rng(99).standard_normal((rank, dimension)) * np.linspace(2, 0.5, rank)[:, None]
    rows = rng.standard_normal((count, rank)) @ axes + 0.1 * rng.standard_normal((count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_vectors_close_to_a_subspace_are_coded_within_it_and_found_all_the_same():
    space = Space("toy", 256, "none")
    gallery = Embeddings(space, near_a_subspace(6000, 1))
    probes = Embeddings(space, near_a_subspace(60, 2))
    index, reference = FaissIndex(space), ExactIndex(space)
    index.add(np.arange(6000), gallery)
    reference.add(np.arange(6000), gallery)

    found, true = similarities(index.search(probes, 5)), similarities(reference.search(probes, 5))

    assert index._codec.dimensions == 32
    assert found == [pytest.approx(row, abs=1e-6) for row in true]


def test_what_lies_outside_the_subspace_that_was_learned_is_found_by_looking_further():
    space = Space("toy", 256, "none")
    strangers = unit(400, 5, 256)
    index, reference = FaissIndex(space), ExactIndex(space)
    index.add(np.arange(6000), Embeddings(space, near_a_subspace(6000, 1)))
    for one in (index, reference):
        one.add(np.arange(6000, 6400), Embeddings(space, strangers))
    reference.add(np.arange(6000), Embeddings(space, near_a_subspace(6000, 1)))
    probes = strangers[:50] + 0.3 * unit(50, 6, 256)
    probes = Embeddings(space, probes / np.linalg.norm(probes, axis=1, keepdims=True))

    found, true = similarities(index.search(probes, 1)), similarities(reference.search(probes, 1))

    assert found == [pytest.approx(row, abs=1e-6) for row in true]


def test_it_says_which_structure_answers_and_when_that_changes():
    index = FaissIndex(SPACE)
    index.add(np.arange(3000), Embeddings(SPACE, unit(3000)))
    few = index.describe()
    index.add(np.arange(3000, 9000), Embeddings(SPACE, unit(6000, seed=1)))
    index.settle()
    index.remove(range(100))
    many = index.describe()

    assert (few.structure, few.next_change) == ("exact", "codes from 4,096 rows")
    assert many.structure == "codes"
    assert many.next_change == f"codes are learned anew at {2 * index._codec.rows:,} rows"
    assert (many.rows, many.removed) == (8900, 100)
    assert many.memory_bytes >= 9000 * 24 * 4.5
