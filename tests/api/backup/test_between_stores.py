"""PostgreSQL is backed up while it is written to, and half a restore into it is opened by nobody."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator

import pytest

from api.backups import verify_backup
from lookalike.errors import LedgerMismatch, RestoreUnfinished
from lookalike.settings import Settings
from tests.api.backup.conftest import Deployment
from tests.security.conftest import ENTRY, new_sample

pytestmark = pytest.mark.service


@pytest.fixture
def database(postgresql) -> Iterator[dict[str, object]]:
    """The settings of an empty database of this test's own."""
    name = f"test_{secrets.token_hex(8)}"
    postgresql.run(f"CREATE DATABASE {name}")
    yield {
        "records": postgresql.database(name),
        "postgresql_password_file": postgresql.password_file,
        "postgresql_ca": postgresql.ca,
    }
    postgresql.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def on_postgresql(database, tmp_path) -> Deployment:
    for name in ("ledger", "data"):
        (tmp_path / name).mkdir()
    return Deployment(Settings(data=tmp_path / "data", ledger=tmp_path / "ledger", **database))


def test_a_backup_of_postgresql_made_while_others_enrol_and_erase_is_one_state_and_restored_on_sqlite(
    on_postgresql, tmp_path
):
    on_postgresql.enrol("ann", "bob")
    stop, wrong = threading.Event(), []

    def busy() -> None:
        try:
            with on_postgresql.opened() as (_, records):
                where, n = records.collection("staff"), 0
                while not stop.is_set():
                    records.add_samples(where, f"person {n}", [new_sample(), new_sample()], ENTRY)
                    if n % 3 == 2:
                        records.erase_subject(where, f"person {n - 1}", ENTRY)
                    n += 1
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=busy)
    thread.start()
    files = [on_postgresql.back_up(tmp_path / f"{n}.backup").file for n in range(3)]
    stop.set()
    thread.join()
    assert wrong == []
    for file in files:
        found = verify_backup(file, on_postgresql.settings, key=on_postgresql.key, every=1).found
        assert found.counts["samples"] == 2 * found.counts["subjects"]
    on_postgresql.erase("ann")

    alone = Deployment(on_postgresql.settings.model_copy(update={"records": "sqlite:"}), on_postgresql.key)
    again, _ = alone.restore(files[-1], tmp_path / "again")
    with again.opened() as (_, records):
        listed = [subject.id for subject in records.list_subjects(records.collection("staff"), 100, None, {}).items]
    assert "ann" not in listed
    assert "bob" in listed
    with pytest.raises(LedgerMismatch):
        on_postgresql.names()


def test_what_an_interrupted_restore_left_in_a_database_is_opened_by_nobody(deployment, made, database, monkeypatch):
    target = Deployment(deployment.settings.model_copy(update=database), deployment.key)
    monkeypatch.setattr("api.backups._settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    folder = deployment.settings.data.with_name("again")
    with pytest.raises(KeyboardInterrupt):
        target.restore(made, folder)
    monkeypatch.undo()
    replica = folder.with_name("replica")
    replica.mkdir()
    for place in (folder, replica):
        with pytest.raises(RestoreUnfinished):
            Deployment(target.settings.model_copy(update={"data": place})).names()
    with pytest.raises(RestoreUnfinished, match="drop their schema"):
        target.restore(made, folder)
