"""Where the audit log takes no entry, nothing is done: neither a search answered nor anything written or sent."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import httpx
import pytest

from api.app import create_app
from api.in_process import InProcessTransport
from api.wiring import Services, open_services
from lookalike.answers import Caller
from lookalike.domain import Grant
from lookalike.errors import StorageFull, StorageUnavailable
from lookalike.settings import Settings
from security.rbac import principal_for

ADMIN = principal_for("local:test", [Grant("admin")])
CALLER = Caller(ADMIN, "r-1")

SQLITE = {
    "a trigger": (
        "CREATE TRIGGER no_more BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'no'); END",
        "DROP TRIGGER no_more",
    ),
    "no table": ("ALTER TABLE audit RENAME TO hidden", "ALTER TABLE hidden RENAME TO audit"),
}
POSTGRESQL = {
    "a trigger": (
        "CREATE FUNCTION lookalike.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        " CREATE TRIGGER no_more BEFORE INSERT ON lookalike.audit FOR EACH ROW EXECUTE FUNCTION lookalike.no()",
        "DROP TRIGGER no_more ON lookalike.audit; DROP FUNCTION lookalike.no()",
    ),
    "a constraint": (
        "ALTER TABLE lookalike.audit ADD CONSTRAINT no_more CHECK (seq < 0) NOT VALID",
        "ALTER TABLE lookalike.audit DROP CONSTRAINT no_more",
    ),
    "no table": (
        "ALTER TABLE lookalike.audit RENAME TO hidden",
        "ALTER TABLE lookalike.hidden RENAME TO audit",
    ),
}


Broken = Callable[[str], AbstractContextManager[None]]


@dataclass
class Place:
    """A service with one person, and a way to keep its audit log from growing."""

    services: Services
    client: httpx.Client
    broken: Broken
    photos: dict[str, bytes]

    def enrol(self, subject: str, photo: str) -> httpx.Response:
        files = [("images", ("a.jpg", self.photos[photo]))]
        return self.client.post(f"/v1/collections/staff/subjects/{subject}/samples", files=files)

    def subjects(self) -> list[str]:
        return [s["id"] for s in self.client.get("/v1/collections/staff/subjects").json()["items"]]


@contextmanager
def place(settings: Settings, photos: dict[str, bytes], broken: Broken) -> Iterator[Place]:
    services = open_services(settings, live=True)
    transport = InProcessTransport(create_app(services))
    key = services.api_keys.create(ADMIN, "test", [Grant("admin")]).key
    client = httpx.Client(transport=transport, base_url="http://edge", headers={"x-api-key": key}, timeout=60)
    made = Place(services, client, broken, photos)
    try:
        assert client.post("/v1/collections", json={"name": "staff"}).status_code == 201
        assert made.enrol("ann", "obama.jpg").status_code == 201
        yield made
    finally:
        client.close()
        services.close()


@pytest.fixture
def sqlite(portraits, tmp_path) -> Iterator[Place]:
    def run(statement: str) -> None:
        connection = apsw.Connection(str(tmp_path / "data" / "records.db"))
        connection.set_busy_timeout(60_000)
        connection.execute(statement)
        connection.close()

    with place(Settings(data=tmp_path / "data"), portraits, breaking(run, SQLITE)) as made:
        yield made


@pytest.fixture
def postgres(postgresql, portraits, tmp_path) -> Iterator[Place]:
    name = f"audit_{secrets.token_hex(6)}"
    postgresql.run(f"CREATE DATABASE {name}")
    own = replace(postgresql, url=postgresql.database(name))
    settings = Settings(
        data=tmp_path / "data",
        records=own.url,
        postgresql_password_file=own.password_file,
        postgresql_ca=own.ca,
    )
    try:
        with place(settings, portraits, breaking(own.run, POSTGRESQL)) as made:
            yield made
    finally:
        postgresql.run(f"DROP DATABASE {name} WITH (FORCE)")


def breaking(run: Callable[[str], object], ways: dict[str, tuple[str, str]]) -> Broken:
    """Makes the audit log take no entry for a while, in one of these ways."""

    @contextmanager
    def broken(way: str) -> Iterator[None]:
        run(ways[way][0])
        try:
            yield
        finally:
            run(ways[way][1])

    return broken


def test_nothing_is_done_on_sqlite_that_cannot_be_put_on_record(sqlite: Place) -> None:
    for way in SQLITE:
        refuses_everything(sqlite, way)


@pytest.mark.service
def test_nothing_is_done_on_postgresql_that_cannot_be_put_on_record(postgres: Place) -> None:
    for way in POSTGRESQL:
        refuses_everything(postgres, way)


def refuses_everything(refusing: Place, way: str) -> None:
    client = refusing.client
    keys = len(client.get("/v1/api-keys").json()["items"])
    photo = {"image": ("a.jpg", refusing.photos["obama2.jpg"])}
    with refusing.broken(way):
        answers = {
            "identify": client.post("/v1/collections/staff/identify", files=photo),
            "verify": client.post("/v1/collections/staff/subjects/ann/verify", files=photo),
            "enrol": refusing.enrol("bob", "biden.jpg"),
            "enrol more": refusing.enrol("ann", "obama2.jpg"),
            "erase": client.delete("/v1/collections/staff/subjects/ann"),
            "erase all": client.delete("/v1/collections/staff"),
            "key": client.post("/v1/api-keys", json={"name": "k", "grants": [{"role": "viewer"}]}),
            "read": client.get("/v1/collections/staff/subjects"),
            "audit": client.get("/v1/audit"),
            "checkpoint": client.get("/v1/audit/checkpoint"),
        }
        with pytest.raises(StorageUnavailable):
            refusing.services.transfers.begin_export(CALLER, "staff", "0" * 64)
    told = {name: (answer.status_code, answer.json().get("code")) for name, answer in answers.items()}
    assert told == dict.fromkeys(answers, (503, "storage_unavailable"))
    assert all(answer.headers["retry-after"] for answer in answers.values())
    assert not any(word in answer.text for answer in answers.values() for word in ('"candidates"', '"ann"', "lk_"))
    assert refusing.subjects() == ["ann"]
    assert len(client.get("/v1/collections/staff/subjects/ann").json()["samples"]) == 1
    assert len(client.get("/v1/api-keys").json()["items"]) == keys
    found = client.post("/v1/collections/staff/identify", files=photo).json()
    assert [candidate["subject"] for candidate in found["faces"][0]["candidates"]] == ["ann"]
    assert refusing.services.audit.verify().sound


def test_a_full_disk_refuses_with_507_and_the_service_recovers_by_itself(portraits, tmp_path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        with place(Settings(data=small / "data"), portraits, breaking(str, {})) as made:
            photo = {"image": ("a.jpg", made.photos["obama2.jpg"])}
            filler = small / "filler"
            _fill(filler)
            answers = []
            while not answers or answers[-1].status_code == 200:  # what SQLite has set aside is used up first
                answers.append(made.client.post("/v1/collections/staff/identify", files=photo))
            assert (answers[-1].status_code, answers[-1].json()["code"]) == (507, "storage_full")
            assert made.enrol("bob", "biden.jpg").json()["code"] == "storage_full"
            with pytest.raises(StorageFull):
                made.services.transfers.begin_export(CALLER, "staff", "0" * 64)
            made.services.refusals.note("192.0.2.1")
            made.services.refusals.put_on_record()
            filler.unlink()
            assert made.client.post("/v1/collections/staff/identify", files=photo).status_code == 200
            assert made.subjects() == ["ann"]
            assert made.services.audit.verify().sound
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def _fill(file: Path) -> None:
    """Take all that is left of the disk."""
    with file.open("wb", buffering=0) as out:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while out.write(bytes(size)) == size:
                    continue
