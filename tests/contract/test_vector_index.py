from __future__ import annotations

import threading

import numpy as np
import pytest

from index.backends import BACKENDS
from index.exact import ExactIndex
from lookalike.domain import Embeddings, Space
from lookalike.errors import InvalidInput, SpaceMismatch
from lookalike.ports import SharedIndex
from tests.contract.conftest import TINY, TINY_ON_DISK


def labels_of(neighbours):
    return [neighbour.label for neighbour in neighbours]


def assert_agree(space, index, queries, k, allowed=None):
    """The index names rows as similar as the reference's, rank by rank, up to ties."""
    reference = ExactIndex(space)
    labels, rows = index.dump()
    reference.add(labels, Embeddings(space, rows))
    position = {label: i for i, label in enumerate(labels.tolist())}
    for query, ours, theirs in zip(
        queries.vectors, index.search(queries, k, allowed), reference.search(queries, k, allowed), strict=True
    ):
        assert len(set(labels_of(ours))) == len(ours) == len(theirs)
        for mine, best in zip(ours, theirs, strict=True):
            assert mine.similarity == pytest.approx(best.similarity, abs=1e-5)
            assert mine.similarity == pytest.approx(float(rows[position[mine.label]] @ query), abs=1e-5)


def test_an_empty_index_answers_with_empty_lists(make_index, space, unit):
    index = make_index(space)

    assert len(index) == 0
    assert index.search(unit(3), 5) == [[], [], []]
    assert index.remove([1, 2]) == 0
    labels, rows = index.dump()
    assert labels.shape == (0,)
    assert rows.shape == (0, space.dimension)


def test_a_vector_is_its_own_nearest_neighbour(make_index, space, unit):
    index = make_index(space)
    index.add(np.arange(100, 200), unit(100))

    found = index.search(unit(100), 1)

    assert [labels_of(row) for row in found] == [[label] for label in range(100, 200)]
    assert all(row[0].similarity == pytest.approx(1.0, abs=1e-5) for row in found)


@pytest.mark.parametrize("queries", [1, 5, 40])
def test_it_agrees_with_the_reference(make_index, space, unit, queries):
    index = make_index(space)
    index.add(np.arange(500), unit(500))

    assert_agree(space, index, unit(queries, seed=1), 10)


def test_more_neighbours_than_rows_gives_all_rows(make_index, space, unit):
    index = make_index(space)
    index.add(np.arange(30), unit(30))

    assert sorted(labels_of(index.search(unit(1, seed=1), 1000)[0])) == list(range(30))


def test_rows_added_one_by_one_are_found_at_once(make_index, space, unit, turns):
    index, count = make_index(space), turns(60)
    vectors = unit(count).vectors
    for label in range(count):
        index.add(np.array([label]), Embeddings(space, vectors[label : label + 1]))
        assert labels_of(index.search(Embeddings(space, vectors[label : label + 1]), 1)[0]) == [label]

    assert len(index) == count
    assert_agree(space, index, unit(8, seed=2), 5)


def test_a_removed_label_is_gone_at_once_and_counted_once(make_index, space, unit):
    index = make_index(space)
    index.add(np.arange(80), unit(80))
    index.add(np.arange(80, 84), unit(4, seed=9))

    assert index.remove([3, 81, 3, 999, -1]) == 2

    assert len(index) == 82
    assert not {3, 81} & {label for row in index.search(unit(80), 82) for label in labels_of(row)}
    assert index.remove([3, 81]) == 0
    with pytest.raises(KeyError):
        index.vectors([3])


def test_removing_most_rows_leaves_the_others_right(make_index, space, unit, turns):
    index = make_index(space)
    index.add(np.arange(400), unit(400))
    for labels in np.array_split(np.arange(380), turns(380)):
        index.remove(labels.tolist())

    assert index.dump()[0].tolist() == list(range(380, 400))
    assert_agree(space, index, unit(7, seed=3), 5)


def test_a_label_added_again_has_its_new_vector_only(make_index, space, unit):
    index = make_index(space)
    index.add(np.arange(50), unit(50))
    index.add(np.array([7]), unit(1, seed=8))
    index.add(np.array([7]), unit(1, seed=9))

    assert len(index) == 50
    assert np.array_equal(index.vectors([7]), unit(1, seed=9).vectors)
    assert labels_of(index.search(unit(1, seed=9), 50)[0]).count(7) == 1


