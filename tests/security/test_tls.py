from __future__ import annotations

import datetime
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from lookalike.errors import BadSettings, KeyUnavailable, TamperedData
from security.certificates import all_names, days_left, make_ca, make_server, read_certificate
from security.keys import open_key_ring
from security.tls import OwnAuthority, context_for, operator_identity, server_context

DAY = datetime.timedelta(days=1)
START = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


class Days:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime.datetime:
        return self.now


@pytest.fixture
def days() -> Days:
    return Days()


@pytest.fixture
def own(memory_keyring, tmp_path, days) -> OwnAuthority:
    return OwnAuthority(tmp_path / "tls", memory_keyring, ["faces.example"], days)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """The protocol that both agree on, over a socket pair."""
    here, there = socket.socketpair()
    here.settimeout(20)
    there.settimeout(20)

    def answer() -> None:
        try:
            with server.wrap_socket(there, server_side=True) as held:
                held.recv(1)
        except OSError:
            there.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with client.wrap_socket(here, server_hostname=name) as held:
            held.send(b"x")
            return held.version()
    finally:
        here.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "faces.example", "10.1.2.3"])
def test_a_client_with_the_ca_reaches_every_name_of_the_service_over_tls_1_3(memory_keyring, tmp_path, name):
    server = server_context(tmp_path / "tls", memory_keyring, hosts=("faces.example", "10.1.2.3"))
    client = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.crt")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    assert handshake(server, client, name) == "TLSv1.3"


def test_a_client_that_asks_for_another_name_or_has_another_ca_refuses(memory_keyring, tmp_path):
    server = server_context(tmp_path / "tls", memory_keyring)
    client = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.crt")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, client, "elsewhere.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, ssl.create_default_context(), "localhost")


def test_tls_1_2_is_refused_unless_chosen_and_then_has_forward_secrecy_and_aead(memory_keyring, tmp_path):
    client = ssl.create_default_context(cafile=None)
    strict = server_context(tmp_path / "tls", memory_keyring)
    client.load_verify_locations(tmp_path / "tls" / "ca.crt")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(strict, client, "localhost")
    lax = server_context(tmp_path / "tls", memory_keyring, minimum="1.2")
    assert handshake(lax, client, "localhost") == "TLSv1.2"
    offered = {cipher["name"] for cipher in lax.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
    assert offered and all(n.startswith("ECDHE-") and ("GCM" in n or "CHACHA20" in n) for n in offered)


def test_the_files_keep_their_keys_sealed_and_to_their_owner(own, memory_keyring):
    identity = own.identity()
    folder = identity.key.parent
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}
    assert modes == {"ca.crt": 0o644, "server.crt": 0o644, "ca.key": 0o400, "server.key": 0o400, ".lock": 0o600}
    for name in ("ca.key", "server.key"):
        pem = (folder / name).read_bytes()
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in pem
        with pytest.raises((ValueError, TypeError)):
            load_pem_private_key(pem, b"wrong")
    assert identity.password not in repr(identity)


def test_the_certificates_are_as_their_profile_says(own):
    identity = own.identity()
    ca, server = (read_certificate(p.read_bytes()) for p in (identity.ca, identity.certificate))
    server.verify_directly_issued_by(ca)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(n.value) for n in names} == {"localhost", "127.0.0.1", "::1", "faces.example"}
    for certificate, length in ((ca, 3650), (server, 398)):
        assert isinstance(certificate.public_key().curve, ec.SECP256R1)
        assert certificate.not_valid_after_utc == START + length * DAY


def test_a_second_start_keeps_the_files_as_they_are(own, tmp_path):
    own.identity()
    before = files(tmp_path / "tls")
    own.identity()
    assert files(tmp_path / "tls") == before


def test_a_certificate_is_renewed_in_its_last_thirty_days_by_the_same_ca(own, tmp_path, days):
    own.identity()
    before = files(tmp_path / "tls")
    days.now = START + 367 * DAY
    own.identity()
    assert files(tmp_path / "tls") == before
    days.now = START + 369 * DAY
    own.identity()
    after = files(tmp_path / "tls")
    assert after["ca.crt"] == before["ca.crt"]
    assert days_left(after["server.crt"], days.now) == 398


def test_a_ca_at_its_end_is_made_anew_and_no_certificate_outlives_its_ca(own, tmp_path, days):
    own.identity()
    before = files(tmp_path / "tls")
    days.now = START + 3600 * DAY
    own.identity()
    after = files(tmp_path / "tls")
    assert after["ca.crt"] == before["ca.crt"]
    assert days_left(after["server.crt"], days.now) == 50
    days.now = START + 3625 * DAY
    own.identity()
    assert files(tmp_path / "tls")["ca.crt"] != before["ca.crt"]


