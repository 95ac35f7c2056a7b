"""Opens a copy of a kept sample with the present program, as a service in this process."""

from __future__ import annotations

import secrets
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.in_process import InProcessTransport
from api.wiring import Services, open_services
from lookalike.settings import Settings
from tests.conftest import PostgresServer
from tests.upgrade.make_sample import KEY, SAMPLES


@dataclass(frozen=True)
class Opened:
    """The services over a data folder, and an admin's client of them."""

    services: Services
    client: httpx.Client


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of converted models, which samples go without; filled by the first that is opened."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def unpack(tmp_path: Path, models: Path) -> Callable[[str], Path]:
    """Lays a sample out as a data folder of this test's own."""

    def lay_out(name: str) -> Path:
        data = tmp_path / "data"
        with tarfile.open(SAMPLES / f"{name}.tar.xz") as tar:
            tar.extractall(data, filter="data")
        (data / "models").symlink_to(models)
        return data

    return lay_out


@pytest.fixture
def database(postgresql: PostgresServer) -> Iterator[str]:
    """The URL of an empty database that is this test's own, and is dropped after it."""
    name = f"test_{secrets.token_hex(8)}"
    postgresql.run(f"CREATE DATABASE {name}")
    yield postgresql.database(name)
    postgresql.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def open_folder() -> Iterator[Open]:
    """Opens a data folder as a service would; further settings may be given."""
    with ExitStack() as stack:

        def opened(data: Path, **settings: object) -> Opened:
            services = open_services(Settings(data=data, **settings), live=True)
            stack.callback(services.close)
            transport = InProcessTransport(create_app(services))
            stack.callback(transport.close)
            headers = {"x-api-key": KEY}
            return Opened(services, httpx.Client(transport=transport, base_url="http://edge", headers=headers))

        yield opened
