"""The console over the real services in this process, and browsers' cookies as httpx keeps them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from api.app import create_app
from api.in_process import InProcessTransport
from api.wiring import Services, open_services
from lookalike.domain import Grant
from lookalike.settings import Settings
from security.rbac import principal_for

ADMIN = principal_for("local:test", [Grant("admin")])
URL = "https://edge"


@dataclass
class Visitor:
    """Somebody with a browser: a cookie jar, and the token of the page that was seen last."""

    client: httpx.Client
    token: str = ""

    def get(self, path: str, **options: object) -> httpx.Response:
        answer = self.client.get(path, **options)
        found = re.search(r'data-csrf="([^"]*)"', answer.text)
        self.token = found.group(1) if found else self.token
        return answer

    def post(self, path: str, /, **fields: str) -> httpx.Response:
        """Send a form of the page."""
        return self.client.post(path, data={"csrf": self.token, **fields})

    def send(self, path: str, files: object, **headers: str) -> httpx.Response:
        """Send pictures as the page's script does."""
        return self.client.post(path, files=files, headers={"x-csrf-token": self.token, **headers})


@dataclass(frozen=True)
class Console:
    services: Services
    transport: InProcessTransport

    def key(self, *grants: Grant) -> str:
        return self.services.api_keys.create(ADMIN, "test", grants).key

    def stranger(self) -> Visitor:
        return Visitor(httpx.Client(transport=self.transport, base_url=URL))

    def visitor(self, *grants: Grant, key: str | None = None) -> Visitor:
        """Somebody who signed in with a key that holds these grants."""
        made = self.stranger()
        answer = made.client.post("/console/sign-in", data={"key": key or self.key(*grants)})
        assert answer.status_code == 303, answer.text
        made.get("/")
        return made


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    made = open_services(Settings(data=tmp_path_factory.mktemp("console") / "data"), live=True)
    transport = InProcessTransport(create_app(made))
    yield Console(made, transport)
    transport.close()
    made.close()


@pytest.fixture
def admin(console: Console) -> Visitor:
    return console.visitor(Grant("admin"))


@pytest.fixture
def collection(admin: Visitor) -> str:
    """The name of an empty collection."""
    name = f"c{secrets.token_hex(4)}"
    assert admin.post("/console/new-collection", name=name, target_fpir="0.01").status_code == 303
    return name
