from __future__ import annotations

import datetime
import ssl

import pytest

from security.certificates import SERVER_DAYS, make_ca, make_server, read_certificate, require_current
from security.tls import OwnAuthority, context_for
from security.tls_reload import RENEW_EVERY_S, RETRY_S, Look, ServedCertificate
from tests.security.test_tls import DAY, START, Days


@pytest.fixture
def days() -> Days:
    return Days()


@pytest.fixture
def own(memory_keyring, tmp_path, days) -> OwnAuthority:
    return OwnAuthority(tmp_path / "tls", memory_keyring, ["faces.example"], days)


@pytest.fixture
def served(own, tmp_path, days) -> ServedCertificate:
    folder = tmp_path / "tls"

    def seconds() -> float:
        return days.now.timestamp()

    return ServedCertificate(
        lambda: context_for(own.identity()),
        folder / "server.crt",
        [folder / "server.key"],
        clock=seconds,
        today=days,
    )


def looks(served: ServedCertificate, times: int = 3) -> list[Look]:
    return [served.look() for _ in range(times)]


def test_a_renewed_pair_is_taken_up_once_it_lies_still(served, own) -> None:
    before = served.context.current
    own.renew()
    assert looks(served) == [Look.SAME, Look.TAKEN, Look.SAME]
    assert served.context.current is not before


def test_whoever_says_that_nobody_is_writing_need_not_wait(served, own) -> None:
    own.renew()
    assert served.look(still=True) is Look.TAKEN


def test_the_services_own_certificate_is_renewed_in_its_last_month_while_it_serves(served, days) -> None:
    days.now = START + 300 * DAY
    assert looks(served) == [Look.SAME] * 3
    days.now = START + 369 * DAY
    assert Look.TAKEN in looks(served, 4)
    assert served.not_after == days.now + datetime.timedelta(days=SERVER_DAYS)
    assert served.refused is None


def test_files_that_change_all_the_time_are_not_taken_up(served, own, tmp_path) -> None:
    seen = []
    for _ in range(4):
        own.renew()
        seen.append(served.look())
    assert seen == [Look.SAME] * 4


def test_what_cannot_be_used_is_told_once_and_looked_at_again_after_a_while(tmp_path, days) -> None:
    tried = []
    file = tmp_path / "server.crt"
    file.write_bytes(make_server(make_ca("x", b"p", START), ["localhost"], b"p", START).certificate)

    def make() -> ssl.SSLContext:
        tried.append(1)
        if len(tried) in (2, 3):
            raise ValueError("canary")
        return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    served = ServedCertificate(make, file, [], clock=lambda: days.now.timestamp(), today=days)
    before = served.context.current
    file.write_bytes(file.read_bytes() + b"\n")
    assert looks(served, 5) == [Look.SAME, Look.REFUSED, *[Look.SAME] * 3]
    assert served.refused is not None and "canary" not in served.refused
    assert (len(tried), served.context.current) == (2, before)
    days.now += datetime.timedelta(seconds=RETRY_S + 1)
    assert looks(served, 2) == [Look.SAME, Look.SAME] and len(tried) == 3
    days.now += datetime.timedelta(seconds=RETRY_S + 1)
    assert looks(served, 2) == [Look.TAKEN, Look.SAME]
    assert served.refused is None


def test_nothing_is_renewed_before_its_hour(own, tmp_path, days) -> None:
    made = []

    def make():
        made.append(1)
        return context_for(own.identity())

    served = ServedCertificate(make, tmp_path / "tls/server.crt", [], clock=lambda: days.now.timestamp(), today=days)
    looks(served)
    assert len(made) == 1
    days.now += datetime.timedelta(seconds=RENEW_EVERY_S)
    looks(served)
    assert len(made) == 2


def test_the_own_certificates_pass_the_rules_of_a_change(own, days) -> None:
    chain = own.identity().certificate.read_bytes()
    require_current(chain, days.now)
    assert read_certificate(chain).not_valid_after_utc == START + SERVER_DAYS * DAY
