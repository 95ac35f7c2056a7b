"""Events through receivers that die, refuse and hang, and out of processes that are killed: all come, in order."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from api import webhook_sender
from api.webhook_calls import Courier, shown_secret
from api.webhook_sender import GIVE_UP_S, POISON_TRIES, WebhookSender
from index.sqlite_rows import SqliteRows
from lookalike.domain import AuditEntry
from lookalike.events import EventFeed, EventKind
from lookalike.webhooks import Delivery, Webhook
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.sealed_records import SealedRecords
from security.sealed_webhooks import SealedWebhooks
from tests.faults.killing import said_until_killed
from tests.faults.receiver import Receiver

EVENTS = int(os.environ.get("LOOKALIKE_EVENTS", "300"))
KILLS = int(os.environ.get("LOOKALIKE_KILLS", "3"))
ENTRY = AuditEntry("webhook.create", "key:tester", "ok", "-")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/events.md"


class Site:
    """A store with an audit log, as one process has it open, and the sender of that process."""

    def __init__(self, folder: Path, hosts: tuple[str, ...], clock=time.time) -> None:
        self.rows = SqliteRows(folder / "records.db")
        self.keyring = open_key_ring("file:keys/root.key", folder, self.rows)
        self.audit = SealedAuditLog(self.rows, self.keyring)
        self.store = SealedWebhooks(self.rows, self.keyring, self.audit)
        feed = EventFeed(SealedRecords(self.rows, self.keyring, self.audit), self.audit)
        self.courier = Courier(hosts, None)
        self.sender = WebhookSender(self.store, feed, self.courier, self.keyring.deployment, clock)

    def hook(self, url: str, *kinds: EventKind) -> Webhook:
        """A new receiver, told of what happens from now on."""
        wanted = frozenset(kinds or EventKind)
        made = Webhook("ab" * 8, url, None, wanted, False, b"s" * 32, time.time(), "key:tester")
        self.store.put(made, Delivery(self.audit.last_seq() + 1), ENTRY)
        return made

    def happen(self, count: int, unmatched: int = 1) -> list[int]:
        """So many identifications. Returns their numbers."""
        first = self.audit.last_seq() + 1
        details = {"faces": 1, "matched": "", "unmatched": unmatched}
        for _ in range(count):
            self.audit.append(AuditEntry("identify", "key:gate", "ok", "r", "gate", None, details))
        return list(range(first, first + count))

    def held(self) -> Delivery:
        return self.store.delivery("ab" * 8)

    def close(self) -> None:
        self.sender.stop()
        self.courier.close()
        self.rows.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(webhook_sender, "_patience", lambda tries: 0.02)


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def open_site(tmp_path, receiver):
    opened = []

    def opening(**options) -> Site:
        opened.append(Site(tmp_path, (receiver.host,), **options))
        return opened[-1]

    yield opening
    for site in opened:
        site.close()


def until(check) -> None:
    deadline = time.monotonic() + 120
    while not check():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def test_nothing_is_lost_nor_overtaken_where_the_receiver_dies_every_hundred(open_site, receiver):
    deaths = itertools.count(1)

    def answer(seq, try_):
        if try_ % 100 < 3:
            next(deaths)
            return (None, 503, 429)[try_ % 100]
        return 200

    receiver.answer = answer
    site = open_site()
    site.hook(receiver.url)
    numbers = site.happen(EVENTS)
    site.sender.start()
    until(lambda: len(receiver.taken) >= EVENTS)
    until(lambda: site.held().seq == site.audit.last_seq())
    assert receiver.numbers() == numbers == list(dict.fromkeys(receiver.taken))
    assert next(deaths) > EVENTS / 100
    assert site.held().error is None and site.held().given_up == ()


def test_each_comes_once_where_nobody_fails(open_site, receiver):
    site = open_site()
    site.hook(receiver.url)
    site.sender.start()
    numbers = [number for _ in range(5) for number in site.happen(20)]
    until(lambda: len(receiver.taken) == 100)
    assert receiver.taken == numbers


def test_what_the_document_says_verifies_a_delivery_and_refuses_a_changed_one(open_site, receiver):
    site = open_site()
    hook = site.hook(receiver.url)
    site.happen(1)
    site.sender.start()
    until(lambda: receiver.taken)
    headers, body = receiver.seen[0]
    found: dict = {}
    exec(re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)[1], found)
    secret = shown_secret(hook.secret)
    assert found["is_ours"](headers, body, secret)
    assert not found["is_ours"](headers, body.replace(b"gate", b"gale"), secret)
    assert not found["is_ours"]({**headers, "webhook-id": "other"}, body, secret)
    assert not found["is_ours"]({**headers, "webhook-timestamp": str(int(time.time()) - 1000)}, body, secret)
    assert not found["is_ours"](headers, body, shown_secret(b"t" * 32))
    event = json.loads(body)
    assert (event["type"], event["collection"], event["unknown"], event["seq"]) == ("identification", "gate", 1, 2)
    assert headers["webhook-id"] == event["id"] == f"{site.keyring.deployment[:16]}-2"


def test_an_event_that_cannot_be_read_is_given_up_listed_and_sent_again_on_request(open_site, receiver):
    site = open_site()
    hook = site.hook(receiver.url)
    bad, good = site.happen(2)
    receiver.answer = lambda seq, try_: 422 if seq == bad else 200
    site.sender.start()
    until(lambda: good in receiver.taken)
    until(lambda: site.held().seq >= good)
    assert [json.loads(body)["seq"] for _, body in receiver.seen] == [bad] * POISON_TRIES + [good]
    assert site.held().given_up == (bad,)
    receiver.answer = lambda seq, try_: 200
    site.store.change(hook.id, lambda held: replace(held, seq=bad - 1, given_up=()))
    until(lambda: receiver.taken == [good, bad, good])


def test_what_is_too_old_is_tried_once_and_given_up(open_site, receiver):
    site = open_site(clock=lambda: time.time() + GIVE_UP_S + 60)
    site.hook(receiver.url)
    numbers = site.happen(3)
    receiver.answer = lambda seq, try_: 503
    site.sender.start()
    until(lambda: site.held().given_up == tuple(numbers))
    assert len(receiver.seen) == 3


@pytest.mark.parametrize("status", [302, 401, 404, 500, 503])
def test_a_receiver_that_is_not_well_keeps_its_events_waiting(open_site, receiver, status):
    site = open_site()
    site.hook(receiver.url)
    first, second = site.happen(2)
    receiver.answer = lambda seq, try_: status
    site.sender.start()
    until(lambda: len(receiver.seen) > POISON_TRIES)
    assert receiver.numbers() == [first] and site.held().given_up == ()
    assert site.held().error == f"it answered {status}" and site.held().failing_since is not None
    receiver.answer = lambda seq, try_: 200
    until(lambda: receiver.taken == [first, second])
    until(lambda: site.held().error is None)


def test_only_what_was_asked_for_is_sent(open_site, receiver):
    site = open_site()
    site.hook(receiver.url, EventKind.UNKNOWN)
    site.happen(3, unmatched=0)
    (wanted,) = site.happen(1)
    site.sender.start()
    until(lambda: receiver.taken)
    assert receiver.numbers() == [wanted]


def test_a_paused_receiver_gets_nothing_until_it_is_resumed(open_site, receiver):
    site = open_site()
    hook = site.hook(receiver.url)
    site.store.put(replace(hook, paused=True), None, ENTRY)
    site.sender.start()
    (waits,) = site.happen(1)
    until(lambda: site.sender._sending)
    time.sleep(0.5)  # several looks
    assert receiver.seen == []
    site.store.put(hook, None, ENTRY)
    until(lambda: receiver.taken == [waits])


def test_a_host_that_is_no_longer_allowed_gets_nothing(tmp_path, receiver):
    site = Site(tmp_path, ("elsewhere.internal",))
    site.hook(receiver.url)
    site.happen(1)
    site.sender.start()
    until(lambda: site.held().error is not None)
    assert "LOOKALIKE_WEBHOOK_HOSTS" in site.held().error and receiver.seen == []
    site.close()


def test_of_two_processes_one_sends_and_the_other_goes_on_after_it(open_site, receiver):
    one, two = open_site(), open_site()
    one.hook(receiver.url)
    one.sender.start()
    two.sender.start()
    numbers = one.happen(50)
    until(lambda: len(receiver.taken) >= 50)
    assert receiver.taken == numbers
    (one if one.held().holder in _holders(one) else two).sender.stop()
    numbers += two.happen(10)
    until(lambda: receiver.numbers() == numbers)


def _holders(site: Site) -> set[str]:
    return {receiver._holder for receiver, _ in site.sender._sending.values()}


def test_a_place_beyond_an_older_log_that_was_restored_is_set_back(open_site, receiver):
    site = open_site()
    hook = site.hook(receiver.url)
    site.store.change(hook.id, lambda held: replace(held, seq=10_000))
    site.sender.start()
    until(lambda: site.held().seq == site.audit.last_seq())
    (after,) = site.happen(1)
    until(lambda: receiver.taken == [after])


SENDING = """
import sys, time
from pathlib import Path
from tests.faults.test_webhooks import Site
site = Site(Path(sys.argv[1]), (sys.argv[2],))
site.sender.start()
print("sends", flush=True)
while True:
    site.happen(1)
    print("happened", flush=True)
    time.sleep(0.002)
"""


def test_nothing_is_lost_where_the_sending_process_is_killed(tmp_path, receiver, monkeypatch, open_site):
    first = open_site()
    first.hook(receiver.url)
    begin = first.audit.last_seq()
    for _ in range(KILLS):
        said_until_killed(SENDING, tmp_path, receiver.host, enough=150)
    monkeypatch.setattr(webhook_sender, "LEASE_S", 0.5)  # what the last one left, without waiting for it
    last = first.audit.last_seq()
    first.sender.start()
    until(lambda: receiver.taken and receiver.taken[-1] == last)
    assert receiver.numbers() == list(range(begin + 1, last + 1))
    assert last - begin >= KILLS * 149
