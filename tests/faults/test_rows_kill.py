"""kill -9 of a process that writes, at random moments; LOOKALIKE_KILLS says how many times (10 if not set)."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import pytest

from index.sqlite_rows import SqliteRows
from lookalike.ports import Rows
from tests.faults.killing import said_until_killed

KILLS = int(os.environ.get("LOOKALIKE_KILLS", "10"))

WRITER = """
import os, sys, threading
from pathlib import Path
from index.postgres_connection import connection_params
from index.postgres_rows import PostgresRows
from index.sqlite_rows import SqliteRows
from lookalike.ports import CollectionRow, SubjectRow

run, where = sys.argv[1], sys.argv[2:]
if len(where) == 1:
    rows = SqliteRows(Path(where[0]))
else:
    rows = PostgresRows(connection_params(where[0], None), lambda: Path(where[1]).read_text().strip(), where[2])

def enrol(worker):
    for i in range(100_000):
        name = f"{run}-{worker}-{i}"
        def work(tx):
            tx.put_subject(SubjectRow(name, "c1", name.encode(), b"wrapped", b"sealed", 1.0, 1.0))
            for j in range(2):
                tx.add_sample(f"{name}-{j}", "c1", name, b"v" * 600, 1.0, {"crop": b"c" * 3000})
        rows.write(work)
        os.write(1, (name + "\\n").encode())
        if i % 3 == 2:
            gone = f"{run}-{worker}-{i - 1}"
            rows.write(lambda tx: tx.delete_subject(gone))
            os.write(1, ("-" + gone + "\\n").encode())

rows.write(lambda tx: tx.put_collection(CollectionRow("c1", b"c", b"w", b"p", 1.0)))
threads = [threading.Thread(target=enrol, args=(worker,), daemon=True) for worker in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def store(request, tmp_path) -> tuple[list[str], Callable[[], Rows]]:
    """Where a writer finds a store, and what opens it here."""
    if request.param == "sqlite":
        path = tmp_path / "data" / "records.db"
        return [str(path)], lambda: SqliteRows(path)
    server, schema = request.getfixturevalue("postgresql"), request.getfixturevalue("schema")
    return [server.url, str(server.password_file), schema], lambda: server.rows(schema)


def test_a_writer_killed_at_random_moments_loses_and_doubles_nothing_that_it_acknowledged(store):
    where, open_store = store
    expected: set[str] = set()
    erased: set[str] = set()
    for run in range(KILLS):
        for line in said_until_killed(WRITER, run, *where, enough=random.randint(1, 60)):
            if line.startswith("-"):
                erased.add(line[1:])
            else:
                expected.add(line)

        with closing(open_store()) as rows:
            # A server may still be at what a dead process sent it; whoever writes after it sees how that ended.
            rows.write(lambda tx: tx.put_setting("turn", b""))
            subjects = Counter(row.key for row in rows.read().subjects_page("c1", "", 1_000_000))
            samples = Counter(row.subject_key for row in rows.read().samples_page("c1", 0, 1_000_000))
            numbers = [row.number for row in rows.read().samples_page("c1", 0, 1_000_000)]
            counts = rows.read().count("c1")
            steps = [step.seq for step in rows.read().changes(0, 1_000_000)]

        # An erasure may be done without having been acknowledged any more: the one after every third enrolment.
        maybe_erased = {name for name in expected if int(name.rsplit("-", 1)[1]) % 3 == 1}
        assert expected - maybe_erased <= set(subjects)
        assert not erased & set(subjects)
        assert set(subjects.values()) <= {1}
        assert all(samples[key] == 2 for key in subjects), "an enrolment stands half done"
        assert set(samples) == set(subjects)
        assert len(numbers) == len(set(numbers))
        assert counts == (len(subjects), len(numbers))
        assert steps == list(range(1, len(steps) + 1))
    assert len(expected) >= KILLS
