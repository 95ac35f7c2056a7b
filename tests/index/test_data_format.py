from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from index.data_format import DataFolder
from index.migrations import MIGRATIONS
from index.schema import FORMAT
from index.sqlite_rows import SqliteRows
from lookalike.errors import DataTooNew, StorageUnavailable, TamperedData
from lookalike.ports import AuditRow, CollectionRow, JobRow, SubjectRow

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(__file__).parent / "samples"


def add_a_table(connection):
    connection.execute("CREATE TABLE extras (name TEXT PRIMARY KEY) STRICT; INSERT INTO extras VALUES ('made')")


def fail_half_way(connection):
    connection.execute("CREATE TABLE half (name TEXT) STRICT; DELETE FROM samples")
    raise ZeroDivisionError("on purpose")


@pytest.fixture
def old(tmp_path):
    """A copy of the kept sample of format 1."""
    folder = tmp_path / "data"
    shutil.copytree(SAMPLES / "format-1", folder)
    return folder


def query(path, sql):
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_new_folder_states_its_format_and_who_made_it(tmp_path):
    with DataFolder(tmp_path / "data", "1.2.3") as data:
        rows = SqliteRows(data.records)
        assert rows.read().last_seq() == 0
        rows.close()

    assert json.loads((tmp_path / "data" / "format.json").read_text()) == {"format": FORMAT, "made_by": "1.2.3"}
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "data").iterdir()} == {0o600}


def test_there_is_a_kept_sample_of_each_format_and_a_way_from_each_older_one():
    assert sorted(folder.name for folder in SAMPLES.iterdir()) == [f"format-{v}" for v in range(1, FORMAT + 1)]
    assert sorted(MIGRATIONS) == list(range(1, FORMAT))