def test_of_a_label_given_twice_in_one_call_the_last_counts(make_index, space, unit):
    index = make_index(space)
    index.add(np.array([5, 4, 5]), unit(3))

    assert len(index) == 2
    assert np.array_equal(index.vectors([5, 4]), unit(3).vectors[[2, 1]])


@pytest.mark.parametrize("count", [0, 1, 3, 40, 250, 499])
def test_only_allowed_labels_are_returned(make_index, space, unit, turns, count):
    index = make_index(space)
    index.add(np.arange(450), unit(450))
    for labels in np.array_split(np.arange(450, 500), turns(50)):
        index.add(labels, unit(len(labels), seed=int(labels[0])))
    index.remove(range(0, 500, 10))
    allowed = np.random.default_rng(5).choice(510, count, replace=False)

    assert_agree(space, index, unit(9, seed=4), 5, allowed)
    assert set(labels_of(index.search(unit(1, seed=4), 500, allowed)[0])) == {
        label for label in allowed.tolist() if label < 500 and label % 10
    }


def test_labels_may_come_in_any_order_and_be_any_64_bit_number(make_index, space, unit):
    index = make_index(space)
    labels = np.array([2**62, 5, -3, 2**40])
    index.add(labels, unit(4))

    assert index.dump()[0].tolist() == sorted(labels.tolist())
    assert np.array_equal(index.vectors(labels.tolist()), unit(4).vectors)
    assert labels_of(index.search(Embeddings(space, unit(4).vectors[:1]), 1)[0]) == [2**62]


def test_what_is_dumped_can_be_loaded_again(make_index, space, unit):
    index, other = make_index(space), make_index(space)
    index.add(np.arange(70), unit(70))
    index.remove([1, 69])
    labels, rows = index.dump()
    other.add(labels, Embeddings(space, rows))

    assert all(np.array_equal(a, b) for a, b in zip(other.dump(), index.dump(), strict=True))


def test_equal_rows_are_all_returned(make_index, space, unit):
    index = make_index(space)
    same = np.repeat(unit(1).vectors, 60, axis=0)
    index.add(np.arange(60), Embeddings(space, same))
    index.add(np.arange(60, 160), unit(100, seed=1))

    assert sorted(labels_of(index.search(unit(1), 60)[0])) == list(range(60))


@pytest.mark.parametrize("damage", [np.nan, np.inf, 1e30, 0.0])
def test_what_is_not_a_unit_vector_is_refused(make_index, space, unit, damage):
    index = make_index(space)
    index.add(np.arange(20), unit(20))
    bad = unit(1).vectors.copy()
    bad[0] = damage

    with pytest.raises(InvalidInput):
        index.add(np.array([1]), Embeddings(space, bad))
    with pytest.raises(InvalidInput):
        index.search(Embeddings(space, bad), 5)
    assert len(index) == 20
    assert np.array_equal(index.vectors([1]), unit(20).vectors[1:2])


def test_vectors_of_another_space_are_refused(make_index, space, unit):
    index = make_index(space)
    other = Embeddings(Space("other", space.dimension, "none"), unit(1).vectors)

    with pytest.raises(SpaceMismatch):
        index.add(np.array([1]), other)
    with pytest.raises(SpaceMismatch):
        index.search(other, 5)


def test_a_search_for_no_neighbours_or_labels_without_vectors_is_refused(make_index, space, unit):
    index = make_index(space)

    with pytest.raises(InvalidInput):
        index.search(unit(1), 0)
    with pytest.raises(InvalidInput):
        index.add(np.array([1, 2]), unit(1))


