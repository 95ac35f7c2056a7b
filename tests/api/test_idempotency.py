"""The same key and body give the first answer again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest


def create(client, name: str, key: str | None = None, **more: object):
    headers = {} if key is None else {"idempotency-key": key}
    return client.post("/v1/collections", json={"name": name, **more}, headers=headers)


def test_the_same_key_and_body_do_the_work_once(services, admin):
    first, second = create(admin, "staff", "k"), create(admin, "staff", "k")
    assert services.gallery.names == ["staff"]
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"


def test_order_and_spacing_of_json_are_not_another_body(services, admin):
    headers = {"idempotency-key": "k", "content-type": "application/json"}
    admin.post("/v1/collections", content=b'{"name":"a","keep":"none"}', headers=headers)
    again = admin.post("/v1/collections", content=b'{ "keep": "none", "name": "a" }', headers=headers)
    assert again.status_code == 201 and services.gallery.names == ["a"]


def test_another_body_under_the_same_key_is_a_conflict(admin):
    create(admin, "staff", "k")
    answer = create(admin, "guests", "k")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_mismatch")


def test_a_key_belongs_to_its_principal(services, admin, connect):
    create(admin, "staff", "k")
    assert create(connect(services, "operator"), "guests", "k").status_code == 201


def test_without_a_key_nothing_is_remembered(services, admin):
    create(admin, "a")
    create(admin, "a")
    assert services.gallery.names == ["a", "a"]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "\xe9"])
def test_a_malformed_key_is_refused(services, admin, key):
    answer = admin.post("/v1/collections", json={"name": "a"}, headers={"idempotency-key": key.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert services.gallery.names == []


def test_a_refusal_is_not_remembered(services, admin):
    fails = [True]

    def sometimes() -> None:
        from lookalike.errors import StorageUnavailable

        if fails.pop():
            raise StorageUnavailable("the store is away")

    services.gallery.before = sometimes
    assert create(admin, "a", "k").status_code == 503
    services.gallery.before = lambda: None
    assert create(admin, "a", "k").status_code == 201


def test_two_requests_of_one_key_at_once_do_the_work_once(services, admin):
    entered = threading.Event()
    go_on = threading.Event()

    def slowly() -> None:
        entered.set()
        assert go_on.wait(10)

    services.gallery.before = slowly
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(create, admin, "a", "k")
        assert entered.wait(10)
        second = pool.submit(create, admin, "a", "k")
        go_on.set()
        answers = [first.result(), second.result()]
    assert services.gallery.names == ["a"]
    assert [a.status_code for a in answers] == [201, 201]
    assert answers[1].headers["idempotency-replayed"] == "true"


def test_an_answer_that_cannot_be_remembered_is_still_given(services, admin):
    from lookalike.errors import StorageFull

    def full(*_: object) -> None:
        raise StorageFull("the disk is full")

    services.answers.remember = full
    assert create(admin, "a", "k").status_code == 201


def test_a_right_that_was_lost_is_missed_in_a_replay_too(services, admin, monkeypatch):
    from lookalike.domain import Grant
    from security.rbac import principal_for

    create(admin, "a", "k")
    monkeypatch.setattr(services.identities, "authenticate", lambda _: principal_for("key-admin", [Grant("viewer")]))
    assert create(admin, "a", "k").status_code == 403
