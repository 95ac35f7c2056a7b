"""An app over doubled services, and a synchronous client of it in this process."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from api.app import create_app
from api.in_process import InProcessTransport
from api.peer_certificates import PEER
from api.wiring import Services, open_services
from lookalike.domain import Grant
from lookalike.settings import Settings
from security.rbac import ROLES, principal_for
from tests.api import doubles
from tests.authority import Authority, Held
from tests.issuer import AUDIENCE, Issuer, new_key

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


@dataclass
class Showing:
    """The application behind connections that show a certificate, as the server puts it into their state."""

    app: ASGIApp
    der: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = {} if self.der is None else {PEER: self.der}
        await self.app({**scope, "state": state} if scope["type"] == "http" else scope, receive, send)


@dataclass
class Connection(httpx.BaseTransport):
    """Shows a certificate with each request."""

    showing: Showing
    inner: InProcessTransport
    der: bytes

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.showing.der = self.der
        try:
            return self.inner.handle_request(request)
        finally:
            self.showing.der = None


@dataclass(frozen=True)
class Served:
    """The real services over a data folder of their own, and a client for each key."""

    services: Services
    transport: InProcessTransport

    def client(self, *grants: Grant) -> httpx.Client:
        """A client with a fresh key that holds these grants."""
        return self.sending(self.services.api_keys.create(ADMIN, "test", grants).key)

    def sending(self, secret: str, **headers: str) -> httpx.Client:
        """A client with a key or a token."""
        headers["authorization"] = f"Bearer {secret}"
        return httpx.Client(transport=self.transport, base_url="http://edge", headers=headers)


@dataclass(frozen=True)
class Real(Served):
    """With a client for each token and certificate.

    issuer: whose tokens they take, its keys in a file; authority: of client certificates; map: the file of both.
    """

    issuer: Issuer
    authority: Authority
    showing: Showing
    map: Path

    def bearer(self, *grants: Grant, subject: str = "ann") -> httpx.Client:
        """A client with a token whose groups are given these grants by the map."""
        return self.sending(self.issuer.token(subject, [group_of(grant) for grant in grants]))

    def holder(self, held: Held, **headers: str) -> httpx.Client:
        """A client whose connections show a certificate."""
        transport = Connection(self.showing, self.transport, held.der)
        return httpx.Client(transport=transport, base_url="http://edge", headers=headers)

    def certified(self, grant: Grant) -> httpx.Client:
        """A client with a certificate whose unit is given this grant by the map."""
        return self.holder(self.authority.issue(f"CN=gate,OU={group_of(grant)}"))


def group_of(grant: Grant) -> str:
    """The group, and the unit of certificates, that the map gives a grant."""
    return f"{grant.role} of {grant.collection or 'all'}"


def written_map(scopes: tuple[str | None, ...]) -> str:
    """A map that gives each role on each of these to a group and to a unit of certificates."""
    entries = []
    for role in ROLES:
        for scope in scopes:
            group = group_of(Grant(role, scope))
            last = f'role = "{role}"\n' + ("" if scope is None else f'collections = ["{scope}"]\n')
            entries += [f'[[grant]]\ngroup = "{group}"\n{last}', f'[[grant]]\ncertificate = "OU={group}"\n{last}']
    return "\n".join(entries)


ADMIN = principal_for("local:test", [Grant("admin")])


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder = tmp_path_factory.mktemp("real")
    issuer, authority = Issuer("https://issuer.example", folder, [new_key()]), Authority()
    (folder / "keys.json").write_bytes(issuer.jwks())
    (folder / "clients.crt").write_bytes(authority.pem())
    (folder / "map.toml").write_text(written_map((None, "own", "other", "mine")))
    settings = Settings(
        data=folder / "data",
        max_refused_per_minute=100_000,
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        oidc_jwks=folder / "keys.json",
        tls_client_ca=folder / "clients.crt",
        identity_map=folder / "map.toml",
    )
    made = open_services(settings, live=True)
    showing = Showing(create_app(made))
    transport = InProcessTransport(showing)
    yield Real(made, transport, issuer, authority, showing, folder / "map.toml")
    transport.close()
    made.close()


@pytest.fixture
def gallery(real: Real) -> Iterator[tuple[httpx.Client, str]]:
    """An admin's client, and the path of an empty collection."""
    client = real.client(Grant("admin"))
    name = secrets.token_hex(6)
    assert client.post("/v1/collections", json={"name": name}).status_code == 201
    yield client, f"/v1/collections/{name}"
