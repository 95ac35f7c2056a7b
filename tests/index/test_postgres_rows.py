from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from index.postgres_connection import connection_params, open_connection
from index.postgres_rows import PostgresRows, bring_up_to_date, describe
from lookalike.errors import Conflict, DataTooNew, StorageUnavailable
from lookalike.ports import AuditRow, CollectionRow, SubjectRow

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = CollectionRow("c1", b"c", b"wrapped", b"sealed", 1.0)
SUBJECT = SubjectRow("s0", "c1", b"s0", b"wrapped", b"sealed", 1.0, 1.0)
pytestmark = pytest.mark.service


@pytest.fixture
def rows(postgresql, schema):
    store = postgresql.rows(schema)
    yield store
    store.close()


@pytest.fixture
def connection(postgresql, schema):
    with open_connection(connection_params(postgresql.url, None), postgresql.password, schema) as connection:
        yield connection


def fill(rows):
    rows.write(lambda tx: (tx.put_collection(COLLECTION), tx.put_subject(SUBJECT)))


def processes(postgresql, script, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, postgresql.url, str(postgresql.password_file), *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


OPEN = """
import sys
from pathlib import Path
from index.postgres_connection import connection_params
from index.postgres_rows import PostgresRows
url, password, schema = sys.argv[1], Path(sys.argv[2]).read_text().strip(), sys.argv[3]
rows = PostgresRows(connection_params(url, None), lambda: password, schema)
"""

WRITE_BESIDE_OTHERS = (
    OPEN
    + """
for i in range(int(sys.argv[5])):
    number = rows.write(lambda tx: tx.add_sample(f"{sys.argv[4]}-{i}", "c1", "s0", b"", 1.0, {}))
    print(number, rows.read().last_seq())
rows.close()
"""
)


def test_several_processes_write_to_one_database_and_their_changes_have_one_order(postgresql, rows, schema):
    fill(rows)
    start = rows.read().last_seq()
    writers = [processes(postgresql, WRITE_BESIDE_OTHERS, schema, f"p{i}", "60") for i in range(3)]
    seen, steps = [start], []
    while any(process.poll() is None for process in writers):
        fresh = rows.read().changes(seen[-1], 1000)
        steps += fresh
        seen += [step.seq for step in fresh]
    steps += rows.read().changes(seen[-1], 1000)
    outputs = [process.communicate()[0].split("\n")[:-1] for process in writers]

    assert [process.returncode for process in writers] == [0, 0, 0]
    numbers = [int(line.split()[0]) for output in outputs for line in output]
    assert len(set(numbers)) == 180 == rows.read().count("c1")[1]
    # A follower that asks for what came after the last step it saw misses none.
    assert [step.seq for step in steps] == list(range(start + 1, start + 181))
    assert {step.number for step in steps} == set(numbers)


def test_two_processes_that_make_the_tables_at_once_both_find_them_made(postgresql, schema):
    started = [processes(postgresql, OPEN + "print(rows.read().last_seq())", schema) for _ in range(3)]

    assert [process.communicate()[0].strip() for process in started] == ["0", "0", "0"]


def test_a_newer_format_is_refused_at_the_start_and_by_a_process_that_writes_already(postgresql, rows, schema):
    fill(rows)
    postgresql.run(f"UPDATE {schema}.turn SET format = 99")

    with pytest.raises(DataTooNew, match="99"):
        postgresql.rows(schema)
    with pytest.raises(DataTooNew, match="99"):
        rows.write(lambda tx: tx.put_setting("a", b"1"))


def test_an_older_format_is_migrated_step_by_step_or_not_at_all(rows, connection):
    steps = {1: "CREATE TABLE second (id integer)", 2: "CREATE TABLE third (id integer)"}
    with pytest.raises(StorageUnavailable, match="cannot migrate format 2"):
        bring_up_to_date(connection, "ignored", {1: steps[1]}, 3)
    assert "format 1" in describe(connection)

    bring_up_to_date(connection, "ignored", steps, 3)

    assert "format 3" in describe(connection)
    assert connection.execute("SELECT * FROM second, third").fetchall() == []


def test_a_refused_write_tells_no_value_of_a_row(rows):
    fill(rows)
    with pytest.raises(Conflict) as refused:
        rows.write(lambda tx: tx.put_collection(replace(COLLECTION, id="canary")))

    assert "canary" not in str(refused.value)
    assert b"c".hex() not in str(refused.value).replace("collections", "")


def test_even_someone_with_the_database_open_cannot_change_the_audit_log(rows, connection):
    rows.write(lambda tx: tx.append_audit(AuditRow(1, 1.0, bytes(32), b"sealed")))
    for statement in (
        "UPDATE audit SET payload = ''",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "INSERT INTO audit SELECT 1, 2.0, chain, '' FROM audit ON CONFLICT (seq) DO UPDATE SET payload = ''",
    ):
        with pytest.raises(psycopg.IntegrityError):
            connection.execute(statement)

    assert rows.read().audit_page(0, 10) == [AuditRow(1, 1.0, bytes(32), b"sealed")]


def test_what_is_gathered_is_read_within_the_write_and_undone_with_it(rows):
    fill(rows)
    rows.write(lambda tx: tx.append_audit(AuditRow(1, 1.0, bytes(32), b"sealed")))

    def work(tx, raising):
        tx.add_sample("a", "c1", "s0", b"", 1.0, {})
        tx.append_audit(AuditRow(2, 1.0, bytes(32), b"sealed"))
        tx.append_audit(AuditRow(3, 1.0, bytes(32), b"sealed"))
        assert tx.count("c1") == (1, 1)
        assert tx.last_seq() == 3 == tx.changes(2, 10)[0].seq == tx.audit_page(0, 10)[2].seq
        assert tx.collection_by_lookup(b"c") == COLLECTION
        tx.put_collection(replace(COLLECTION, lookup=b"renamed"))
        assert tx.collection_by_lookup(b"c") is None
        if raising:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rows.write(lambda tx: work(tx, raising=True))
    assert (rows.read().count("c1"), rows.read().last_seq(), rows.read().audit_tail().seq) == ((1, 0), 2, 1)
    rows.write(lambda tx: work(tx, raising=False))
    assert (rows.read().count("c1"), rows.read().last_seq(), rows.read().audit_tail().seq) == ((1, 1), 4, 3)


def test_work_that_goes_on_after_a_refused_write_is_not_acknowledged(rows):
    fill(rows)

    def work(tx):
        tx.put_setting("before", b"1")
        with pytest.raises(Conflict):
            tx.put_collection(replace(COLLECTION, id="c2"))

    with pytest.raises(Conflict, match="passed over"):
        rows.write(work)
    assert rows.read().get_setting("before") is None


def test_what_the_database_refuses_only_at_the_end_is_told_to_those_who_wrote_it(postgresql, rows, schema):
    fill(rows)
    rows.write(lambda tx: tx.add_sample("a", "c1", "s0", b"", 1.0, {}))
    postgresql.run(f"UPDATE {schema}.counts SET samples = 0")

    with pytest.raises(Conflict, match="counts_samples_check"):
        rows.write(lambda tx: tx.delete_sample("a"))
    assert rows.read().sample_by_id("a") is not None
    rows.write(lambda tx: tx.put_setting("a", b"1"))


def test_a_write_waits_for_another_process_and_then_gives_up(rows, connection):
    fill(rows)
    with connection.transaction():
        connection.execute("SELECT 1 FROM turn FOR UPDATE")
        with pytest.raises(StorageUnavailable, match="busy"):
            rows.write(lambda tx: tx.put_setting("a", b"1"))
        assert rows.read().count("c1") == (1, 0)

    rows.write(lambda tx: tx.put_setting("a", b"2"))
    assert rows.read().get_setting("a") == b"2"


def test_connections_that_the_server_ended_are_replaced_without_anyone_noticing(postgresql, rows, schema):
    fill(rows)
    rows.read().last_seq()

    end_sessions(postgresql, schema)

    assert rows.read().count("c1") == (1, 0)
    end_sessions(postgresql, schema)
    rows.write(lambda tx: tx.put_setting("a", b"1"))
    assert rows.read().get_setting("a") == b"1"


def test_a_connection_lost_in_the_middle_of_a_write_undoes_it_and_says_so(postgresql, rows, schema):
    fill(rows)

    def work(tx):
        tx.delete_subject("s0")
        end_sessions(postgresql, schema)
        tx.put_setting("half", b"done")

    with pytest.raises(StorageUnavailable):
        rows.write(work)

    assert rows.read().count("c1") == (1, 0)
    assert rows.read().get_setting("half") is None
    assert rows.write(lambda tx: tx.add_sample("a", "c1", "s0", b"", 1.0, {})) == 1


def end_sessions(postgresql, schema):
    """End every session of the store, which is named after its schema."""
    sessions = f"FROM pg_stat_activity WHERE application_name = '{schema}'"
    assert all(ended for (ended,) in postgresql.run(f"SELECT pg_terminate_backend(pid, 5000) {sessions}"))


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


def test_more_threads_than_connections_read_side_by_side(rows):
    fill(rows)
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(rows.read().count("c1") for _ in range(20))) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [(1, 0)] * 320


