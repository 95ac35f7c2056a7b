from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from index.elastic_cluster import ElasticCluster, ElasticOptions
from index.elastic_tls import ClientContext
from lookalike.errors import BadSettings
from tests.api.tls_service import Authority
from tests.conftest import issue_client


@pytest.fixture
def authority(tmp_path):
    made = Authority()
    (tmp_path / "ca.crt").write_bytes(made.certificate)
    (tmp_path / "ca.key").write_bytes(made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


@pytest.fixture
def asking(authority, tmp_path):
    """Connects with a context, and gives the serial number that a server which asks for a certificate has seen."""
    _, certificate, key = authority.issue()
    (tmp_path / "server.pem").write_bytes(certificate + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem")
    server.load_verify_locations(tmp_path / "ca.crt")
    server.verify_mode = ssl.CERT_REQUIRED

    def connect(context: ssl.SSLContext) -> int:
        here, there = socket.socketpair()
        seen: list[int] = []

        def answer() -> None:
            with server.wrap_socket(there, server_side=True) as held:
                seen.append(int(held.getpeercert()["serialNumber"], 16))
                held.send(b"x")

        thread = threading.Thread(target=answer)
        thread.start()
        with context.wrap_socket(here, server_hostname="localhost") as spoken:
            spoken.recv(1)
        thread.join()
        return seen[0]

    return connect


def serial(certificate: Path) -> int:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number


def test_a_renewed_certificate_is_shown_by_the_next_connection_and_a_broken_one_is_not(asking, tmp_path) -> None:
    def issue() -> tuple[Path, Path]:
        return issue_client("service", tmp_path / "ca.crt", tmp_path / "ca.key", tmp_path)

    certificate, key = issue()
    context = ClientContext(certificate, key, tmp_path / "ca.crt")
    first = serial(certificate)
    assert asking(context) == first
    issue()
    second = serial(certificate)
    assert second != first and asking(context) == second
    key.write_bytes(b"half")
    assert asking(context) == second
    key.unlink()
    assert asking(context) == second
    issue()
    assert asking(context) == serial(certificate)


def test_files_that_hold_no_pair_are_refused_at_the_start(authority, tmp_path) -> None:
    certificate, key = issue_client("service", tmp_path / "ca.crt", tmp_path / "ca.key", tmp_path)
    key.write_bytes(b"nothing")
    with pytest.raises(BadSettings, match="LOOKALIKE_ELASTICSEARCH_CERTIFICATE"):
        ClientContext(certificate, key, tmp_path / "ca.crt")


def test_a_certificate_is_never_asked_for_in_the_clear(tmp_path) -> None:
    options = ElasticOptions("0" * 32, shown=(tmp_path / "c", tmp_path / "k"), attested=True)
    with pytest.raises(BadSettings, match="es\\+https: alone"):
        ElasticCluster("es+http://localhost:9200", options)
