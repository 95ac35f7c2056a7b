"""A collection whose vectors lie on the disk: what becomes of it when they are damaged, and when somebody is erased."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from index import faiss_index, stored_rows
from index.faiss_index import FaissIndex
from lookalike import rosters as rosters_module
from lookalike.errors import IndexUnavailable, StorageFull
from security.row_files import SealedRowFiles
from tests.lookalike.conftest import open_at, photo
from tests.security.test_canaries import vector_canaries
from tests.unnamed import unnamed_in, write_at

PEOPLE = 40


class Disk(SealedRowFiles):
    """A disk that can be full."""

    full = False

    def write(self, count, dimension, blocks):
        if self.full:
            raise StorageFull("the disk is full")
        return super().write(count, dimension, blocks)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "rows")


@pytest.fixture
def open_on_disk(tmp_path, disk, monkeypatch):
    """Opens the data folder as a process whose indexes put all that is set aside on the disk."""
    monkeypatch.setattr(stored_rows, "FILED_FROM_BYTES", 1)
    monkeypatch.setattr(rosters_module, "SNAPSHOT_FROM", 10)
    opened = []

    def opening():
        opened.append(open_at(tmp_path, lambda url, space, *_: FaissIndex(space, disk)))
        return opened[-1]

    yield opening
    for house in opened:
        for roster in house.rosters.loaded():
            roster.index.settle()
        house.close()


@pytest.fixture
def staff(open_on_disk, admin, pictures):
    """A house with 40 people and a snapshot of them, opened by a process that took it over."""
    house = open_on_disk()
    house.gallery.create_collection(admin, "staff")
    for who in range(PEOPLE):
        house.gallery.enrol(admin, "staff", f"p{who}", pictures(photo(who), photo(who, shot=1)))
    house.rosters.save_snapshots(at_least=0)
    later = open_on_disk()
    later.rosters.load_all()
    return later


def identified(house, admin, who):
    (found,) = house.gallery.identify(admin, "staff", photo(who, shot=2), threshold=0.5).faces
    return [candidate.subject.id for candidate in found.candidates]


def damage(folder):
    for path in unnamed_in(folder):
        write_at(path, 0, bytes(byte ^ 255 for byte in path.read_bytes()))


def test_a_snapshot_is_taken_over_onto_the_disk(staff, admin, tmp_path):
    roster = staff.rosters.of(staff.records.collection("staff"))

    assert len(unnamed_in(tmp_path)) == 1
    assert roster.index.describe().disk_bytes >= 2 * PEOPLE * 64 * 4
    assert identified(staff, admin, 7)[0] == "p7"


def test_no_enrolled_vector_is_readable_in_the_data_folder_or_in_its_files_without_a_name(staff, admin, tmp_path):
    identified(staff, admin, 7)
    vectors = staff.rosters.of(staff.records.collection("staff")).index.dump()[1]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]

    disk = b"\x00".join(path.read_bytes() for path in [*files, *unnamed_in(tmp_path)])

    canaries = {form for vector in vectors[::13] for form in vector_canaries(vector)}
    assert {"records.db", *(path.name for path in (tmp_path / "snapshots").iterdir())} <= {path.name for path in files}
    assert [canary for canary in canaries if canary in disk] == []


def test_damaged_vectors_are_told_once_and_made_anew_from_what_is_kept(staff, admin, tmp_path):
    damage(tmp_path)
    with pytest.raises(IndexUnavailable):
        identified(staff, admin, 7)

    staff.rosters.catch_up()
    staff.rosters.check()

    assert identified(staff, admin, 7)[0] == "p7"
    roster = staff.rosters.of(staff.records.collection("staff"))
    assert (len(roster), roster.samples) == (PEOPLE, 2 * PEOPLE)
    assert not roster.lost


def test_no_snapshot_is_made_of_damaged_vectors_and_the_old_one_stays(staff, open_on_disk, admin, tmp_path):
    (there,) = (tmp_path / "snapshots").iterdir()
    before = there.read_bytes()
    damage(tmp_path)
    with pytest.raises(IndexUnavailable):
        staff.rosters.save_snapshots(at_least=0)

    assert there.read_bytes() == before
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == [there.name]


def test_the_erased_are_gone_from_answers_at_once_and_from_the_disk_in_time(staff, admin, tmp_path, monkeypatch):
    held = {path.stat().st_ino for path in unnamed_in(tmp_path)}
    staff.gallery.erase_subject(admin, "staff", "p7")
    staff.rosters.catch_up()
    at_once = identified(staff, admin, 7)

    monkeypatch.setattr(faiss_index, "RENEWED_AFTER_S", 0.0)
    staff.rosters.tend()
    index = staff.rosters.of(staff.records.collection("staff")).index
    index.settle()
    gc.collect()

    assert "p7" not in at_once
    assert not held & {path.stat().st_ino for path in unnamed_in(tmp_path)}
    assert len(unnamed_in(tmp_path)) == 1
    assert index.describe().removed == 0


def test_a_collection_that_is_deleted_leaves_nothing_on_the_disk(staff, admin, tmp_path):
    staff.gallery.delete_collection(admin, "staff")
    staff.rosters.catch_up()
    gc.collect()

    assert unnamed_in(tmp_path) == []


def test_a_start_on_a_full_disk_says_so_and_goes_on_once_there_is_room(staff, open_on_disk, admin, disk):
    disk.full = True
    later = open_on_disk()
    with pytest.raises(StorageFull):
        later.rosters.load_all()
    disk.full = False
    later.rosters.check()

    assert identified(later, admin, 7)[0] == "p7"


def test_who_is_enrolled_on_a_full_disk_is_found(staff, admin, disk, pictures):
    disk.full = True
    for who in range(100, 110):
        staff.gallery.enrol(admin, "staff", f"p{who}", pictures(photo(who)))
    staff.rosters.catch_up()

    assert identified(staff, admin, 105)[0] == "p105"
    labels, vectors = staff.rosters.of(staff.records.collection("staff")).index.dump()
    assert len(labels) == 2 * PEOPLE + 10
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)
