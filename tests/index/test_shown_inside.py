"""The service shows real servers inside the deployment who it is, by a certificate, and is refused without one."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from index.elastic_cluster import ElasticCluster
from index.postgres_connection import connection_params
from index.postgres_rows import PostgresRows
from lookalike.errors import IndexUnavailable, StorageUnavailable
from tests import elastic
from tests.conftest import PostgresServer, issue_client

pytestmark = pytest.mark.service
ROLE = "certified"


@pytest.fixture
def certified(postgresql: PostgresServer, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL of a database whose owner must show a certificate, and that role's password."""
    password, database = secrets.token_hex(16), f"test_{secrets.token_hex(8)}"
    if not postgresql.run(f"SELECT 1 FROM pg_roles WHERE rolname = '{ROLE}'"):
        postgresql.run(f"CREATE ROLE {ROLE} LOGIN")
    postgresql.run(f"ALTER ROLE {ROLE} PASSWORD '{password}'")
    postgresql.run(f"CREATE DATABASE {database} OWNER {ROLE}")
    yield postgresql.database(database).replace("lookalike@127.0.0.1", f"{ROLE}@localhost"), password
    postgresql.run(f"DROP DATABASE {database} WITH (FORCE)")


def test_postgresql_that_asks_for_a_certificate_is_shown_one(postgresql, certified, tmp_path) -> None:
    url, password = certified
    shown = postgresql.certificate(ROLE, tmp_path)
    rows = PostgresRows(connection_params(url, postgresql.ca, shown), lambda: password)
    rows.close()
    with psycopg.connect(url, password=password, sslcert=str(shown[0]), sslkey=str(shown[1])) as seen:
        assert seen.execute("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (
            f"/CN={ROLE}",
        )


def test_without_it_or_with_that_of_another_role_or_authority_it_lets_nobody_in(
    postgresql, certified, tmp_path
) -> None:
    url, password = certified
    files = ["-keyout", tmp_path / "ca.key", "-out", tmp_path / "ca.crt"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=another", *files],
        check=True,
        capture_output=True,
    )
    (tmp_path / "foreign").mkdir()
    shown = {
        "none": None,
        "of another role": postgresql.certificate("somebody", tmp_path),
        "of another authority": issue_client(ROLE, tmp_path / "ca.crt", tmp_path / "ca.key", tmp_path / "foreign"),
    }
    for name, pair in shown.items():
        with pytest.raises(StorageUnavailable, match="PostgreSQL cannot be used"):
            PostgresRows(connection_params(url, postgresql.ca, pair), lambda: password)
        assert name


# ------------------------------------------------------------------------------------------- Elasticsearch

HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend guarded
  bind 127.0.0.1:{port} ssl crt {folder}/server.pem ca-file {folder}/ca.crt verify required ssl-min-ver TLSv1.3
  default_backend node
backend node
  server node 127.0.0.1:{node} ssl ca-file {certs}/ca.crt verifyhost localhost
"""


@pytest.fixture
def guarded(haproxy: str, tmp_path: Path) -> Iterator[str]:
    """The URL of the cluster behind a door that asks each caller for a certificate of the cluster's authority."""
    node = int(elastic.url().rpartition(":")[2])
    certs = elastic.home() / "home/config/certs"
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    (tmp_path / "server.pem").write_bytes((certs / "es.crt").read_bytes() + (certs / "es.key").read_bytes())
    (tmp_path / "ca.crt").write_bytes((certs / "ca.crt").read_bytes())
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(port=port, folder=tmp_path, node=node, certs=certs))
    process = subprocess.Popen([haproxy, "-f", tmp_path / "haproxy.cfg"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            break
        except OSError:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
    yield f"es+https://admin@localhost:{port}"
    process.kill()
    process.wait()


def test_elasticsearch_behind_a_door_that_asks_for_a_certificate_is_shown_one(guarded, tmp_path) -> None:
    certs = elastic.home() / "home/config/certs"
    shown = issue_client("lookalike", certs / "ca.crt", certs / "ca.key", tmp_path)
    cluster = ElasticCluster(guarded, elastic.options(shown=shown))
    assert cluster.ask(lambda client: client.info())["version"]["number"].startswith("9.")
    cluster.close()

    without = ElasticCluster(guarded, elastic.options())
    with pytest.raises(IndexUnavailable):
        without.ask(lambda client: client.info())
    without.close()
