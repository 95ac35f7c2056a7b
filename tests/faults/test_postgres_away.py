"""PostgreSQL restarted, crashed and stopped under writes: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from index.postgres_connection import connection_params
from index.postgres_rows import PostgresRows
from lookalike.errors import StorageUnavailable
from lookalike.ports import CollectionRow, SubjectRow

RUN = Path(__file__).resolve().parents[1] / "services/postgresql/run"
WRITERS = 4
pytestmark = pytest.mark.service


class OwnServer:
    """A server of this test alone, which it may end and stop as it likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.start()

    def start(self) -> None:
        said = subprocess.run([RUN, self.folder], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.url = said.splitlines()[0].partition("=")[2]

    def processes(self) -> list[int]:
        """The server's processes, its first one first."""
        first = int((self.folder / "pid").read_text())
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    def end(self, how: signal.Signals) -> None:
        """SIGINT ends it in order, SIGQUIT at once, SIGKILL as a loss of power would."""
        found = self.processes()
        for pid in found if how is signal.SIGKILL else found[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, how)
        while Path(f"/proc/{found[0]}").exists():
            time.sleep(0.02)

    def send(self, how: signal.Signals) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, how)

    def rows(self) -> PostgresRows:
        password = (self.folder / "password").read_text().strip()
        return PostgresRows(connection_params(self.url, None), lambda: password)


@pytest.fixture
def server(postgresql) -> Iterator[OwnServer]:
    """Started only where the tests' own server is, so that one can be started here; where its user can reach it."""
    with tempfile.TemporaryDirectory() as folder:
        made = OwnServer(Path(folder) / "postgresql")
        yield made
        made.send(signal.SIGCONT)
        made.end(signal.SIGQUIT)


class Writer(threading.Thread):
    """Enrols until told to stop, each subject until it is acknowledged, and notes what was refused in between."""

    def __init__(self, rows: PostgresRows, number: int) -> None:
        super().__init__()
        self.rows = rows
        self.number = number
        self.acknowledged: list[str] = []
        self.refused = 0
        self.enough = threading.Event()

    def run(self) -> None:
        i = 0
        while not self.enough.is_set():
            name = f"{self.number}-{i}"
            try:
                self.rows.write(lambda tx, name=name: enrol(tx, name))
            except StorageUnavailable:
                self.refused += 1
                time.sleep(0.05)
            else:
                self.acknowledged.append(name)
                i += 1


def enrol(tx, name: str) -> None:
    if not tx.subjects([name]):
        tx.put_subject(SubjectRow(name, "c1", name.encode(), b"wrapped", b"sealed", 1.0, 1.0))
    tx.add_sample(f"{name}-sample", "c1", name, b"v" * 600, 1.0, {"crop": b"c" * 3000})


def wait_for(writers: list[Writer], more: int) -> None:
    """Until each writer has had so many more things acknowledged, and is writing again after an outage."""
    wanted = [len(writer.acknowledged) + more for writer in writers]
    while any(len(writer.acknowledged) < target for writer, target in zip(writers, wanted, strict=True)):
        time.sleep(0.01)


def test_a_server_that_is_restarted_and_crashes_under_writes_loses_and_doubles_nothing(server):
    rows = server.rows()
    rows.write(lambda tx: tx.put_collection(CollectionRow("c1", b"c", b"w", b"p", 1.0)))
    writers = [Writer(rows, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            wait_for(writers, 5)
            server.end(how)
            server.start()
        wait_for(writers, 5)
    finally:
        for writer in writers:
            writer.enough.set()
            writer.join()

    acknowledged = {name for writer in writers for name in writer.acknowledged}
    reader = rows.read()
    subjects = [row.key for row in reader.subjects_page("c1", "", 1_000_000)]
    samples = [row.subject_key for row in reader.samples_page("c1", 0, 1_000_000)]
    # A writer that was told to stop while it was refused may have been kept once more than it knows.
    assert acknowledged <= set(subjects) and len(subjects) - len(acknowledged) <= WRITERS
    assert sorted(samples) == sorted(subjects)
    assert reader.count("c1") == (len(subjects), len(samples))
    assert [step.seq for step in reader.changes(0, 1_000_000)] == list(range(1, 2 + 2 * len(subjects)))
    assert sum(writer.refused for writer in writers) > 0
    rows.close()


def test_a_server_that_hangs_refuses_reads_and_writes_and_is_used_again_when_it_goes_on(server):
    rows = server.rows()
    rows.write(lambda tx: tx.put_setting("a", b"1"))
    rows.read().get_setting("a")

    server.send(signal.SIGSTOP)
    with pytest.raises(StorageUnavailable):
        rows.read().get_setting("a")
    with pytest.raises(StorageUnavailable):
        rows.write(lambda tx: tx.put_setting("a", b"2"))
    assert rows.scrub() is False
    server.send(signal.SIGCONT)

    insist(lambda: rows.write(lambda tx: tx.put_setting("a", b"3")))
    assert rows.read().get_setting("a") == b"3"
    rows.close()


def test_a_server_that_hangs_in_a_commit_leaves_the_outcome_open_and_a_second_try_doubles_nothing(server):
    rows = server.rows()
    rows.write(lambda tx: tx.put_collection(CollectionRow("c1", b"c", b"w", b"p", 1.0)))

    def enrol_and_stop(tx):
        enrol(tx, "s1")
        server.send(signal.SIGSTOP)

    with pytest.raises(StorageUnavailable):
        rows.write(enrol_and_stop)
    server.send(signal.SIGCONT)

    insist(lambda: rows.write(lambda tx: enrol(tx, "s1")))
    assert rows.read().count("c1") == (1, 1)
    assert len(rows.read().samples_of("s1")) == 1
    rows.close()


def insist(work) -> None:
    """Do it as soon as the server takes it."""
    while True:
        with suppress(StorageUnavailable):
            return work()
        time.sleep(0.05)
