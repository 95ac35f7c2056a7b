"""Two services with data folders of their own on one PostgreSQL: what one is told, the other knows."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.client import Client, ClientError
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.service, pytest.mark.slow]


@pytest.fixture
def replicas(postgresql, tmp_path: Path) -> Iterator[tuple[Installation, Installation]]:
    """Two installations with one database and one root key; none runs yet."""
    database = f"test_{secrets.token_hex(8)}"
    postgresql.run(f"CREATE DATABASE {database}")
    (tmp_path / "root.key").write_bytes(os.urandom(32))
    (tmp_path / "root.key").chmod(0o400)
    settings = {
        "LOOKALIKE_RECORDS": postgresql.database(database),
        "LOOKALIKE_POSTGRESQL_PASSWORD_FILE": str(postgresql.password_file),
        "LOOKALIKE_POSTGRESQL_CA": str(postgresql.ca),
        "LOOKALIKE_KEYS": f"file:{tmp_path / 'root.key'}",
    }
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(Installation(tmp_path / name, dict(settings)))
    yield made[0], made[1]
    for installation in made:
        if installation.process is not None:
            installation.stop(signal.SIGKILL)
    postgresql.run(f"DROP DATABASE {database} WITH (FORCE)")


def names(client: Client, picture: bytes) -> set[str]:
    found = client.identify("staff", picture, faces="largest")
    return {candidate["subject"] for candidate in found["faces"][0]["candidates"]}


def soon(check: Callable[[], bool]) -> bool:
    """Whether it holds within ten seconds; how soon it does is for benchmarks/records.py to say."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.05)
    return False


def test_whom_one_replica_enrols_or_erases_the_other_knows_or_forgets(replicas, portraits) -> None:
    first, second = replicas
    with first.start() as a, second.start() as b:
        a.create_collection("staff")
        sample = a.enrol("staff", "Barack Obama", portraits["obama.jpg"], idempotency_key="one")["samples"][0]["id"]
        assert soon(lambda: names(b, portraits["obama2.jpg"]) == {"Barack Obama"})

        again = b.enrol("staff", "Barack Obama", portraits["obama.jpg"], idempotency_key="one")
        assert again["samples"][0]["id"] == sample
        assert b.collection("staff")["samples"] == 1

        first.stop(signal.SIGKILL)
        b.enrol("staff", "Joe Biden", portraits["biden.jpg"])
        assert names(b, portraits["obama2.jpg"]) == {"Barack Obama"}

    with first.start() as a, second.client() as b:
        b.erase("staff", "Barack Obama")
        assert soon(lambda: names(a, portraits["obama2.jpg"]) == set())
        assert names(a, portraits["biden.jpg"]) == {"Joe Biden"}

    done = first.command("audit", "verify")
    assert done.returncode == 0, done.stderr
    # The command on a folder that never held a service reads the same records.
    assert second.json("collections", "show", "staff")["subjects"] == 1


def test_a_replica_with_another_root_key_or_none_is_refused(replicas, tmp_path: Path) -> None:
    first, second = replicas
    first.json("collections", "create", "staff")

    second.settings["LOOKALIKE_KEYS"] = "file:keys/root.key"
    missing = second.command("collections", "list")
    assert (missing.returncode, "root key is missing" in missing.stderr) == (1, True)

    other = tmp_path / "other.key"
    other.write_bytes(os.urandom(32))
    other.chmod(0o400)
    second.settings["LOOKALIKE_KEYS"] = f"file:{other}"
    wrong = second.command("collections", "list")
    assert (wrong.returncode, "not the key" in wrong.stderr) == (1, True)


def test_a_data_folder_with_records_of_its_own_is_not_passed_over_in_silence(replicas) -> None:
    first, _ = replicas
    first.command("collections", "create", "staff", LOOKALIKE_RECORDS="sqlite:")

    refused = first.command("collections", "list")

    assert refused.returncode == 1
    assert "records.db" in refused.stderr


def test_a_service_whose_database_refuses_connections_says_so_and_recovers_by_itself(
    replicas, postgresql, portraits
) -> None:
    first, _ = replicas
    database = first.settings["LOOKALIKE_RECORDS"].rpartition("/")[2]
    with first.start() as client:
        client.create_collection("staff")
        client.enrol("staff", "Joe Biden", portraits["biden.jpg"])
        postgresql.run(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false")
        postgresql.run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'")
        assert soon(lambda: not client.ready())
        with pytest.raises(ClientError) as refused:
            client.identify("staff", portraits["biden.jpg"])
        assert refused.value.status == 503

        postgresql.run(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true")
        assert soon(lambda: client.ready())
        assert names(client, portraits["biden.jpg"]) == {"Joe Biden"}
    assert postgresql.password() not in (first.folder / "service.log").read_text()
