from __future__ import annotations

import hashlib
import json
import struct
import threading
from dataclasses import replace

import pytest

from lookalike.domain import AuditEntry
from lookalike.errors import StorageUnavailable, TamperedData
from security.audit import SealedAuditLog
from security.audit_check import verify_chain
from security.checkpoints import CHECKPOINT_SETTING, lines_of, read_checkpoint
from tests.security.conftest import Clock

ENTRY = AuditEntry(
    "identify", "key:abc", "ok", "r-1", "visitors", "Ada Lovelace\ud800", {"faces": 2, "top": 0.5, "x": None}
)


@pytest.fixture
def log(memory, memory_keyring, clock: Clock) -> SealedAuditLog:
    return SealedAuditLog(memory, memory_keyring, clock)


def fill(log: SealedAuditLog, count: int) -> None:
    for n in range(count):
        log.append(replace(ENTRY, details={"n": n}))


def test_entries_come_back_in_order_with_their_number_and_time(audit, clock):
    audit.append(ENTRY)
    clock.now += 5
    audit.append(replace(ENTRY, action="verify"))
    first, second = audit.page(0, 10)
    assert first == replace(ENTRY, seq=1, at=clock.now - 5)
    assert (second.seq, second.at, second.action) == (2, clock.now, "verify")
    assert audit.page(1, 10) == [second]
    assert audit.page(0, 1) == [first]


def test_a_whole_log_verifies_and_an_empty_one_too(audit):
    assert (audit.verify().sound, audit.verify().entries) == (True, 0)
    fill(audit, 25)
    report = audit.verify()
    assert (report.sound, report.entries, report.broken_at, report.reason) == (True, 25, None, None)


def test_the_chain_is_the_one_that_the_description_gives(log, memory, memory_keyring):
    fill(log, 3)
    chain = hashlib.sha256(b"\x03" + memory_keyring.deployment.encode()).digest()
    for row in memory.tables.audit:
        leaf = hashlib.sha256(b"\x00" + row.payload).digest()
        chain = hashlib.sha256(b"\x02" + chain + struct.pack(">Qd", row.seq, row.at) + leaf).digest()
        assert row.chain == chain


def test_the_chain_verifies_without_any_key(log, memory, memory_keyring):
    fill(log, 5)
    assert verify_chain(memory.tables.audit, memory_keyring.deployment).sound
    assert verify_chain(memory.tables.audit, "0" * 32).broken_at == 1
    memory.tables.audit[3] = replace(memory.tables.audit[3], at=0.0)
    assert verify_chain(memory.tables.audit, memory_keyring.deployment).broken_at == 4


def test_entries_of_many_threads_stand_in_one_chain(audit):
    def work() -> None:
        fill(audit, 10)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.seq for entry in audit.page(0, 100)] == list(range(1, 41))
    assert audit.verify().sound


@pytest.mark.parametrize(
    ("name", "change", "broken_at"),
    [
        ("a payload", lambda rows: rows.__setitem__(2, replace(rows[2], payload=rows[2].payload[:-1] + b"\x00")), 3),
        ("a time", lambda rows: rows.__setitem__(2, replace(rows[2], at=rows[2].at + 1)), 3),
        ("a chain value", lambda rows: rows.__setitem__(2, replace(rows[2], chain=bytes(32))), 3),
        ("an entry left out", lambda rows: rows.pop(2), 3),
        ("the first left out", lambda rows: rows.pop(0), 1),
        ("two swapped", lambda rows: rows.__setitem__(slice(2, 4), rows[3:1:-1]), 3),
        ("a number", lambda rows: rows.__setitem__(2, replace(rows[2], seq=7)), 3),
        ("an entry doubled", lambda rows: rows.insert(3, rows[2]), 4),
    ],
)
def test_a_change_within_is_found_where_it_is(log, memory, name, change, broken_at):
    fill(log, 6)
    change(memory.tables.audit)
    report = log.verify()
    assert (report.sound, report.broken_at) == (False, broken_at), name


