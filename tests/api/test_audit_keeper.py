"""Checkpoints on their way off the machine: signed in time, none lost, nobody kept waiting."""

from __future__ import annotations

import json
import threading
import time

import pytest

from api.audit_keeper import AuditKeeper, Sender
from lookalike.domain import AuditEntry
from lookalike.errors import TamperedData
from security.audit import SealedAuditLog
from security.audit_tree import TREE_SETTING
from security.checkpoint_outbox import LEASE_S, Outbox
from security.checkpoints import CHECKPOINT_SETTING
from security.keys import open_key_ring
from tests.security.conftest import Clock
from tests.security.memory_rows import MemoryRows

ENTRY = AuditEntry("identify", "key:abc", "ok", "r-1")
URL = "https://siem.example.org/hook"


class Inbox:
    """A receiver that takes, refuses or hangs as it is told."""

    name = "inbox"

    def __init__(self) -> None:
        self.got: list[int] = []
        self.down = False
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.came = threading.Condition()

    def send(self, line: bytes) -> None:
        self.entered.set()
        self.gate.wait()
        if self.down:
            raise ConnectionRefusedError(111, "Connection refused")
        with self.came:
            self.got.append(json.loads(line)["seq"])
            self.came.notify_all()

    def last(self) -> bytes | None:
        return None

    def wait_for(self, seq: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: seq in self.got, 60)


@pytest.fixture
def rows() -> MemoryRows:
    return MemoryRows()


@pytest.fixture
def log(rows, tmp_path) -> SealedAuditLog:
    return SealedAuditLog(rows, open_key_ring("file:keys/root.key", tmp_path, rows), Clock())


@pytest.fixture
def outbox(rows) -> Outbox:
    return Outbox(rows, Clock())


def fill(rows, log, count: int) -> None:
    notes = [log.prepare(ENTRY) for _ in range(count)]
    rows.write(lambda tx: [note(tx) for note in notes])


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


@pytest.fixture
def keepers(log, outbox):
    """Makes keepers, and stops those that were started."""
    made = []

    def make(*receivers, every_s=60.0, urls=()):
        named = list(zip(urls or [f"{URL}/{n}" for n in range(len(receivers))], receivers, strict=True))
        made.append(AuditKeeper(log, outbox, named, every_s))
        return made[-1]

    yield make
    for keeper in made:
        keeper.stop()


def test_entries_are_signed_and_sent_within_the_time(rows, log, keepers):
    inbox = Inbox()
    keepers(inbox, every_s=0.2).start()
    fill(rows, log, 3)
    inbox.wait_for(3)
    fill(rows, log, 2)
    inbox.wait_for(5)
    assert log.uncovered() == 0


def test_a_quiet_service_signs_nothing_twice(rows, log, keepers):
    fill(rows, log, 3)
    keeper = keepers(every_s=0)
    keeper.tend()
    line = log.newest().line
    for _ in range(3):
        keeper.tend()
    assert log.newest().line == line


def test_what_comes_between_is_signed_once_it_is_late_whatever_the_clock_says(rows, log, keepers):
    keeper = keepers(every_s=3600)
    fill(rows, log, 3)
    keeper.tend()
    assert log.newest() is None
    log._clock.now -= 86_400
    keeper._every_s = 0
    keeper.tend()
    assert log.newest().seq == 3


def test_a_receiver_gets_every_checkpoint_that_was_signed_while_it_was_away(rows, log, outbox, keepers):
    inbox = Inbox()
    inbox.down = True
    keeper = keepers(inbox)
    keeper.register()
    (sender,) = keeper._senders
    for _ in range(3):
        fill(rows, log, 2)
        log.checkpoint()
        assert not sender.send_waiting()
    (state,) = keeper.state()
    assert (state.waiting, state.error, keeper.failing(), keeper.waiting()) == (3, "Connection refused", 1, 3)
    assert state.since == log._clock.now
    inbox.down = False
    assert sender.send_waiting()
    assert inbox.got == [2, 4, 6]
    assert (keeper.state()[0].waiting, keeper.failing()) == (0, 0)
    assert rows.read().settings("audit.outbox/") == {}


def test_what_was_sent_by_halves_goes_on_where_it_stopped(rows, log, outbox, keepers):
    inbox = Inbox()
    keeper = keepers(inbox)
    keeper.register()
    (sender,) = keeper._senders
    for _ in range(3):
        fill(rows, log, 1)
        log.checkpoint()
    took = inbox.send

    def send_one(line):
        took(line)
        inbox.down = True

    inbox.send = send_one
    assert not sender.send_waiting()
    inbox.down, inbox.send = False, took
    assert sender.send_waiting()
    assert inbox.got == [1, 2, 3]


