"""An app over doubled services, and a synchronous client of it in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from api.app import create_app
from api.in_process import InProcessTransport
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
