from __future__ import annotations

import datetime

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from lookalike.errors import BadSettings, KeyUnavailable, TamperedData
from security.certificates import make_ca, make_server
from security.client_pair import require_client_pair
from tests.conftest import issue_client

NOW = datetime.datetime.now(datetime.UTC)


def unsealed(key: bytes) -> bytes:
    return load_pem_private_key(key, b"p").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def pair(tmp_path):
    ca = make_ca("test", b"p", NOW)
    (tmp_path / "ca.crt").write_bytes(ca.certificate)
    (tmp_path / "ca.key").write_bytes(unsealed(ca.key))
    return issue_client("service", tmp_path / "ca.crt", tmp_path / "ca.key", tmp_path)


def test_a_clients_pair_in_its_time_may_be_shown(pair) -> None:
    require_client_pair(*pair, "PostgreSQL", NOW)


def test_each_pair_that_is_not_is_refused_with_the_server_it_is_for(pair, tmp_path) -> None:
    certificate, key = pair
    with pytest.raises(BadSettings, match="ended at"):
        require_client_pair(certificate, key, "PostgreSQL", NOW + datetime.timedelta(days=91))
    with pytest.raises(BadSettings, match="not valid before"):
        require_client_pair(certificate, key, "PostgreSQL", NOW - datetime.timedelta(days=2))
    with pytest.raises(BadSettings, match="for PostgreSQL cannot be read"):
        require_client_pair(tmp_path / "none", key, "PostgreSQL", NOW)
    with pytest.raises(KeyUnavailable, match="for PostgreSQL is missing"):
        require_client_pair(certificate, tmp_path / "none", "PostgreSQL", NOW)
    other = issue_client("other", tmp_path / "ca.crt", tmp_path / "ca.key", tmp_path)
    with pytest.raises(BadSettings, match="does not belong"):
        require_client_pair(certificate, other[1], "PostgreSQL", NOW)
    key.chmod(0o640)
    with pytest.raises(KeyUnavailable, match="chmod 400"):
        require_client_pair(certificate, key, "PostgreSQL", NOW)
    key.chmod(0o600)
    certificate.write_bytes(certificate.read_bytes()[:200])
    with pytest.raises(TamperedData):
        require_client_pair(certificate, key, "PostgreSQL", NOW)


def test_a_servers_certificate_is_not_shown_as_a_clients(pair, tmp_path) -> None:
    ca = make_ca("test", b"p", NOW)
    server = make_server(ca, ["localhost"], b"p", NOW)
    key = pair[1]
    pair[0].write_bytes(server.certificate)
    key.write_bytes(unsealed(server.key))
    with pytest.raises(BadSettings, match="clientAuth"):
        require_client_pair(*pair, "PostgreSQL", NOW)
