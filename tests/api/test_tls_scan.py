"""Every protocol version and cipher suite that there could be is offered to the service, by ClientHellos made by hand.

A library would not offer most of them. RFC 8446, RFC 5246; SSL 2 is not spoken by a server of OpenSSL 3.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.api.tls_service import Service

SSL3, TLS1_0, TLS1_1, TLS1_2, TLS1_3 = range(0x0300, 0x0305)
AT_ONCE = 2048
SUITES_1_3 = {0x1301, 0x1302, 0x1303}  # AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305
ECDSA_1_2 = {0xC02B, 0xC02C, 0xCCA9}  # the same, with ECDHE and ECDSA
RSA_1_2 = {0xC02F, 0xC030, 0xCCA8}
EMPTY_RENEGOTIATION, FALLBACK = 0x00FF, 0x5600  # no suites, but signals in their place


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", kind, len(body)) + body


def counted(body: bytes) -> bytes:
    return struct.pack(">H", len(body)) + body


def hello(version: int, suites: list[int]) -> bytes:
    """A record with a ClientHello that speaks this version at most."""
    schemes = [0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201]
    extensions = (
        extension(0, counted(b"\0" + counted(b"localhost")))
        + extension(10, counted(struct.pack(">4H", 0x001D, 0x0017, 0x0018, 0x0019)))  # x25519, P-256, P-384, P-521
        + extension(11, b"\x01\x00")
        + extension(13, counted(struct.pack(f">{len(schemes)}H", *schemes)))
    )
    if version == TLS1_3:
        share = struct.pack(">H", 0x001D) + counted(os.urandom(32))
        extensions += extension(43, b"\x02\x03\x04") + extension(51, counted(share))
    listed = struct.pack(f">{len(suites)}H", *suites)
    body = struct.pack(">H", min(version, TLS1_2)) + os.urandom(32) + b"\0" + counted(listed) + b"\x01\x00"
    if version != SSL3:
        body += counted(extensions)
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return struct.pack(">BHH", 22, min(version, TLS1_0), len(message)) + message


def chosen(port: int, version: int, suites: list[int]) -> int | None:
    """The suite that the server takes of these in this version; None if it ends the handshake."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(hello(version, suites))
        found = b""
        try:
            while len(found) < 128 and (piece := connection.recv(4096)):
                found += piece
        except ConnectionResetError:
            return None
    if found[:1] != b"\x16" or found[5] != 2:  # not a handshake's ServerHello
        return None
    answered, session = struct.unpack(">H", found[9:11])[0], found[43]
    if answered != min(version, TLS1_2):
        return None
    return int(struct.unpack(">H", found[44 + session : 46 + session])[0])


def accepted(port: int, version: int) -> set[int]:
    """All suites that the server would take in this version."""
    found: set[int] = set()
    every = [suite for suite in range(0x10000) if suite not in (EMPTY_RENEGOTIATION, FALLBACK)]
    for start in range(0, len(every), AT_ONCE):
        offered = every[start : start + AT_ONCE]
        while (suite := chosen(port, version, offered)) is not None:
            found.add(suite)
            offered.remove(suite)
    return found


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("strict"))
    yield made
    made.end()


@pytest.fixture(scope="module", params=["ec", "rsa"])
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str]]:
    made = Service(tmp_path_factory.mktemp("older"), "tls_min_version=1.2", kind=request.param)
    yield made, request.param
    made.end()


@pytest.mark.parametrize("version", [SSL3, TLS1_0, TLS1_1, TLS1_2])
def test_no_version_before_1_3_is_spoken_with_any_suite(strict: Service, version: int) -> None:
    assert accepted(strict.port, version) == set()


def test_in_1_3_its_three_suites_are_spoken(strict: Service) -> None:
    assert accepted(strict.port, TLS1_3) == SUITES_1_3


def test_by_choice_1_2_is_spoken_with_forward_secrecy_and_authenticated_ciphers_alone(older) -> None:
    service, kind = older
    assert accepted(service.port, TLS1_2) == {"ec": ECDSA_1_2, "rsa": RSA_1_2}[kind]
    assert accepted(service.port, TLS1_3) == SUITES_1_3


def test_by_choice_of_1_2_nothing_older_comes_with_it(older) -> None:
    service, _ = older
    assert {version: accepted(service.port, version) for version in (SSL3, TLS1_0, TLS1_1)} == {
        version: set() for version in (SSL3, TLS1_0, TLS1_1)
    }