def test_other_hosts_get_another_certificate_of_the_same_ca(own, memory_keyring, tmp_path, days):
    own.identity()
    before = files(tmp_path / "tls")
    OwnAuthority(tmp_path / "tls", memory_keyring, ["10.0.0.5"], days).identity()
    after = files(tmp_path / "tls")
    assert after["ca.crt"] == before["ca.crt"]
    assert after["server.crt"] != before["server.crt"]


@pytest.mark.parametrize("damage", ["server.crt", "server.key"])
@pytest.mark.parametrize("how", ["missing", "nonsense", "of another pair"])
def test_a_damaged_server_pair_is_mended(own, tmp_path, damage, how):
    own.identity()
    path = tmp_path / "tls" / damage
    old = path.read_bytes()
    own.renew()
    path.chmod(0o600)
    {
        "missing": path.unlink,
        "nonsense": lambda: path.write_text("?"),
        "of another pair": lambda: path.write_bytes(old),
    }[how]()
    context_for(own.identity())


def test_renew_makes_a_new_pair_and_init_a_new_ca(own, tmp_path):
    own.identity()
    first = files(tmp_path / "tls")
    own.renew()
    second = files(tmp_path / "tls")
    assert second["ca.crt"] == first["ca.crt"] and second["server.crt"] != first["server.crt"]
    own.init()
    third = files(tmp_path / "tls")
    assert third["ca.crt"] != second["ca.crt"]
    read_certificate(third["server.crt"]).verify_directly_issued_by(read_certificate(third["ca.crt"]))


def test_a_ca_sealed_with_another_root_key_is_told_not_replaced(own, keyring, tmp_path, days):
    own.identity()
    before = files(tmp_path / "tls")
    with pytest.raises(KeyUnavailable, match="tls init"):
        OwnAuthority(tmp_path / "tls", keyring, [], days).identity()
    assert files(tmp_path / "tls") == before


def test_starts_at_once_make_one_ca(memory, memory_keyring, tmp_path):
    start = threading.Barrier(4)
    found = []

    def begin() -> None:
        ring = open_key_ring("file:keys/root.key", tmp_path, memory)
        start.wait()
        found.append(OwnAuthority(tmp_path / "tls", ring, []).identity().ca.read_bytes())

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1


def test_names_are_checked_and_wildcard_addresses_left_out():
    assert all_names(["0.0.0.0", "::", "LOCALHOST", "Faces.Example.", "*.example.org", "fe80::1"]) == (
        "localhost",
        "127.0.0.1",
        "::1",
        "faces.example",
        "*.example.org",
        "fe80::1",
    )
    for wrong in ("", "a b", "-x", "x" * 300, "ex ample", "münchen.de", "a..b", "http://x", "*", "a.*.b"):
        with pytest.raises(BadSettings):
            all_names([wrong])


# ------------------------------------------------------------------------------ the operator's certificate


@pytest.fixture
def given(tmp_path):
    """An operator's certificate and plain key."""
    ca = make_ca("x", b"p", START)
    pair = make_server(ca, ["localhost"], b"p", datetime.datetime.now(datetime.UTC))
    plain = load_pem_private_key(pair.key, b"p").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate, key = tmp_path / "mine.crt", tmp_path / "mine.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(plain)
    key.chmod(0o400)
    return certificate, key, ca


def test_the_operators_own_pair_is_used_and_no_ca_is_made(memory_keyring, tmp_path, given):
    certificate, key, ca = given
    server = server_context(tmp_path / "tls", memory_keyring, certificate=certificate, key=key)
    client = ssl.create_default_context(cadata=ca.certificate.decode())
    assert handshake(server, client, "localhost") == "TLSv1.3"
    assert not (tmp_path / "tls").exists()


def test_a_pair_that_does_not_belong_together_is_open_to_others_or_broken_is_refused(tmp_path, given):
    certificate, key, _ = given
    other = make_ca("y", b"p", START)
    certificate.write_bytes(other.certificate)
    with pytest.raises(BadSettings, match="does not belong"):
        operator_identity(certificate, key)
    certificate.write_text("nonsense")
    with pytest.raises(TamperedData):
        operator_identity(certificate, key)
    with pytest.raises(BadSettings, match="cannot be read"):
        operator_identity(tmp_path / "missing", key)
    with pytest.raises(KeyUnavailable, match="missing"):
        operator_identity(certificate, tmp_path / "missing")
    key.chmod(0o644)
    with pytest.raises(KeyUnavailable, match="chmod 400"):
        operator_identity(certificate, key)
