"""The copy from before a migration: whole or not there, enough to go back by, and gone with the first erasure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from index.data_format import DataFolder
from index.sqlite_rows import SqliteRows
from index.way_back import destroy_copies, keep_copy

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(__file__).parent / "samples" / "format-1"

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from index.data_format import DataFolder
from lookalike.errors import StorageFull

def large(connection):
    connection.execute("CREATE TABLE extras (name BLOB) STRICT; DELETE FROM samples")
    connection.execute("INSERT INTO extras VALUES (zeroblob(4000000))")

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    DataFolder(Path(sys.argv[1]), "2.0.0", table={1: large}, target=2)
except StorageFull:
    print("full")
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data folder of format 1."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "data"))


def version(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        return connection.pragma("user_version")
    finally:
        connection.close()


@pytest.mark.parametrize("room", [40_000, 1_000_000], ids=["in the copy", "in the migration"])
def test_a_disk_that_fills_up_leaves_the_old_format_whole_and_no_half_copy(old: Path, room: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, old, str(room)], cwd=ROOT, capture_output=True, text=True
    )

    assert done.stdout == "full\n", done.stderr
    assert version(old / "records.db") == 1
    assert not list(old.glob("*.partial"))
    assert (old / "records.db.format-1").exists() == (room > 100_000)
    with DataFolder(old, "2.0.0") as data:
        rows = SqliteRows(data.records)
        assert rows.read().count("c1") == (1, 2)
        rows.close()


def test_a_copy_that_a_killed_process_had_begun_is_made_anew(old: Path) -> None:
    (old / "records.db.format-1.partial").write_bytes(b"half of a database")

    with DataFolder(old, "2.0.0"):
        pass

    assert version(old / "records.db.format-1") == 1
    assert not (old / "records.db.format-1.partial").exists()


def test_what_stops_a_copy_in_its_middle_leaves_nothing_of_it(old: Path) -> None:
    def interrupted(copy: Path) -> None:
        copy.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_copy(old / "records.db", 1, interrupted)

    assert sorted(path.name for path in old.iterdir()) == ["format.json", "records.db"]


def test_the_copy_put_back_is_the_folder_as_it_was(old: Path) -> None:
    with DataFolder(old, "2.0.0") as data:
        rows = SqliteRows(data.records)
        rows.write(lambda tx: tx.add_sample("later", "c1", "s1", b"", 1.0, {}))
        rows.close()

    for name in ("records.db-wal", "records.db-shm", "format.json"):
        (old / name).unlink(missing_ok=True)
    (old / "records.db.format-1").replace(old / "records.db")

    with DataFolder(old, "1.0.0", table={}, target=1):
        assert version(old / "records.db") == 1
    with DataFolder(old, "2.0.0") as data:
        rows = SqliteRows(data.records)
        assert [row.id for row in rows.read().samples_of("s1")] == ["s1-a", "s1-b"]
        rows.close()


def test_whoever_is_erased_does_not_live_on_in_the_copy(old: Path) -> None:
    with DataFolder(old, "2.0.0") as data:
        copy = data.records.with_name("records.db.format-1")
        watched = os.open(copy, os.O_RDONLY)
        rows = SqliteRows(data.records)
        rows.write(lambda tx: tx.delete_subject("s1"))
        assert rows.scrub()
        rows.close()

    assert not copy.exists()
    assert not any(os.pread(watched, 10_000_000, 0)), "its bytes were overwritten before its name went"
    os.close(watched)


def test_a_copy_that_cannot_be_destroyed_is_told(tmp_path: Path) -> None:
    (tmp_path / "records.db.format-1").mkdir()

    assert not destroy_copies(tmp_path / "records.db")
