"""Client certificates over a real connection: who is let in by the handshake, who by the map, and who no longer."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.authority import Authority, Held

SCRIPT = Path(__file__).with_name("serve_certified.py")
DEADLINE_S = 60.0
MAP = '[[grant]]\ncertificate = "OU=gates,O=Example"\nrole = "identifier"\n'
GATE = "CN=gate-1,OU=gates,O=Example"


@dataclass
class Running:
    url: str
    folder: Path
    authority: Authority

    def client(self, held: Held | None = None, **headers: str) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if held is not None:
            context.load_cert_chain(*held.files(self.folder))
        return httpx.Client(base_url=self.url, headers=headers, verify=context, timeout=20)

    def status(self, held: Held | None = None, path: str = "/v1/limits", **headers: str) -> int:
        with self.client(held, **headers) as client:
            return client.get(path).status_code


Launch = Callable[..., Running]


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    started: list[subprocess.Popen[str]] = []

    def run(**settings: object) -> Running:
        folder, authority = tmp_path_factory.mktemp("certified"), Authority()
        (folder / "clients.crt").write_bytes(authority.pem())
        (folder / "clients.crl").write_bytes(authority.revocations())
        (folder / "map.toml").write_text(MAP)
        arguments = [f"{name}={str(value).format(folder=folder)}" for name, value in settings.items()]
        command = [sys.executable, str(SCRIPT), str(folder), *arguments]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        started.append(process)
        said = process.stdout.readline().split()
        assert said[:1] == ["ready"], (folder / "log").read_text()
        return Running(said[1], folder, authority)

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def optional(launch: Launch) -> Running:
    return launch(tls_client_crl="{folder}/clients.crl")


@pytest.fixture(scope="module")
def required(launch: Launch) -> Running:
    return launch(tls_client_certificates="required")


def test_the_certificate_of_the_connection_says_who_asks(optional):
    assert optional.status(optional.authority.issue(GATE)) == 200
    assert optional.status(optional.authority.issue("CN=gate-1,OU=others,O=Example")) == 403
    assert optional.status() == 401
    assert optional.status(path="/healthz") == 200


def test_two_connections_side_by_side_are_each_their_own(optional):
    with optional.client(optional.authority.issue(GATE)) as gate, optional.client() as nobody:
        for _ in range(5):
            assert gate.get("/v1/limits").status_code == 200
            assert nobody.get("/v1/limits").status_code == 401


@pytest.mark.parametrize("wrong", ["authority", "usage", "time"])
def test_a_certificate_that_is_not_of_the_authority_or_for_clients_gets_no_connection(optional, wrong):
    held = {
        "authority": lambda: Authority(name="CN=Test CA").issue(GATE),
        "usage": lambda: optional.authority.issue(GATE, usage=ExtendedKeyUsageOID.SERVER_AUTH),
        "time": lambda: optional.authority.issue(GATE, days=-1),
    }[wrong]()
    with pytest.raises(httpx.TransportError):
        optional.status(held)
    assert optional.status(path="/healthz") == 200


def test_where_certificates_are_required_nobody_speaks_without_one(required):
    with pytest.raises(httpx.TransportError):
        required.status(path="/healthz")
    assert required.status(required.authority.issue(GATE)) == 200


def test_a_certificate_that_a_new_list_revokes_is_refused_also_on_a_connection_that_is_open(optional):
    revoked, other = optional.authority.issue(GATE), optional.authority.issue(GATE)
    list_ = optional.folder / "clients.crl"
    with optional.client(revoked) as client:
        assert client.get("/v1/limits").status_code == 200
        list_.write_bytes(optional.authority.revocations(revoked))
        until(lambda: client.get("/v1/limits").status_code == 401)
        assert "revoked" in client.get("/v1/limits").json()["detail"]
    assert optional.status(revoked) == 401
    assert optional.status(other) == 200


def test_a_resumed_session_carries_the_certificate_and_its_revocation(optional):
    held = optional.authority.issue(GATE)
    context = ssl.create_default_context(cafile=str(optional.folder / "ca.crt"))
    context.load_cert_chain(*held.files(optional.folder))

    def ask(session: ssl.SSLSession | None = None) -> tuple[int, bool, ssl.SSLSession | None]:
        host, port = optional.url.partition("//")[2].split(":")
        with (
            socket.create_connection((host, int(port)), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as spoken,
        ):
            spoken.sendall(b"GET /v1/limits HTTP/1.1\r\nhost: localhost\r\n\r\n")
            return int(spoken.recv(65536).split()[1]), spoken.session_reused, spoken.session

    status, _, session = ask()
    assert status == 200
    assert ask(session)[:2] == (200, True)
    (optional.folder / "clients.crl").write_bytes(optional.authority.revocations(held))
    until(lambda: optional.status(held) == 401)
    assert ask(session)[0] == 401


@pytest.mark.parametrize(
    ("text", "said"), [("nonsense", "PEM"), ("of another", "not signed by an authority")], ids=["nonsense", "forged"]
)
def test_a_list_that_is_no_list_or_another_authority_s_changes_nothing(optional, text, said):
    revoked = optional.authority.issue(GATE)
    list_ = optional.folder / "clients.crl"
    list_.write_bytes(optional.authority.revocations(revoked))
    until(lambda: optional.status(revoked) == 401)
    list_.write_bytes(b"nonsense" if text == "nonsense" else Authority().revocations())
    until(lambda: optional.status(revoked) == 401 and said in (optional.folder / "log").read_text())
    assert optional.status(revoked) == 401
    assert optional.status(optional.authority.issue(GATE)) == 200


def test_a_list_that_is_out_of_date_lets_nobody_in(optional):
    held = optional.authority.issue(GATE)
    list_ = optional.folder / "clients.crl"
    list_.write_bytes(optional.authority.revocations(days=-1))
    until(lambda: optional.status(held) == 401)
    list_.write_bytes(optional.authority.revocations())
    until(lambda: optional.status(held) == 200)


def until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.1)
