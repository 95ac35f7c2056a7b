from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from index.sqlite_connection import WAL_SIZE_LIMIT_BYTES, require_safe_sqlite
from index.sqlite_rows import SqliteRows
from lookalike.errors import DataTooNew, StorageUnavailable, TamperedData, Unsafe
from lookalike.ports import AuditRow, CollectionRow, SubjectRow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "records.db"


@pytest.fixture
def rows(path):
    store = SqliteRows(path, busy_timeout_s=0.5)
    yield store
    store.close()


def fill(rows, subjects=1):
    def work(tx):
        tx.put_collection(CollectionRow("c1", b"c", b"wrapped", b"sealed", 1.0))
        for i in range(subjects):
            tx.put_subject(SubjectRow(f"s{i}", "c1", b"s%d" % i, b"wrapped-key-%d" % i, b"sealed", 1.0, 1.0))

    rows.write(work)


def bytes_on_disk(path):
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))


def test_only_the_owner_can_read_what_is_kept(path, rows):
    fill(rows)

    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.name for file in path.parent.iterdir()} >= {"records.db", "records.db-wal"}
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_what_is_kept_is_there_when_opened_again(path, rows):
    fill(rows)
    rows.close()

    again = SqliteRows(path)
    assert again.read().count("c1") == (1, 0)
    again.close()


def test_what_is_erased_and_scrubbed_is_in_no_file(path, rows):
    fill(rows, subjects=200)
    rows.write(lambda tx: tx.add_sample("a", "c1", "s77", b"canary-payload", 1.0, {"crop": b"canary-crop" * 2000}))
    assert b"wrapped-key-77" in bytes_on_disk(path)

    rows.write(lambda tx: tx.delete_subject("s77"))
    assert rows.scrub()

    left = bytes_on_disk(path)
    assert b"wrapped-key-78" in left
    for gone in (b"wrapped-key-77", b"canary-payload", b"canary-crop"):
        assert gone not in left


def test_an_erased_key_is_gone_although_a_value_of_it_was_replaced_before(path, rows):
    fill(rows)
    for version in range(5):
        rows.write(
            lambda tx, v=version: tx.put_subject(
                SubjectRow("s0", "c1", b"s0", b"rewrapped-%d" % v * 300, b"sealed", 1.0, 1.0)
            )
        )
    rows.write(lambda tx: tx.delete_subject("s0"))
    assert rows.scrub()

    assert b"rewrapped" not in bytes_on_disk(path)


def test_a_scrub_that_a_reader_holds_up_says_so_and_can_be_tried_again(path, rows):
    fill(rows)
    other = apsw.Connection(str(path))
    other.execute("BEGIN; SELECT * FROM subjects").fetchall()
    rows.write(lambda tx: tx.delete_subject("s0"))

    assert rows.scrub() is False
    other.execute("COMMIT")
    assert rows.scrub() is True
    other.close()


def test_the_log_stays_bounded_while_readers_never_pause(path, rows):
    fill(rows)
    stop = threading.Event()

    def read():
        while not stop.is_set():
            rows.read().subjects_page("c1", "", 100)
            rows.read().changes(0, 1000)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    sizes = []
    try:
        for i in range(120):
            blob = {"crop": os.urandom(1_000_000)}
            rows.write(lambda tx, i=i, blob=blob: tx.add_sample(f"x{i}", "c1", "s0", b"", 1.0, blob))
            sizes.append(path.with_name("records.db-wal").stat().st_size)
    finally:
        stop.set()
        for reader in readers:
            reader.join()

    assert max(sizes) < 3 * WAL_SIZE_LIMIT_BYTES


def test_even_someone_with_the_database_open_cannot_change_the_audit_log(path, rows):
    rows.write(lambda tx: tx.append_audit(AuditRow(1, 1.0, bytes(32), b"sealed")))
    other = apsw.Connection(str(path))
    for statement in (
        "UPDATE audit SET payload = x'00'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit VALUES (1, 2.0, zeroblob(32), x'00')",
        "INSERT INTO audit VALUES (1, 2.0, zeroblob(32), x'00') ON CONFLICT DO UPDATE SET payload = x'00'",
    ):
        with pytest.raises(apsw.ConstraintError):
            other.execute(statement)
    other.close()

    assert rows.read().audit_page(0, 10) == [AuditRow(1, 1.0, bytes(32), b"sealed")]


def test_a_write_waits_for_another_process_and_then_gives_up(path, rows):
    fill(rows)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageUnavailable, match="busy"):
        rows.write(lambda tx: tx.put_setting("a", b"1"))
    assert rows.read().count("c1") == (1, 0)

    other.execute("COMMIT")
    other.close()
    rows.write(lambda tx: tx.put_setting("a", b"2"))
    assert rows.read().get_setting("a") == b"2"


def test_a_write_inside_a_write_is_refused_instead_of_waiting_for_ever(rows):
    with pytest.raises(RuntimeError):
        rows.write(lambda tx: rows.write(lambda inner: None))
    rows.write(lambda tx: tx.put_setting("a", b"1"))


