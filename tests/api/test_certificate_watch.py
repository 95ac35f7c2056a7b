"""A certificate that is replaced while clients are served, on a real socket: only its serial number tells of it."""

from __future__ import annotations

import datetime
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.api.tls_service import DAY, Service, soon


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.end()


def test_a_new_pair_is_shown_to_new_connections_under_load_and_no_request_is_lost(service) -> None:
    stop = threading.Event()
    answers: list[list[int]] = [[] for _ in range(4)]
    failed: list[str] = []

    def ask(mine: list[int], keeps: bool) -> None:
        """With one connection for all, or one for each request."""
        client = service.client()
        while not stop.is_set():
            try:
                if not keeps:
                    client.close()
                    client = service.client()
                mine.append(client.post("/v1/detect", files={"image": b"picture"}).status_code)
            except httpx.HTTPError as error:
                failed.append(repr(error))
        client.close()

    threads = [threading.Thread(target=ask, args=(mine, i % 2 == 0)) for i, mine in enumerate(answers)]
    for thread in threads:
        thread.start()
    try:
        for kind in ("ec", "rsa", "ec"):  # a key of another kind leaves nothing of the one before
            serial, *pair = service.authority.issue(kind=kind)
            service.put(*pair)
            assert soon(lambda serial=serial: service.shown() == serial)
            counted = [len(mine) for mine in answers]
            assert soon(lambda counted=counted: all(len(m) > c for m, c in zip(answers, counted, strict=True)))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert {status for mine in answers for status in mine} == {200}
    assert service.figure("lookalike_certificate_refused") == 0


def test_a_connection_that_is_open_goes_on_through_a_change(service) -> None:
    with service.client() as client:
        assert client.get("/healthz").status_code == 200
        held = client._transport._pool.connections[0]
        serial, *pair = service.authority.issue()
        service.put(*pair)
        assert soon(lambda: service.shown() == serial)
        assert client.get("/healthz").status_code == 200
        assert client._transport._pool.connections == [held]


def half(pem: bytes) -> bytes:
    return pem[: len(pem) // 2]


def broken(service: Service, what: str) -> tuple[bytes, bytes]:
    """A pair that must not be served."""
    issue = service.authority.issue
    _, certificate, key = issue()
    _, other_certificate, other_key = issue()
    return {
        "of two pairs": (certificate, other_key),
        "a certificate half written": (half(certificate), key),
        "a chain half written": (certificate + half(other_certificate), key),
        "a key half written": (certificate, half(key)),
        "no certificate": (b"", key),
        "no key": (certificate, b""),
        "past its time": issue(-9 * DAY, -DAY)[1:],
        "before its time": issue(DAY, 9 * DAY)[1:],
        "for clients": issue(use=ExtendedKeyUsageOID.CLIENT_AUTH)[1:],
    }[what]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("of two pairs", "does not belong"),
        ("a certificate half written", "damaged"),
        ("a chain half written", "not written to its end"),
        ("a key half written", "damaged"),
        ("no certificate", "damaged"),
        ("no key", "damaged"),
        ("past its time", "ended at"),
        ("before its time", "not valid before"),
        ("for clients", "serverAuth"),
    ],
)
def test_a_pair_that_cannot_be_served_keeps_the_old_one_and_is_told(services, what: str, told: str) -> None:
    service = services
    _, *good = service.authority.issue()
    service.put(*good)
    service.process.send_signal(signal.SIGHUP)
    assert soon(lambda: service.figure("lookalike_certificate_refused") == 0)
    before = service.shown()
    service.put(*broken(service, what))
    assert soon(lambda: any(told in note for note in service.notes()))
    assert service.figure("lookalike_certificate_refused") == 1
    assert service.shown() == before
    ends = datetime.datetime.fromtimestamp(
        service.figure("lookalike_certificate_not_after_seconds"), datetime.UTC
    ) - datetime.datetime.now(datetime.UTC)
    assert ends > 80 * DAY, "the figure is of what is served"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all pairs that are refused."""
    made = Service(tmp_path_factory.mktemp("refusing"))
    yield made
    made.end()


def test_after_a_bad_pair_a_good_one_is_taken_up_and_both_stand_in_the_log(service) -> None:
    service.put(*broken(service, "of two pairs"))
    assert soon(lambda: service.notes() != [])
    serial, *pair = service.authority.issue()
    service.put(*pair)
    assert soon(lambda: service.shown() == serial)
    assert service.notes() == []
    service.process.send_signal(signal.SIGTERM)
    service.process.communicate(timeout=60)
    log = service.log.read_text()
    events = [json.loads(line)["message"] for line in log.splitlines()]
    said = [event for event in events if "TLS certificate" in event]
    assert [event.partition(":")[0] for event in said[:1]] == ["a new TLS certificate is refused"]
    assert said[-1].startswith("a new TLS certificate is served, until ")
    assert "PRIVATE KEY" not in log


def test_files_that_are_gone_keep_the_old_one(service) -> None:
    before = service.shown()
    service.certificate.unlink()
    assert soon(lambda: any("cannot be read" in note for note in service.notes()))
    assert service.shown() == before
