"""The topology of the profile `scale` as processes: two replicas, their PostgreSQL, and HAProxy with its real file."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.client import Client
from tests import elastic
from tests.deploy.compose import ROOT, environment_of, load
from tests.e2e.conftest import Installation

DEADLINE_S = 60
WITHOUT_ELASTICSEARCH = {"LOOKALIKE_PROFILE": "single", "LOOKALIKE_INDEX": "faiss:"}


def soon(check: Callable[[], bool]) -> bool:
    """Whether it comes to hold within a minute."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.05)
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


@pytest.fixture(scope="session")
def made_secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What deploy/make-secrets makes, belonging to whoever runs the tests."""
    folder = tmp_path_factory.mktemp("deployment") / "secrets"
    subprocess.run([ROOT / "deploy/make-secrets", "--mine", folder], capture_output=True, check=True)
    return folder


def address(replica: Installation) -> str:
    """HOST:PORT."""
    return replica.url.removeprefix("https://")


@dataclass
class Proxy:
    """HAProxy with deploy/haproxy/haproxy.cfg."""

    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [os.environ["LOOKALIKE_TEST_HAPROXY"], "-f", ROOT / "deploy/haproxy/haproxy.cfg"],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self.environment['LOOKALIKE_METRICS']}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def ready(self) -> set[str]:
        """The names of the replicas that get new connections."""
        try:
            lines = self.metrics().splitlines()
        except OSError:
            return set()
        start = 'haproxy_server_status{proxy="ready",server="'
        return {
            line.split('"')[3]
            for line in lines
            if line.startswith(start) and 'state="UP"' in line and line.endswith(" 1")
        }

    def connections(self, server: str) -> int:
        """How many connections a replica was given so far."""
        start = f'haproxy_server_sessions_total{{proxy="ready",server="{server}"}} '
        return next(int(line.removeprefix(start)) for line in self.metrics().splitlines() if line.startswith(start))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Topology:
    """replicas: api-1 and api-2, both serving; through(): a client that knows only HAProxy's address."""

    replicas: tuple[Installation, Installation]
    proxy: Proxy
    ca: Path

    def through(self, retries: int = 20) -> Client:
        url = f"https://{self.proxy.environment['LOOKALIKE_LISTEN']}"
        return Client(url, api_key=self.replicas[0].key, ca=self.ca, retries=retries)


@pytest.fixture(scope="session")
def topology(
    haproxy: str, postgresql, made_secrets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Topology]:
    """Each process has the environment that docker-compose.yml gives it, but for addresses of the test servers."""
    folder = tmp_path_factory.mktemp("scale")
    compose = load()
    database = f"test_{secrets.token_hex(8)}"
    postgresql.run(f"CREATE DATABASE {database}")
    certificate, private = postgresql.certificate("lookalike", folder)
    servers = {
        "LOOKALIKE_RECORDS": postgresql.database(database),
        "LOOKALIKE_POSTGRESQL_PASSWORD_FILE": str(postgresql.password_file),
        "LOOKALIKE_POSTGRESQL_CA": str(postgresql.ca),
        "LOOKALIKE_POSTGRESQL_CERTIFICATE": str(certificate),
        "LOOKALIKE_POSTGRESQL_KEY": str(private),
        **(elastic.settings() if "LOOKALIKE_TEST_ELASTICSEARCH" in os.environ else WITHOUT_ELASTICSEARCH),
    }
    replicas = []
    for name in ("api-1", "api-2"):
        (folder / name).mkdir()
        given = environment_of(compose, name, made_secrets)
        key = Path(given["LOOKALIKE_BOOTSTRAP_KEY_FILE"]).read_text().strip()
        replicas.append(Installation(folder / name, {**given, **servers}, key=key, ca=made_secrets / "ca.crt"))
    # One after the other: the first one makes the tables and takes the admin key from its file.
    for replica in replicas:
        replica.start().close()
    proxy = Proxy(
        {
            "LOOKALIKE_LISTEN": f"127.0.0.1:{free_port()}",
            "LOOKALIKE_METRICS": f"127.0.0.1:{free_port()}",
            "LOOKALIKE_PROXY_CA": str(made_secrets / "ca.crt"),
            "LOOKALIKE_API_1": address(replicas[0]),
            "LOOKALIKE_API_2": address(replicas[1]),
        },
        folder / "haproxy.log",
    )
    assert set(compose["services"]["haproxy"]["environment"]) <= set(proxy.environment)
    proxy.start()
    try:
        assert soon(lambda: proxy.ready() == {"api-1", "api-2"}), proxy.log.read_text()
        yield Topology((replicas[0], replicas[1]), proxy, made_secrets / "ca.crt")
    finally:
        proxy.stop()
        for replica in replicas:
            if replica.process is not None:
                replica.stop(signal.SIGKILL)
        postgresql.run(f"DROP DATABASE {database} WITH (FORCE)")