def test_a_closed_store_refuses_reads_and_writes(rows):
    rows.read().last_seq()
    rows.close()
    rows.close()

    with pytest.raises(StorageUnavailable):
        rows.read().last_seq()
    with pytest.raises(StorageUnavailable):
        rows.write(lambda tx: None)
    with pytest.raises(StorageUnavailable):
        rows.scrub()


def test_threads_that_end_leave_no_open_file_behind(path, rows):
    def open_files():
        names = []
        for descriptor in Path("/proc/self/fd").iterdir():
            try:
                names.append(os.readlink(descriptor))
            except OSError:
                continue
        return names.count(str(path))

    rows.read().last_seq()
    before = open_files()
    for _ in range(20):
        thread = threading.Thread(target=lambda: rows.read().last_seq())
        thread.start()
        thread.join()

    assert open_files() <= before + 1


def test_a_newer_format_is_refused(path, rows):
    rows.close()
    other = apsw.Connection(str(path))
    other.pragma("user_version", 99)
    other.close()

    with pytest.raises(DataTooNew, match="99"):
        SqliteRows(path)


def test_a_file_that_is_no_database_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database " * 1000)

    with pytest.raises(TamperedData):
        SqliteRows(path)


def test_a_data_folder_that_cannot_be_made_is_told_as_such(tmp_path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(StorageUnavailable):
        SqliteRows(tmp_path / "file" / "records.db")


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.7.17"])
def test_an_sqlite_that_can_lose_data_is_refused(version):
    with pytest.raises(Unsafe, match=r"3\.51\.3"):
        require_safe_sqlite(version)
    require_safe_sqlite("3.51.3")
    require_safe_sqlite("3.54.1")
    require_safe_sqlite("4.0.0")


WRITE_BESIDE_OTHERS = """
import sys
from pathlib import Path
from index.sqlite_rows import SqliteRows
rows = SqliteRows(Path(sys.argv[1]), busy_timeout_s=10.0)
for i in range(int(sys.argv[3])):
    number = rows.write(lambda tx: tx.add_sample(f"{sys.argv[2]}-{i}", "c1", "s0", b"", 1.0, {}))
    print(number, rows.read().last_seq())
rows.close()
"""


def test_several_processes_write_to_one_file_and_their_changes_have_one_order(path, rows):
    fill(rows)
    start = rows.read().last_seq()
    command = [sys.executable, "-c", WRITE_BESIDE_OTHERS, str(path)]
    processes = [
        subprocess.Popen([*command, f"p{i}", "100"], cwd=ROOT, stdout=subprocess.PIPE, text=True) for i in range(3)
    ]
    seen = [start]
    steps = []
    while any(process.poll() is None for process in processes):
        fresh = rows.read().changes(seen[-1], 1000)
        steps += fresh
        seen += [step.seq for step in fresh]
    steps += rows.read().changes(seen[-1], 1000)
    outputs = [process.communicate()[0].split("\n")[:-1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0]
    numbers = [int(line.split()[0]) for output in outputs for line in output]
    assert len(set(numbers)) == 300 == rows.read().count("c1")[1]
    # A follower that asks for what came after the last step it saw misses none.
    assert [step.seq for step in steps] == list(range(start + 1, start + 301))
    assert {step.number for step in steps} == set(numbers)


FULL_DISK = """
import resource, signal, sys, threading
from pathlib import Path
from index.sqlite_rows import SqliteRows
from lookalike.errors import StorageFull
from lookalike.ports import CollectionRow, SubjectRow

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = SqliteRows(Path(sys.argv[1]))
rows.write(lambda tx: tx.put_collection(CollectionRow("c1", b"c", b"w", b"p", 1.0)))
rows.write(lambda tx: tx.put_subject(SubjectRow("s0", "c1", b"s", b"w", b"p", 1.0, 1.0)))
kept, refused = [], []

def write(name, size=300_000):
    try:
        rows.write(lambda tx: tx.add_sample(name, "c1", "s0", b"", 1.0, {"crop": bytes(size)}))
        kept.append(name)
    except StorageFull:
        refused.append(name)

write("before")
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
threads = [threading.Thread(target=lambda w=w: [write(f"{w}-{i}") for i in range(10)]) for w in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
assert refused and len(kept) + len(refused) == 41, (len(kept), len(refused))
assert {row.id for row in rows.read().samples_of("s0")} == set(kept)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
again = list(refused); refused.clear()
for name in again:
    write(name)
assert not refused
assert {row.id for row in rows.read().samples_of("s0")} == set(kept) and len(kept) == 41
assert rows.read().count("c1") == (1, 41)
rows.close()
reopened = SqliteRows(Path(sys.argv[1]))
assert reopened.read().count("c1") == (1, 41)
reopened.close()
print("recovered")
"""


def test_a_full_disk_refuses_writes_goes_on_reading_and_recovers_by_itself(path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.stdout.strip() == "recovered", done.stderr