def test_a_scrub_frees_the_place_of_what_was_erased(rows, connection):
    fill(rows)
    rows.write(lambda tx: [tx.add_sample(f"a{i}", "c1", "s0", bytes(500), 1.0, {}) for i in range(50)])
    rows.write(lambda tx: tx.delete_subject("s0"))
    before = connection.execute("SELECT pg_relation_size('samples')").fetchone()

    assert rows.scrub() is True

    fill(rows)
    rows.write(lambda tx: [tx.add_sample(f"b{i}", "c1", "s0", bytes(500), 1.0, {}) for i in range(50)])
    assert connection.execute("SELECT pg_relation_size('samples')").fetchone() == before


LISTS = {
    "subjects_in_order": "SELECT * FROM subjects WHERE collection_id = 'c1' AND key > 'a'"
    " ORDER BY collection_id, key LIMIT 50",
    "samples_of_subject": "SELECT * FROM samples WHERE subject_key = 's0' ORDER BY subject_key, number",
    "changes_pkey": "SELECT * FROM changes WHERE seq > 3 ORDER BY seq LIMIT 50",
}


@pytest.mark.parametrize("index", LISTS)
def test_a_page_costs_the_same_however_many_rows_there_are(rows, connection, index):
    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {LISTS[index]}").fetchall())

    assert index in plan
    assert "Sort" not in plan


