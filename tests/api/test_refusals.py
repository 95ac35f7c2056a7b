from __future__ import annotations

import threading

import httpx
import pytest

from api.app import create_app
from api.errors import TooManyRequests
from api.in_process import InProcessTransport
from api.refusals import MOST_KEPT, NAMED_PEERS, OTHERS, Buckets, Refusals, peer_of
from lookalike.errors import StorageFull
from tests.api import doubles


class Timer:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def timer() -> Timer:
    return Timer()


def test_a_bucket_is_empty_after_so_many_and_fills_with_time(timer):
    buckets = Buckets(3, 6, timer)
    assert [buckets.take("a") for _ in range(4)] == [None, None, None, 10]
    assert buckets.take("b") is None
    timer.now += 9
    assert buckets.take("a") == 1
    timer.now += 1
    assert buckets.take("a") is None
    timer.now += 3600
    assert [buckets.take("a") for _ in range(4)] == [None, None, None, 10]


def test_buckets_of_ever_new_names_take_no_more_memory(timer):
    buckets = Buckets(1, 1, timer)
    for n in range(MOST_KEPT + 50):
        buckets.take(str(n))
    assert len(buckets._kept) == MOST_KEPT


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("", "unknown"),
        ("not an address", "unknown"),
    ],
)
def test_a_host_that_has_many_addresses_is_one_peer(address, peer):
    assert peer_of(address) == peer


def test_refusals_go_on_record_as_counts_and_the_many_as_one_sum(timer):
    entries = []
    refusals = Refusals(entries.append, 1_000, timer=timer)
    for n in range(NAMED_PEERS):
        for _ in range(n + 2):
            refusals.note(f"192.0.2.{n}")
    for n in range(500):
        refusals.note(f"198.51.{n // 100}.{n % 100}")
    refusals.put_on_record()
    assert len(entries) == NAMED_PEERS + 1
    assert {(e.action, e.outcome, e.principal) for e in entries} == {("authenticate", "unauthenticated", "-")}
    assert sum(e.details["refused"] for e in entries) == refusals.total
    assert entries[-1].details == {"peer": OTHERS, "refused": 500}
    assert entries[0].details == {"peer": f"192.0.2.{NAMED_PEERS - 1}", "refused": NAMED_PEERS + 1}
    refusals.put_on_record()
    assert len(entries) == NAMED_PEERS + 1


def test_what_cannot_be_put_on_record_is_put_there_later(timer):
    entries, full = [], [True]

    def record(entry):
        if full[0]:
            raise StorageFull("the disk is full")
        entries.append(entry)

    refusals = Refusals(record, timer=timer)
    refusals.note("192.0.2.1")
    refusals.put_on_record()
    refusals.note("192.0.2.1")
    full[0] = False
    refusals.put_on_record()
    assert [e.details for e in entries] == [{"peer": "192.0.2.1", "refused": 2}]


def test_the_first_refusal_of_a_quiet_time_is_on_record_at_once_and_the_rest_by_the_end():
    entries, there = [], threading.Event()

    def record(entry):
        entries.append(entry)
        there.set()

    refusals = Refusals(record)
    refusals.start()
    refusals.note("192.0.2.1")
    assert there.wait(60)
    refusals.note("192.0.2.1")
    refusals.note("192.0.2.1")
    refusals.stop()
    assert [e.details["refused"] for e in entries] == [1, 2]


def test_a_peer_with_many_wrong_credentials_is_told_to_wait(timer):
    refusals = Refusals(lambda entry: None, 5, timer=timer)
    for _ in range(5):
        refusals.note("192.0.2.1")
    with pytest.raises(TooManyRequests) as told:
        refusals.note("192.0.2.1")
    assert told.value.retry_after_s == 12
    refusals.note("192.0.2.2")


def client(services, key=None):
    headers = {} if key is None else {"x-api-key": key}
    return httpx.Client(transport=InProcessTransport(create_app(services)), base_url="http://edge", headers=headers)


def test_wrong_credentials_get_429_with_retry_after_and_a_right_one_from_the_same_address_is_served(tmp_path):
    services = doubles.services(tmp_path)
    services.refusals = Refusals(lambda entry: None, 3)
    with client(services, "wrong") as attacker:
        answers = [attacker.get("/v1/limits") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
        honest = attacker.get("/v1/limits", headers={"x-api-key": "viewer"})
        assert honest.status_code == 200
        assert attacker.get("/v1/limits").status_code == 429
        assert attacker.get("/healthz", headers={"x-api-key": ""}).status_code == 429
    services.close()


def test_who_sends_no_credential_at_all_has_tried_nothing(tmp_path):
    services = doubles.services(tmp_path)
    services.refusals = Refusals(lambda entry: None, 1)
    with client(services) as nobody:
        assert [nobody.get("/v1/limits").status_code for _ in range(4)] == [401] * 4
        assert nobody.get("/healthz").status_code == 200
    assert services.refusals.total == 0
    services.close()


def test_a_principal_has_its_bound_and_others_have_theirs(tmp_path):
    services = doubles.services(tmp_path)
    services.refusals = Refusals(lambda entry: None, requests_a_minute=2)
    with client(services, "viewer") as busy:
        assert [busy.get("/v1/limits").status_code for _ in range(3)] == [200, 200, 429]
        assert busy.get("/v1/limits", headers={"x-api-key": "admin"}).status_code == 200
        assert busy.get("/metrics").status_code == 200
    services.close()


def test_refusals_of_a_real_service_are_in_its_audit_log(real):
    before = real.services.refusals.total
    wrong = httpx.Client(transport=real.transport, base_url="http://edge", headers={"x-api-key": "lk_wrong"})
    assert wrong.get("/v1/limits").status_code == 401
    real.services.refusals.put_on_record()
    entries = [entry for _, entry in real.services.audit.entries_after(0) if entry.action == "authenticate"]
    assert entries[-1].details["peer"] == "127.0.0.1"
    assert real.services.refusals.total == before + 1
