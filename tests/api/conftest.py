"""An app over doubled services, and a synchronous client of it in this process."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from api.app import create_app
from api.in_process import InProcessTransport
from api.wiring import Services, open_services
from lookalike.domain import Grant
from lookalike.settings import Settings
from security.rbac import principal_for
from tests.api import doubles

Connect = Callable[..., httpx.Client]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[doubles.Services]:
    made = doubles.services(tmp_path)
    yield made
    made.close()


@pytest.fixture
def connect() -> Iterator[Callable[[doubles.Services, str | None], httpx.Client]]:
    """Makes a client for services, with a key or none."""
    made: list[httpx.Client] = []

    def client(services: doubles.Services, key: str | None = None) -> httpx.Client:
        headers = {} if key is None else {"x-api-key": key}
        transport = InProcessTransport(create_app(services))
        made.append(httpx.Client(transport=transport, base_url="http://edge", headers=headers))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.fixture
def admin(services: doubles.Services, connect: Connect) -> httpx.Client:
    return connect(services, "admin")


@pytest.fixture
def stranger(services: doubles.Services, connect: Connect) -> httpx.Client:
    return connect(services)


@dataclass(frozen=True)
class Real:
    """The real services over a data folder of their own, and a client for each key."""

    services: Services
    transport: InProcessTransport

    def client(self, *grants: Grant) -> httpx.Client:
        """A client with a fresh key that holds these grants."""
        key = self.services.api_keys.create(ADMIN, "test", grants).key
        return httpx.Client(transport=self.transport, base_url="http://edge", headers={"x-api-key": key})


ADMIN = principal_for("local:test", [Grant("admin")])


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    settings = Settings(data=tmp_path_factory.mktemp("real") / "data", max_refused_per_minute=100_000)
    made = open_services(settings, live=True)
    transport = InProcessTransport(create_app(made))
    yield Real(made, transport)
    transport.close()
    made.close()


@pytest.fixture
def gallery(real: Real) -> Iterator[tuple[httpx.Client, str]]:
    """An admin's client, and the path of an empty collection."""
    client = real.client(Grant("admin"))
    name = secrets.token_hex(6)
    assert client.post("/v1/collections", json={"name": name}).status_code == 201
    yield client, f"/v1/collections/{name}"