def test_entries_forged_with_a_right_chain_do_not_open(log, memory, memory_keyring):
    from security.audit_tree import chained, genesis
    from security.envelope import seal
    from security.secret_key import SecretKey

    fill(log, 2)
    payload = seal(SecretKey.generate(), b"{}", memory_keyring.context("audit", version=1))
    row = memory.tables.audit[0]
    chain = chained(genesis(memory_keyring.deployment), 1, row.at, payload)
    memory.tables.audit[:] = [replace(row, payload=payload, chain=chain)]
    assert verify_chain(memory.tables.audit, memory_keyring.deployment).sound
    assert log.verify().broken_at == 1
    with pytest.raises(TamperedData):
        log.page(0, 1)


def test_a_removed_tail_is_found_by_a_checkpoint(log, memory, tmp_path):
    fill(log, 5)
    assert log.checkpoint(tmp_path / "checkpoints").seq == 5
    del memory.tables.audit[3:]
    report = log.verify()
    assert report.broken_at == 4
    assert "end of the log was removed" in report.reason
    del memory.tables.settings[CHECKPOINT_SETTING]
    assert log.verify().sound
    assert log.verify(lines_of(tmp_path / "checkpoints")).broken_at == 4


def test_a_rewritten_log_is_found_by_a_checkpoint_kept_elsewhere(log, memory, memory_keyring, clock, tmp_path):
    fill(log, 5)
    log.checkpoint(tmp_path / "checkpoints")
    memory.tables.audit.clear()
    del memory.tables.settings[CHECKPOINT_SETTING]
    fill(log, 9)
    assert log.verify().sound
    report = log.verify(lines_of(tmp_path / "checkpoints"))
    assert (report.broken_at, "rewritten" in report.reason) == (5, True)


def test_checkpoints_add_up_in_the_file_and_cover_what_came_before_them(log, tmp_path):
    file = tmp_path / "checkpoints"
    assert log.checkpoint(file) is None
    fill(log, 3)
    log.checkpoint(file)
    fill(log, 4)
    log.checkpoint(file)
    fill(log, 1)
    assert [json.loads(line)["seq"] for line in file.read_text().splitlines()] == [3, 7]
    report = log.verify(lines_of(file))
    assert (report.sound, report.checkpoints, report.covered, report.entries) == (True, 2, 7, 8)


def test_a_log_signs_a_checkpoint_by_itself_now_and_then(log, memory, monkeypatch):
    monkeypatch.setattr("security.audit.CHECKPOINT_EVERY", 4)
    fill(log, 9)
    assert log.verify().covered == 8
    del memory.tables.audit[6:]
    assert log.verify().broken_at == 7


def test_a_checkpoint_that_was_changed_or_is_of_another_deployment_is_refused(log, memory_keyring, keyring, tmp_path):
    fill(log, 2)
    line = log.checkpoint().line
    deployment, public = memory_keyring.deployment, memory_keyring.public_key
    assert read_checkpoint(line, deployment, public).seq == 2
    for wrong in (line.replace(b'"seq":2', b'"seq":3'), b"", b"{}", b"[]", b"nonsense", line[:-2], b"\xff" + line):
        with pytest.raises(TamperedData):
            read_checkpoint(wrong, deployment, public)
    with pytest.raises(TamperedData):
        read_checkpoint(line, keyring.deployment, public)
    with pytest.raises(TamperedData):
        read_checkpoint(line, deployment, keyring.public_key)


def test_a_checkpoint_file_that_cannot_be_written_or_read_is_told(log, tmp_path):
    fill(log, 1)
    with pytest.raises(StorageUnavailable):
        log.checkpoint(tmp_path / "no" / "such" / "folder")
    with pytest.raises(StorageUnavailable):
        lines_of(tmp_path / "missing")