def test_searches_beside_a_writer_see_whole_calls_and_no_removed_label(make_index, space, unit, turns):
    """A pair is added in one call and removed in one: a search sees both or neither, and none after removal."""
    index = make_index(space)
    index.add(np.arange(300), unit(300))
    pair = Embeddings(space, np.repeat(unit(1, seed=77).vectors, 2, axis=0))
    gone_below = [1000]
    problems: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            floor = gone_below[0]
            found = [n.label for n in index.search(Embeddings(space, pair.vectors[:1]), 2)[0] if n.label >= 1000]
            if found and min(found) < floor:
                problems.append(f"{found} after removal below {floor}")
            if len(found) == 1:
                problems.append(f"half a call: {found}")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for label in range(1000, 1000 + 2 * turns(300), 2):
            index.add(np.array([label, label + 1]), pair)
            if index.remove([label, label + 1]) != 2:
                problems.append("a row was lost")
            gone_below[0] = label + 2
    finally:
        stop.set()
        for reader in readers:
            reader.join()

    assert problems == []
    assert len(index) == 300


def test_rows_added_from_several_threads_are_all_there(make_index, space, unit, turns):
    index, each = make_index(space), turns(50)

    def write(worker: int) -> None:
        for i in range(each):
            index.add(np.array([worker * 1000 + i]), unit(1, seed=worker * 1000 + i))

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert index.dump()[0].tolist() == sorted(worker * 1000 + i for worker in range(4) for i in range(each))
    assert np.array_equal(index.vectors([3000 + each - 1]), unit(1, seed=3000 + each - 1).vectors)


def test_it_describes_itself(make_index, space, unit):
    index = make_index(space)
    index.add(np.arange(90), unit(90))
    index.remove([1, 2, 3])

    state = index.describe()

    assert state.structure in ("exact", "codes")
    assert (state.rows, state.dimension) == (87, space.dimension)
    assert state.removed <= 3
    assert state.parts >= 1
    in_server = isinstance(index, SharedIndex)
    assert state.memory_bytes + state.disk_bytes >= (0 if in_server else 87 * space.dimension * 4)
    assert len(state.why) > 20
    assert len(state.next_change) > 20


def in_blocks(rows, *sizes):
    ends = np.cumsum(sizes)
    return [rows[end - size : end].copy() for end, size in zip(ends.tolist(), sizes, strict=True)]


in_process = pytest.mark.parametrize("make_index", [*BACKENDS, TINY, TINY_ON_DISK], indirect=True)
"""An index in a server keeps its rows: nothing fills it block by block."""


@in_process
@pytest.mark.parametrize("sizes", [(300,), (64, 64, 172), (1, 200, 99), (9, 9, 282)])
def test_what_was_filled_block_by_block_is_searched_like_what_was_added(make_index, space, unit, sizes):
    index, labels, vectors = make_index(space), np.arange(0, 900, 3), unit(300)
    index.fill(labels, in_blocks(vectors.vectors, *sizes))

    found, rows = index.dump()
    assert len(index) == 300
    assert np.array_equal(found, labels)
    assert np.array_equal(rows, vectors.vectors)
    assert_agree(space, index, unit(20, seed=1), 5)
    index.remove([3, 6])
    index.add(np.array([4]), unit(1, seed=2))
    assert len(index) == 299
    assert_agree(space, index, unit(20, seed=1), 5, allowed=np.arange(0, 60))


@in_process
def test_a_fill_of_nothing_leaves_it_empty(make_index, space):
    index = make_index(space)
    index.fill(np.empty(0, dtype=np.int64), iter(()))

    assert len(index) == 0


@in_process
def test_a_block_that_holds_no_unit_vectors_is_refused(make_index, space):
    index = make_index(space)
    with pytest.raises(InvalidInput):
        index.fill(np.arange(100), [np.ones((100, space.dimension), dtype=np.float32)])


@in_process
def test_blocks_are_all_that_is_alive_of_the_moment_they_were_asked_for(make_index, space, unit):
    index = make_index(space)
    index.add(np.arange(200, 400), unit(200))
    for label in range(100):
        index.add(np.array([2 * label]), Embeddings(space, unit(100, seed=1).vectors[label : label + 1]))
    index.remove(range(150, 250))
    labels, rows = index.dump()

    there, blocks = index.blocks()
    index.remove(range(300, 400))
    index.add(np.array([1]), unit(1, seed=2))

    assert np.array_equal(there, labels)
    assert np.array_equal(np.concatenate(list(blocks)), rows)
