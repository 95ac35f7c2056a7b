"""The tree beside the log: what is signed of it, what is kept of it, and what a rewritten log does to it."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from lookalike.domain import AuditEntry
from lookalike.errors import NotFound, TamperedData
from security.audit import SealedAuditLog
from security.audit_tree import NODES, TREE_SETTING, LogTree, chained, genesis
from security.checkpoints import CHECKPOINT_SETTING
from security.merkle import leaf_hash, root_by_inclusion, roots_by_consistency
from tests.security.conftest import Clock

ENTRY = AuditEntry("identify", "key:abc", "ok", "r-1", "visitors")


@pytest.fixture
def log(memory, memory_keyring, clock: Clock) -> SealedAuditLog:
    return SealedAuditLog(memory, memory_keyring, clock)


def fill(rows, log: SealedAuditLog, count: int) -> None:
    """Many entries in one transaction, as an import writes them."""
    notes = [log.prepare(replace(ENTRY, details={"n": n})) for n in range(count)]
    rows.write(lambda tx: [note(tx) for note in notes])


def leaves_of(reader) -> list[bytes]:
    return [leaf_hash(struct.pack(">Qd", row.seq, row.at) + row.payload) for row in reader.audit_page(0, 10_000)]


def slow_root(leaves: list[bytes]) -> bytes:
    import hashlib

    if len(leaves) == 1:
        return leaves[0]
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def rewrite(rows, deployment: str, change, first: int = 1) -> None:
    """What whoever holds the database can do: change an entry and chain all after it anew."""
    held = change(list(rows.tables.audit))
    chain = genesis(deployment)
    for at, row in enumerate(held):
        chain = chained(chain, at + 1, row.at, row.payload)
        held[at] = replace(row, seq=at + 1, chain=chain)
    rows.tables.audit[:] = held


def test_a_checkpoint_signs_the_root_of_the_definition_however_often_one_was_made_before(rows, audit):
    for count in (1, 2, 5, 300, 7):
        fill(rows, audit, count)
        made = audit.checkpoint()
        assert made.root == slow_root(leaves_of(rows.read()))
        assert made.seq == len(leaves_of(rows.read()))
    assert audit.verify().sound


def test_the_thousandth_entry_is_signed_in_the_transaction_that_appends_it(rows, audit):
    fill(rows, audit, 1003)
    assert (audit.newest().seq, audit.uncovered()) == (1000, 3)
    assert audit.newest().root == slow_root(leaves_of(rows.read())[:1000])


def test_entries_and_growth_are_proven_from_what_is_kept(rows, audit):
    fill(rows, audit, 1300)
    end = audit.checkpoint()
    leaves = leaves_of(rows.read())
    for seq in (1, 2, 256, 257, 1024, 1300):
        proof = audit.prove_entry(seq, None)
        assert (proof.row.seq, proof.size, proof.root) == (seq, 1300, end.root)
        assert root_by_inclusion(leaves[seq - 1], seq - 1, 1300, proof.path) == end.root
    for earlier in (1, 255, 256, 1000, 1024, 1299):
        before = slow_root(leaves[:earlier])
        proof = audit.prove_growth(earlier, 1300)
        assert roots_by_consistency(earlier, 1300, proof.path, before) == (before, end.root)
        assert LogTree(rows.read(), audit._keyring.deployment).frontier(earlier).root() == before
    for seq, size in ((0, 5), (6, 5), (1, 0), (1, 1301)):
        with pytest.raises(NotFound):
            audit.prove_entry(seq, size)
        with pytest.raises(NotFound):
            audit.prove_growth(seq, size)


def test_a_lost_or_damaged_tree_is_made_anew_from_the_entries(log, memory):
    fill(memory, log, 600)
    log.checkpoint()
    for damage in (None, b"nonsense", memory.tables.settings[TREE_SETTING][:-1] + b"\x00"):
        memory.tables.settings.pop(TREE_SETTING, None)
        for name in [name for name in memory.tables.settings if name.startswith(NODES)]:
            del memory.tables.settings[name]
        if damage is not None:
            memory.tables.settings[TREE_SETTING] = damage
        fill(memory, log, 10)
        made = log.checkpoint()
        assert made.root == slow_root(leaves_of(memory.read()))
        proof = log.prove_entry(3, made.seq)
        assert root_by_inclusion(leaves_of(memory.read())[2], 2, made.seq, proof.path) == made.root


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        ("an entry changed", lambda held: [*held[:3], replace(held[3], at=0.0), *held[4:]]),
        ("two swapped", lambda held: [*held[:3], held[4], held[3], *held[5:]]),
        ("one left out", lambda held: [*held[:3], *held[4:]]),
        ("the newest deleted", lambda held: held[:-2]),
        ("all deleted", lambda held: []),
    ],
)
def test_nothing_is_signed_over_a_log_that_was_rewritten_since(log, memory, memory_keyring, name, attack):
    fill(memory, log, 12)
    signed = log.checkpoint()
    rewrite(memory, memory_keyring.deployment, attack)
    if memory.tables.audit:
        with pytest.raises(TamperedData):
            log.checkpoint()
    if len(memory.tables.audit) < signed.seq:
        with pytest.raises(TamperedData):
            log.uncovered()
    assert log.newest() == signed
    assert log.verify().sound is False, name


def test_entries_go_on_being_written_while_the_log_waits_for_somebody_to_look_at_it(log, memory, memory_keyring):
    fill(memory, log, 12)
    signed = log.checkpoint()
    rewrite(memory, memory_keyring.deployment, lambda held: [replace(held[0], at=0.0), *held[1:]])
    fill(memory, log, 1000)
    assert memory.read().audit_tail().seq == 1012
    assert log.newest() == signed


@pytest.mark.parametrize("at", [3, 8])
def test_a_log_rewritten_and_signed_anew_with_the_same_key_differs_from_a_checkpoint_kept_elsewhere(
    log, memory, memory_keyring, tmp_path, at
):
    fill(memory, log, 10)
    log.checkpoint(tmp_path / "elsewhere")
    rewrite(memory, memory_keyring.deployment, lambda held: [*held[:at], *held[at + 1 :], held[at]])
    for name in (CHECKPOINT_SETTING, TREE_SETTING):
        del memory.tables.settings[name]
    fill(memory, log, 5)
    log.checkpoint()
    without_key = replace(log.verify(), root="")
    assert without_key.broken_at in (None, at + 1)  # an entry that was moved does not open in its new place
    from security.audit_check import verify_chain
    from security.checkpoints import lines_of, read_checkpoint

    (line,) = lines_of(tmp_path / "elsewhere")
    pushed = read_checkpoint(line, memory_keyring.deployment, memory_keyring.public_key)
    assert verify_chain(memory.tables.audit, memory_keyring.deployment).sound
    report = verify_chain(memory.tables.audit, memory_keyring.deployment, [pushed])
    assert (report.broken_at, "rewritten" in report.reason) == (10, True)


def test_a_clock_that_goes_backwards_breaks_nothing(rows, audit, clock):
    fill(rows, audit, 3)
    audit.checkpoint()
    clock.now -= 86_400
    fill(rows, audit, 3)
    made = audit.checkpoint()
    assert (made.seq, made.at) == (6, clock.now)
    assert audit.verify().sound


def test_a_checkpoint_of_an_older_release_has_no_root_and_still_counts(log, memory, memory_keyring):
    import json

    from security.checkpoints import _CHECKPOINT
    from security.sealed_codec import canonical

    fill(memory, log, 5)
    held = json.loads(log.checkpoint().line)
    del held["root"], held["signature"]
    line = canonical({**held, "signature": memory_keyring.sign(_CHECKPOINT + canonical(held)).hex()})
    memory.tables.settings[CHECKPOINT_SETTING] = line
    del memory.tables.settings[TREE_SETTING]
    assert log.verify().covered == 5
    fill(memory, log, 2)
    assert log.checkpoint().root == slow_root(leaves_of(memory.read()))


def test_processes_that_append_and_sign_at_once_leave_one_log_and_checkpoints_that_all_agree(rows, keyring, clock):
    import threading

    from security.checkpoint_outbox import Outbox

    Outbox(rows, clock).register(["somewhere"], None, 0)
    logs, failed = [SealedAuditLog(rows, keyring, clock) for _ in range(3)], []

    def work(log: SealedAuditLog) -> None:
        try:
            for _ in range(6):
                log.append(ENTRY)
                log.checkpoint()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    lines = [line for _, line in Outbox(rows, clock).claim("somewhere", "me")]
    report = logs[0].verify(lines)
    assert (report.sound, report.entries, report.covered) == (True, 18, 18)
    assert report.checkpoints == len(lines) >= 6
