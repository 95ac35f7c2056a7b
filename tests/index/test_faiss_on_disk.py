"""The live index whose vectors lie in sealed files: what stays in memory, what leaves the disk and when, and faults."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

from index import faiss_index, faiss_parts
from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.stored_rows import FILED_FROM_BYTES, FiledRows
from lookalike.domain import Embeddings, Space
from lookalike.errors import IndexUnavailable, InvalidInput, StorageFull
from security.row_files import SealedRowFiles
from tests.security.test_canaries import vector_canaries
from tests.unnamed import unnamed_in, write_at

SPACE = Space("toy", 64, "none")
FEW, MANY = 1000, 9000


def unit(count, seed=0, dimension=64):
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def blocks(rows, step=1000):
    return (rows[at : at + step] for at in range(0, len(rows), step))


@pytest.fixture
def index(tmp_path):
    made = FaissIndex(SPACE, SealedRowFiles(tmp_path / "rows"))
    yield made
    made.settle()


@pytest.fixture
def filled(index):
    index.fill(np.arange(MANY), blocks(unit(MANY)))
    return index


def filed(index):
    return [part for part in index._state.parts if isinstance(part.segment.rows, FiledRows)]


def test_few_vectors_stay_in_memory_and_many_lie_on_the_disk(index, tmp_path):
    index.fill(np.arange(FEW), blocks(unit(FEW)))
    few = index.describe()
    nothing = unnamed_in(tmp_path)
    index.add(np.arange(FEW, FEW + MANY), Embeddings(SPACE, unit(MANY, seed=1)))
    index.settle()
    many = index.describe()

    assert FEW * 256 < FILED_FROM_BYTES <= MANY * 256
    assert (few.disk_bytes, nothing) == (0, [])
    assert "in memory while they are few, by faiss+disk:" in few.why
    assert many.disk_bytes == sum(path.stat().st_size for path in unnamed_in(tmp_path)) >= MANY * 256
    assert "sealed on disk, by faiss+disk: four bits for each of 64 dimensions" in many.why
    assert many.structure == "codes"


def test_a_hundred_thousand_rows_take_their_codes_and_a_third_besides(tmp_path):
    space = Space("toy", 128, "none")
    index = FaissIndex(space, SealedRowFiles(tmp_path / "rows"))
    index.fill(np.arange(100_000), blocks(unit(100_000, dimension=128)))
    codes = sum(part.segment.codes.memory_bytes for part in index._state.parts)

    assert codes == pytest.approx(64 * 100_000, rel=0.01)
    assert index.describe().memory_bytes <= 1.3 * codes


def test_rows_added_one_by_one_end_on_the_disk(index, monkeypatch):
    monkeypatch.setattr(faiss_parts, "SMALLEST_TAIL", 512)
    rows = unit(MANY)
    for at in range(0, MANY, 50):
        index.add(np.arange(at, at + 50), Embeddings(SPACE, rows[at : at + 50]))
    index.settle()

    assert sum(len(part.segment) for part in filed(index)) > MANY // 2
    assert np.array_equal(index.dump()[1], rows)
    assert index.describe().memory_bytes < MANY * 256 // 2


def test_no_vector_that_is_searched_is_readable_on_the_disk(filled, tmp_path):
    rows = unit(MANY)
    filled.search(Embeddings(SPACE, rows[:8]), 5)

    disk = b"".join(path.read_bytes() for path in unnamed_in(tmp_path))

    canaries = {form for row in rows[[0, 4000, MANY - 1]] for form in vector_canaries(row)}
    assert len(disk) > MANY * 256
    assert [canary for canary in canaries if canary in disk] == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_was_removed_is_not_found_at_once_and_leaves_the_disk_in_time(filled, tmp_path, monkeypatch):
    rows = unit(MANY)
    before = unnamed_in(tmp_path)
    held = {path.stat().st_ino for path in before}
    filled.remove([17])
    filled.tidy()
    filled.settle()
    soon = {path.stat().st_ino for path in unnamed_in(tmp_path)}
    found = [n.label for n in filled.search(Embeddings(SPACE, rows[17:18]), 3)[0]]

    monkeypatch.setattr(faiss_index, "RENEWED_AFTER_S", 0.0)
    filled.tidy()
    filled.settle()
    gc.collect()
    later = {path.stat().st_ino for path in unnamed_in(tmp_path)}

    assert 17 not in found
    assert soon == held
    assert len(later) == len(held)
    assert not later & held
    assert [part.dead for part in filled._state.parts] == [0]
    assert filled.dump()[0].tolist() == [label for label in range(MANY) if label != 17]


def test_what_is_not_on_the_disk_for_a_removed_row_is_not_written_anew(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(faiss_index, "RENEWED_AFTER_S", 0.0)
    held = {path.stat().st_ino for path in unnamed_in(tmp_path)}
    filled.tidy()
    filled.settle()

    assert {path.stat().st_ino for path in unnamed_in(tmp_path)} == held


def test_a_search_that_has_begun_reads_the_files_of_its_moment(filled, monkeypatch):
    monkeypatch.setattr(faiss_index, "RENEWED_AFTER_S", 0.0)
    begun = filled._state
    filled.remove(range(100))
    filled.tidy()
    filled.settle()

    labels, places, rows = begun.places()[0]
    assert np.array_equal(labels, np.arange(MANY))
    assert np.array_equal(rows.at(places), unit(MANY))


@pytest.mark.parametrize("ask", ["search", "vectors", "dump", "filter"])
def test_damaged_vectors_are_never_an_answer(filled, tmp_path, caplog, ask):
    (there,) = unnamed_in(tmp_path)
    content = bytearray(there.read_bytes())
    content[::1000] = bytes(value ^ 1 for value in content[::1000])
    write_at(there, 0, bytes(content))
    probe = Embeddings(SPACE, unit(1))

    with pytest.raises(IndexUnavailable):
        {
            "search": lambda: filled.search(probe, 5),
            "vectors": lambda: filled.vectors([5]),
            "dump": filled.dump,
            "filter": lambda: filled.search(probe, 5, np.arange(20)),
        }[ask]()
    assert filled.lost
    assert "an index is made anew: a file of vectors is damaged" in caplog.text


def test_an_index_whose_files_can_be_read_is_not_lost(filled):
    filled.search(Embeddings(SPACE, unit(1)), 5)

    assert not filled.lost


class Disk(SealedRowFiles):
    """A disk that can be full."""

    full = False

    def write(self, count, dimension, blocks):
        if self.full:
            raise StorageFull("the disk is full")
        return super().write(count, dimension, blocks)


def test_on_a_full_disk_nothing_added_is_lost_and_it_goes_to_the_disk_once_there_is_room(tmp_path, monkeypatch):
    disk = Disk(tmp_path / "rows")
    disk.full = True
    index, rows = FaissIndex(SPACE, disk), unit(MANY)
    index.add(np.arange(MANY // 2), Embeddings(SPACE, rows[: MANY // 2]))
    for at in range(MANY // 2, MANY, 500):
        index.add(np.arange(at, at + 500), Embeddings(SPACE, rows[at : at + 500]))
    index.settle()
    during = filed(index), index.dump()[1], index.describe().disk_bytes
    disk.full = False
    monkeypatch.setattr(index, "_not_before", 0.0)
    index.tidy()
    index.settle()

    assert during[0] == []
    assert np.array_equal(during[1], rows)
    assert during[2] == 0
    assert sum(len(part.segment) for part in filed(index)) >= MANY // 2
    assert np.array_equal(index.dump()[1], rows)


def test_filling_from_a_snapshot_needs_room_and_says_so(tmp_path):
    disk = Disk(tmp_path / "rows")
    disk.full = True
    with pytest.raises(StorageFull):
        FaissIndex(SPACE, disk).fill(np.arange(MANY), blocks(unit(MANY)))


@pytest.mark.parametrize("rows", [MANY - 1, MANY + 1])
def test_a_fill_with_other_than_one_vector_for_each_label_is_refused(index, rows):
    with pytest.raises(InvalidInput):
        index.fill(np.arange(MANY), blocks(unit(rows)))


@pytest.mark.parametrize("step", [2, 7, 60, 400, 4000])
def test_filters_and_crowds_are_answered_as_by_the_reference(filled, step):
    reference = ExactIndex(SPACE)
    reference.add(np.arange(MANY), Embeddings(SPACE, unit(MANY)))
    probes, allowed = Embeddings(SPACE, unit(5, seed=3)), np.arange(0, MANY, step)

    for ours, true in zip(filled.search(probes, 5, allowed), reference.search(probes, 5, allowed), strict=True):
        assert [n.similarity for n in ours] == pytest.approx([n.similarity for n in true], abs=1e-6)


def test_searches_go_on_while_files_are_written_anew(filled, monkeypatch):
    monkeypatch.setattr(faiss_index, "RENEWED_AFTER_S", 0.0)
    rows, wrong = unit(MANY), []
    stop = threading.Event()

    def searching():
        while not stop.is_set():
            found = filled.search(Embeddings(SPACE, rows[-4:]), 1)
            wrong.extend(
                n for row, label in zip(found, range(MANY - 4, MANY), strict=True) for n in row if n.label != label
            )

    searcher = threading.Thread(target=searching)
    searcher.start()
    try:
        for label in range(12):
            filled.remove([label])
            filled.tidy()
            filled.settle()
    finally:
        stop.set()
        searcher.join()

    assert wrong == []
    assert len(filled) == MANY - 12
