"""Receivers as they lie among the rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lookalike.errors import LimitExceeded, TamperedData, WebhookNotFound
from lookalike.events import EventKind
from lookalike.webhooks import MAX_WEBHOOKS, Delivery, Webhook
from security.sealed_webhooks import SealedWebhooks
from tests.security.conftest import ENTRY

HOOK = Webhook(
    id="00112233445566aa",
    url="https://canary.internal/in?token=canary",
    collections=("canary-collection",),
    kinds=frozenset({EventKind.MATCH, EventKind.ERASURE}),
    names=True,
    secret=b"canary-secret-of-thirty-two-byte",
    created_at=1_800_000_000.5,
    created_by="key:maker",
)


@pytest.fixture
def store(rows, keyring, audit):
    return SealedWebhooks(rows, keyring, audit)


def test_a_receiver_comes_back_as_it_was_in_another_process_too(store, rows, keyring, audit):
    store.put(HOOK, Delivery(7), ENTRY)
    other = SealedWebhooks(rows, keyring, audit)
    assert other.all() == [HOOK]
    assert other.delivery(HOOK.id) == Delivery(7)
    store.put(replace(HOOK, paused=True), None, ENTRY)
    assert other.all() == [replace(HOOK, paused=True)]
    assert other.delivery(HOOK.id) == Delivery(7)


def test_making_changing_and_deleting_are_on_record_with_it(store, audit):
    before = audit.last_seq()
    store.put(HOOK, Delivery(0), ENTRY)
    store.put(replace(HOOK, paused=True), None, ENTRY)
    store.delete(HOOK.id, ENTRY)
    assert audit.last_seq() == before + 3
    assert store.all() == [] and store.delivery(HOOK.id) is None


def test_nothing_of_address_secret_or_collection_is_readable(store, rows):
    store.put(HOOK, Delivery(3, error="it answered 500", given_up=(1, 2)), ENTRY)
    held = rows.read().settings("webhook")
    assert len(held) == 2
    for name, value in held.items():
        for canary in (b"canary", HOOK.secret.hex().encode(), b"maker"):
            assert canary not in value and canary not in name.encode()


def test_a_row_that_takes_another_one_s_place_is_refused(store, rows):
    other = replace(HOOK, id="ff" * 8, url="https://other.internal/")
    for hook in (HOOK, other):
        store.put(hook, Delivery(0), ENTRY)
    stolen = rows.read().get_setting(f"webhook/{other.id}")
    rows.write(lambda writer: writer.put_setting(f"webhook/{HOOK.id}", stolen))
    with pytest.raises(TamperedData):
        store.all()


def test_a_place_moves_only_as_its_newest_state_allows(store):
    store.put(HOOK, Delivery(5), ENTRY)
    assert store.change(HOOK.id, lambda held: None) is None
    assert store.change(HOOK.id, lambda held: replace(held, seq=held.seq + 1, given_up=(6,))).seq == 6
    assert store.delivery(HOOK.id) == Delivery(6, given_up=(6,))
    assert store.change("ff" * 8, lambda held: held) is None


def test_what_is_gone_is_neither_changed_nor_deleted(store, audit):
    before = audit.last_seq()
    with pytest.raises(WebhookNotFound):
        store.delete(HOOK.id, ENTRY)
    with pytest.raises(WebhookNotFound):
        store.put(HOOK, None, ENTRY)
    assert audit.last_seq() == before and store.all() == []


def test_there_is_a_bound_on_their_number(store):
    for number in range(MAX_WEBHOOKS):
        store.put(replace(HOOK, id=f"{number:016x}"), Delivery(0), ENTRY)
    with pytest.raises(LimitExceeded):
        store.put(replace(HOOK, id="ff" * 8), Delivery(0), ENTRY)
    assert len(store.all()) == MAX_WEBHOOKS