def test_a_receiver_that_hangs_keeps_neither_others_nor_the_log_waiting(rows, log, keepers):
    stuck, well = Inbox(), Inbox()
    stuck.gate.clear()
    keepers(stuck, well, every_s=0.2).start()
    fill(rows, log, 3)
    assert stuck.entered.wait(60)
    well.wait_for(3)
    fill(rows, log, 1)
    well.wait_for(4)
    assert stuck.got == []
    stuck.gate.set()
    stuck.wait_for(4)
    assert stuck.got == [3, 4]


def test_of_several_replicas_one_sends(rows, log, outbox):
    first, second = Inbox(), Inbox()
    outbox.register([URL], None, 0)
    fill(rows, log, 1)
    log.checkpoint()
    first.gate.clear()
    one, other = (Sender(URL, inbox, log, outbox) for inbox in (first, second))
    thread = threading.Thread(target=one.send_waiting)
    thread.start()
    assert first.entered.wait(60)
    assert other.send_waiting()
    assert second.got == []
    first.gate.set()
    thread.join()
    assert first.got == [1]


def test_a_replica_that_cannot_reach_the_receiver_leaves_it_to_another(rows, log, outbox):
    cut_off, well = Inbox(), Inbox()
    cut_off.down = True
    outbox.register([URL], None, 0)
    fill(rows, log, 1)
    log.checkpoint()
    assert not Sender(URL, cut_off, log, outbox).send_waiting()
    assert Sender(URL, well, log, outbox).send_waiting()
    assert well.got == [1]


def test_a_thread_outlives_what_nobody_foresaw(rows, log, keepers):
    inbox = Inbox()
    took = inbox.send
    calls = []

    def odd(line):
        calls.append(line)
        if len(calls) == 1:
            raise ZeroDivisionError("on purpose")
        took(line)

    inbox.send = odd
    keepers(inbox, every_s=0.2).start()
    fill(rows, log, 1)
    inbox.wait_for(1)
    assert len(calls) == 2


def test_the_turn_of_a_replica_that_died_ends_also_when_the_clock_has_gone_back(rows, log, outbox):
    outbox.register([URL], None, 0)
    fill(rows, log, 1)
    log.checkpoint()
    assert [seq for seq, _ in outbox.claim(URL, "dead")] == [1]
    assert outbox.claim(URL, "other") == []
    outbox._clock.now -= 3600
    assert [seq for seq, _ in outbox.claim(URL, "other")] == [1]
    outbox._clock.now += LEASE_S + 1
    assert [seq for seq, _ in outbox.claim(URL, "third")] == [1]


def test_a_receiver_that_is_new_gets_the_newest_and_one_that_is_gone_holds_nothing_up(rows, log, outbox):
    fill(rows, log, 2)
    made = log.checkpoint()
    assert rows.read().settings("audit.outbox/") == {}
    outbox.register(["a", "b"], made.line, made.seq)
    assert [seq for seq, _ in outbox.claim("a", "me")] == [2]
    outbox.sent("a", 2)
    fill(rows, log, 2)
    log.checkpoint()
    outbox.register(["a"], made.line, made.seq)
    assert [seq for seq, _ in outbox.claim("a", "me")] == [4]
    outbox.sent("a", 4)
    assert rows.read().settings("audit.outbox/") == {}


def test_a_kill_between_entry_and_checkpoint_loses_neither(rows, log, outbox, keepers):
    inbox = Inbox()
    keepers(inbox).register()
    fill(rows, log, 1500)
    # No stop: the process is gone. The next one finds what was signed, and signs the rest.
    again = keepers(inbox, every_s=0.2)
    again.start()
    inbox.wait_for(1000)
    inbox.wait_for(1500)
    assert inbox.got[:2] == [1000, 1500]


def test_a_log_that_was_cut_or_rewritten_is_told_and_its_entries_go_on(rows, log, keepers, caplog):
    fill(rows, log, 5)
    log.checkpoint()
    keeper = keepers(every_s=0)
    del rows.tables.audit[3:]
    keeper._carefully(keeper.tend)
    assert "2 more entries were signed" in keeper.trouble
    fill(rows, log, 4)
    keeper._carefully(keeper.tend)
    keeper._carefully(keeper.tend)
    assert "not the one that its last checkpoint signed" in keeper.trouble
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 2
    assert rows.read().audit_tail().seq == 7


def test_an_older_database_put_back_is_told_by_a_receiver_that_knows_more(rows, log, outbox):
    class File(Inbox):
        def last(self):
            return self.line

    file = File()
    fill(rows, log, 6)
    file.line = log.checkpoint().line
    sender = Sender(URL, file, log, outbox)
    sender._check()
    assert sender.trouble is None
    del rows.tables.audit[4:]
    for name in (CHECKPOINT_SETTING, TREE_SETTING):
        del rows.tables.settings[name]
    log.checkpoint()
    sender._check()
    assert "6 entries were signed, of which only 4 are here" in sender.trouble
    fill(rows, log, 5)
    sender._check()
    assert "the log was rewritten" in sender.trouble
    with pytest.raises(TamperedData):
        log.require_growth(file.line)
