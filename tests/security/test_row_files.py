from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import StorageUnavailable, TamperedData
from security import row_files
from security.row_files import SealedRowFiles
from tests.security.test_canaries import vector_canaries
from tests.unnamed import unnamed_in, write_at

ROOT = Path(__file__).parents[2]
DIMENSION = 128
BLOCK = 16
"""Rows of a block of 8 KiB."""

SEALED = 8192 + 16


def unit(count, seed=0, dimension=DIMENSION):
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def files(tmp_path):
    return SealedRowFiles(tmp_path / "rows")


def written(files, rows, step=50):
    return files.write(len(rows), rows.shape[1], (rows[at : at + step] for at in range(0, len(rows), step)))


@given(
    dimension=st.sampled_from([1, 3, 16, 128, 512, 1280, 3000]),
    count=st.integers(0, 90),
    step=st.integers(1, 100),
    data=st.data(),
)
def test_rows_come_back_in_whatever_order_they_are_asked_for(tmp_path_factory, dimension, count, step, data):
    rows = unit(count, dimension, dimension)
    wanted = data.draw(st.lists(st.integers(0, count - 1), max_size=40)) if count else []
    file = written(SealedRowFiles(tmp_path_factory.getbasetemp() / "rows"), rows, step)

    assert np.array_equal(file.read(np.array(wanted, dtype=np.int64)), rows[np.array(wanted, dtype=np.int64)])


def test_no_vector_is_readable_on_the_disk(files, tmp_path):
    rows = unit(300)
    file = written(files, rows)
    (there,) = unnamed_in(tmp_path)

    disk = there.read_bytes()

    canaries = {form for row in rows[[0, 17, 299]] for form in vector_canaries(row)}
    assert [canary for canary in canaries if canary in disk] == []
    assert file.disk_bytes == len(disk) == 19 * SEALED
    compressed = np.unique(np.frombuffer(disk, dtype=np.uint64))
    assert len(compressed) == len(disk) // 8, "equal rows and the zeros that fill up a block are sealed apart too"


def test_equal_files_are_sealed_apart(files, tmp_path):
    kept = [written(files, unit(40)) for _ in range(2)]
    one, other = (path.read_bytes() for path in unnamed_in(tmp_path))

    assert len(kept) == 2
    assert one != other
    assert not set(np.frombuffer(one, np.uint64).tolist()) & set(np.frombuffer(other, np.uint64).tolist())


def test_a_file_has_no_name_is_its_owners_alone_and_goes_with_who_holds_it(files, tmp_path):
    file = written(files, unit(40))
    (there,) = unnamed_in(tmp_path)

    assert list((tmp_path / "rows").iterdir()) == []
    assert stat.S_IMODE((tmp_path / "rows").stat().st_mode) == 0o700
    assert stat.S_IMODE(os.stat(there).st_mode) & 0o077 == 0
    assert repr(file) == "SealedRowFile(40 rows)"
    del file
    gc.collect()
    assert unnamed_in(tmp_path) == []


@pytest.mark.parametrize("offset", [0, 5000, 8191, 8192, SEALED - 1, SEALED, 2 * SEALED + 77])
def test_every_bit_counts(files, tmp_path, offset):
    rows = unit(40)
    file = written(files, rows)
    (there,) = unnamed_in(tmp_path)
    block = offset // SEALED
    for bit in range(8):
        was = there.read_bytes()[offset]
        write_at(there, offset, bytes([was ^ 1 << bit]))
        with pytest.raises(TamperedData):
            file.read(np.array([block * BLOCK]))
        write_at(there, offset, bytes([was]))

    assert np.array_equal(file.read(np.arange(40)), rows)


def test_a_block_in_the_place_of_another_is_refused(files, tmp_path):
    rows = unit(48)
    file = written(files, rows)
    (there,) = unnamed_in(tmp_path)
    first, second = (there.read_bytes()[at * SEALED : (at + 1) * SEALED] for at in range(2))

    write_at(there, 0, second + first)

    for row in (0, BLOCK):
        with pytest.raises(TamperedData):
            file.read(np.array([row]))
    assert np.array_equal(file.read(np.array([2 * BLOCK])), rows[2 * BLOCK :][:1])


def test_a_block_of_another_file_is_refused_in_the_same_place_too(files, tmp_path):
    file, other = written(files, unit(48)), written(files, unit(48))
    one, two = unnamed_in(tmp_path)

    write_at(one, 0, two.read_bytes()[:SEALED])
    write_at(two, SEALED, one.read_bytes()[SEALED : 2 * SEALED])

    for each in (file, other):
        with pytest.raises(TamperedData):
            each.read(np.arange(48))


@pytest.mark.parametrize("left", [0, 10, SEALED, 3 * SEALED - 1])
def test_a_file_that_was_cut_is_refused(files, tmp_path, left):
    file = written(files, unit(48))
    (there,) = unnamed_in(tmp_path)
    os.truncate(there, left)

    with pytest.raises(TamperedData):
        file.read(np.arange(48))


def test_a_disk_that_fails_is_told(files, monkeypatch):
    file = written(files, unit(48))

    def fails(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(row_files.os, "pread", fails)
    with pytest.raises(StorageUnavailable):
        file.read(np.array([1]))


def test_no_nonce_serves_twice(files, monkeypatch):
    used = []

    class Watched:
        def __init__(self, key):
            self.key = key

        def encrypt(self, nonce, data, associated):
            used.append((self.key, nonce))
            return data + bytes(16)

    monkeypatch.setattr(row_files, "AESGCM", Watched)
    for count in (1, 16, 17, 333):
        written(files, unit(count), step=7)

    assert len(set(used)) == len(used) == 1 + 1 + 2 + 21
    assert len({key for key, _ in used}) == 4


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from lookalike.errors import StorageFull
from security.row_files import SealedRowFiles

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
asked = []
def blocks():
    asked.append(1)
    yield np.zeros((1000, 128), dtype=np.float32)

files = SealedRowFiles(Path(sys.argv[1]))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
try:
    files.write(1000, 128, blocks())
except StorageFull as error:
    print(asked, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(files.write(1000, 128, blocks()).read(np.array([999])).shape)
"""


def test_a_full_disk_is_told_before_a_row_is_asked_for(tmp_path):
    command = [sys.executable, "-W", "error", "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert done.stdout.splitlines() == ["[] the disk is full: a file of vectors was not written", "(1, 128)"], (
        done.stderr
    )


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable):
        written(SealedRowFiles(tmp_path / "file" / "rows"), unit(10))