def test_the_server_is_asked_for_its_certificate_where_an_authority_is_named(postgresql, schema, tmp_path):
    PostgresRows(connection_params(postgresql.url, postgresql.ca), postgresql.password, schema).close()

    other = tmp_path / "other.crt"
    make_authority(other)
    with pytest.raises(StorageUnavailable, match="certificate"):
        PostgresRows(connection_params(postgresql.url, other), postgresql.password, schema)


def make_authority(path):
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=another"]
    subprocess.run([*command, "-keyout", os.devnull, "-out", str(path)], check=True, capture_output=True)


def test_a_wrong_password_and_a_port_without_a_server_are_told_with_the_reason(postgresql, schema):
    with pytest.raises(StorageUnavailable, match="password authentication failed") as refused:
        PostgresRows(connection_params(postgresql.url, None), lambda: "canary", schema)
    assert "canary" not in str(refused.value)
    with pytest.raises(StorageUnavailable, match="refused"):
        PostgresRows(connection_params("postgresql://u@127.0.0.1:1/db", None), lambda: None, schema)


def test_a_password_that_was_changed_is_taken_over_without_a_restart(postgresql, schema):
    role, secrets = f"role_{schema}", ["first"]
    postgresql.run(f"CREATE ROLE {role} LOGIN PASSWORD 'first'")
    postgresql.run(f"GRANT CREATE ON DATABASE postgres TO {role}")
    url = postgresql.url.replace("//lookalike@", f"//{role}@")
    store = PostgresRows(connection_params(url, None), lambda: secrets[-1], schema)
    try:
        postgresql.run(f"ALTER ROLE {role} PASSWORD 'second'")
        secrets.append("second")
        end_sessions(postgresql, schema)

        store.write(lambda tx: tx.put_setting("a", b"1"))
        assert store.read().get_setting("a") == b"1"
    finally:
        store.close()
        postgresql.run(f"DROP OWNED BY {role} CASCADE")
        postgresql.run(f"DROP ROLE {role}")