@pytest.mark.parametrize("sample", sorted(SAMPLES.iterdir()), ids=lambda folder: folder.name)
def test_the_kept_sample_of_a_format_opens_with_all_that_is_in_it(sample, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(sample, folder)

    with DataFolder(folder, "9.9.9") as data:
        rows = SqliteRows(data.records)
        reader = rows.read()
        assert reader.get_setting("root-check") == b"filler"
        assert reader.collections() == [CollectionRow("c1", b"lookup-c1", b"wrapped-c1", b"sealed-c1", 1.0)]
        assert reader.subjects(["s1", "s2"]) == [SubjectRow("s1", "c1", b"lookup-s1", b"wrapped", b"sealed", 2.0, 3.0)]
        assert [(row.id, row.number, row.payload) for row in reader.samples_of("s1")] == [
            ("s1-a", 1, b"sealed-vector"),
            ("s1-b", 3, b"sealed-vector-b"),
        ]
        assert reader.blob("s1-a", "crop") == b"sealed-crop"
        assert reader.count("c1") == (1, 2)
        assert reader.last_seq() >= 9
        if sample.name != "format-1":
            assert reader.templates([1], "0123456789abcdef") == {1: b"sealed-template"}
            assert reader.job("j1") == JobRow("j1", "c1", "running", 8.0, 9.0, 10.0, b"sealed-job")
        assert reader.calibration("c1", "") == b"sealed-calibration"
        assert reader.api_key_by_lookup(b"lookup-k1") == ("k1", b"lookup-k1", b"sealed-key")
        assert reader.audit_tail() == AuditRow(1, 6.0, bytes(32), b"sealed-entry")
        assert reader.idempotent(b"lookup-i1") == (b"digest", b"sealed-answer")
        assert rows.write(lambda tx: tx.add_sample("new", "c1", "s1", b"", 1.0, {})) == 4
        rows.close()


def test_an_older_folder_is_migrated_after_a_backup_of_it(old):
    with DataFolder(old, "2.0.0", table={1: add_a_table, 2: lambda connection: None}, target=3) as data:
        assert query(data.records, "SELECT name FROM extras") == [("made",)]
        assert query(data.records, "PRAGMA user_version") == [(3,)]

    assert json.loads((old / "format.json").read_text())["format"] == 3
    copy = old / "records.db.format-1"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert query(copy, "PRAGMA user_version") == [(1,)]
    assert query(copy, "SELECT count(*) FROM samples") == [(2,)]


def test_a_migration_that_fails_leaves_the_old_format_whole(old):
    with pytest.raises(ZeroDivisionError):
        DataFolder(old, "2.0.0", table={1: add_a_table, 2: fail_half_way}, target=3)

    assert query(old / "records.db", "PRAGMA user_version") == [(1,)]
    assert query(old / "records.db", "SELECT count(*) FROM samples") == [(2,)]
    assert query(old / "records.db", "SELECT count(*) FROM sqlite_master WHERE name IN ('extras', 'half')") == [(0,)]
    with DataFolder(old, "1.0.0") as data:
        rows = SqliteRows(data.records)
        assert rows.read().count("c1") == (1, 2)
        rows.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from index.data_format import DataFolder

def half(connection):
    connection.execute("CREATE TABLE extras (name TEXT) STRICT; DELETE FROM samples")
    connection.cache_flush()
    os.kill(os.getpid(), signal.SIGKILL)

DataFolder(Path(sys.argv[1]), "2.0.0", table={1: half}, target=2)
"""


def test_a_process_killed_in_the_middle_of_a_migration_leaves_the_old_format_whole(old):
    done = subprocess.run([sys.executable, "-c", KILLED, str(old)], cwd=ROOT, check=False)
    assert done.returncode == -9

    assert query(old / "records.db", "PRAGMA user_version") == [(1,)]
    with DataFolder(old, "2.0.0") as data:
        rows = SqliteRows(data.records)
        assert rows.read().count("c1") == (1, 2)
        assert len(rows.read().samples_of("s1")) == 2
        rows.close()


def test_a_folder_that_a_process_uses_is_not_migrated_under_it(old):
    with (
        DataFolder(old, "1.0.0", table={}, target=1),
        pytest.raises(StorageUnavailable, match="stop the service"),
    ):
        DataFolder(old, "2.0.0", table={1: add_a_table}, target=2)

    assert query(old / "records.db", "PRAGMA user_version") == [(1,)]
    with DataFolder(old, "2.0.0", table={1: add_a_table}, target=2):
        pass


def test_several_processes_may_open_the_same_folder_and_make_it_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from index.data_format import DataFolder; "
        "from index.sqlite_rows import SqliteRows; data = DataFolder(Path(sys.argv[1]), '1'); "
        "SqliteRows(data.records).close(); data.close()"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], cwd=ROOT) for _ in range(4)]

    assert [process.wait() for process in started] == [0, 0, 0, 0]


def test_a_newer_folder_is_refused_and_left_alone(old):
    (old / "format.json").write_text('{"format": 7, "made_by": "9.0"}')

    with pytest.raises(DataTooNew, match="7"):
        DataFolder(old, "1.0.0")
    assert not (old / "format.lock").exists()


def test_a_newer_database_is_refused_even_if_the_statement_is_old(old):
    query(old / "records.db", "PRAGMA user_version = 7")

    with pytest.raises(DataTooNew, match="7"):
        DataFolder(old, "1.0.0")


def test_a_statement_that_lags_behind_the_database_is_mended(old):
    (old / "format.json").unlink()
    with DataFolder(old, "1.0.0", table={}, target=1):
        pass

    assert json.loads((old / "format.json").read_text())["format"] == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"format": null}', '{"format": "2027-01"}'])
def test_a_damaged_statement_is_told_as_such(old, text):
    (old / "format.json").write_text(text)

    with pytest.raises((TamperedData, DataTooNew), match=r"format\.json"):
        DataFolder(old, "1.0.0")


def test_a_format_without_a_way_forward_is_refused(old):
    with pytest.raises(StorageUnavailable, match="format 1"):
        DataFolder(old, "2.0.0", table={}, target=2)
