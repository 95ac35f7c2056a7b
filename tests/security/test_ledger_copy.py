"""Every erasure is in the copy outside before it is acknowledged, or the receipt says that it is not."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest

from lookalike.domain import Ledgered
from lookalike.errors import BadSettings, LedgerMismatch, TamperedData
from security.audit import SealedAuditLog
from security.checkpoints import read_checkpoint
from security.ledger import read_ledger
from security.ledger_copy import CHECKPOINTS, ERASURES, Ledger, lines_in
from security.sealed_records import SealedRecords
from tests.security.conftest import ENTRY, new_collection, new_sample


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "ledger"
    made.mkdir()
    return made


@pytest.fixture
def ledger(rows, keyring, audit, folder):
    return Ledger(rows, keyring, audit, folder)


@pytest.fixture
def kept(rows, keyring, audit, clock, ledger):
    records = SealedRecords(rows, keyring, audit, clock, ledger)
    collection = new_collection()
    records.create_collection(collection, ENTRY)
    for name in ("ann", "bob", "cleo", "dora"):
        records.add_samples(collection, name, [new_sample()], ENTRY)
    return records, collection


def kinds(folder):
    return [json.loads(line)["kind"] for line in lines_in(folder)]


def test_an_erasure_is_signed_for_in_the_copy_with_random_ids_its_receipt_and_the_audit_logs_end(
    kept, folder, keyring, rows
):
    records, collection = kept
    key = records.subject(collection, "ann").key
    receipt = records.erase_subject(collection, "ann", ENTRY)
    assert receipt.ledger is Ledgered.WRITTEN
    (line,) = read_ledger(lines_in(folder), keyring.deployment, keyring.public_key)
    assert line.facts == {
        "collection": collection.id,
        "subject": key,
        "receipt_sha256": hashlib.sha256(receipt.body.encode()).hexdigest(),
    }
    tail = rows.read().audit_tail()
    assert (line.audit_seq, line.audit_chain) == (tail.seq, tail.chain)
    (text,) = (folder / CHECKPOINTS).read_bytes().splitlines()
    checkpoint = read_checkpoint(text, keyring.deployment, keyring.public_key)
    assert (checkpoint.seq, checkpoint.ledger) == (tail.seq, line.head)


def test_a_deleted_sample_and_a_deleted_collection_stand_there_too(kept, folder):
    records, collection = kept
    subject = records.subject(collection, "bob")
    records.delete_sample(collection, subject, records.samples(collection, subject)[0].id, ENTRY)
    records.delete_collection(collection, ENTRY)
    assert kinds(folder) == ["sample", "collection"]


def test_an_erasure_holds_while_the_copy_cannot_be_written_and_is_copied_once_it_can(kept, folder, ledger, caplog):
    records, collection = kept
    records.erase_subject(collection, "ann", ENTRY)
    away = folder.rename(folder.with_name("unmounted"))
    assert records.erase_subject(collection, "bob", ENTRY).ledger is Ledgered.PENDING
    assert records.erase_subject(collection, "cleo", ENTRY).ledger is Ledgered.PENDING
    ledger.catch_up()
    assert caplog.text.count("erasures wait") == 1
    assert "bob" not in caplog.text
    away.rename(folder)
    ledger.catch_up()
    assert kinds(folder) == ["subject"] * 3
    assert len((folder / CHECKPOINTS).read_bytes().splitlines()) == 2


def test_without_a_folder_the_lines_are_kept_and_all_of_them_are_copied_once_one_is_named(
    rows, keyring, audit, clock, folder
):
    records = SealedRecords(rows, keyring, audit, clock)
    collection = new_collection()
    records.create_collection(collection, ENTRY)
    for name in ("ann", "bob"):
        records.add_samples(collection, name, [new_sample()], ENTRY)
        assert records.erase_subject(collection, name, ENTRY).ledger is Ledgered.NONE
    Ledger(rows, keyring, audit, folder).require_current()
    assert kinds(folder) == ["subject"] * 2


def test_a_line_that_a_kill_cut_is_taken_away_and_written_whole(kept, folder, rows, keyring, audit):
    records, collection = kept
    records.erase_subject(collection, "ann", ENTRY)
    records.erase_subject(collection, "bob", ENTRY)
    path = folder / ERASURES
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 100, 5, 0):
        path.write_bytes(whole[:cut])
        assert len(list(lines_in(folder))) < 2
        Ledger(rows, keyring, audit, folder).require_current()
        assert path.read_bytes() == whole


def test_many_at_once_and_several_processes_leave_one_unbroken_chain(rows, keyring, audit, clock, folder):
    records = SealedRecords(rows, keyring, audit, clock, Ledger(rows, keyring, audit, folder))
    collection = new_collection()
    records.create_collection(collection, ENTRY)
    names = [f"s{n}" for n in range(24)]
    for name in names:
        records.add_samples(collection, name, [new_sample()], ENTRY)

    def erase(mine: list[str]) -> None:
        own = SealedRecords(rows, keyring, audit, clock, Ledger(rows, keyring, audit, folder))
        for name in mine:
            assert own.erase_subject(collection, name, ENTRY).ledger is Ledgered.WRITTEN

    threads = [threading.Thread(target=erase, args=(names[n::4],)) for n in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    lines = list(read_ledger(lines_in(folder), keyring.deployment, keyring.public_key))
    assert [line.number for line in lines] == list(range(1, 25))


def test_a_copy_that_knows_more_than_the_records_or_others_is_refused(kept, folder, ledger):
    records, collection = kept
    records.erase_subject(collection, "ann", ENTRY)
    records.erase_subject(collection, "bob", ENTRY)
    whole = (folder / ERASURES).read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    (folder / ERASURES).write_bytes(whole + last.replace(b'"number":2', b'"number":3'))
    with pytest.raises(LedgerMismatch, match="1 lines are unknown"):
        ledger.require_current()
    assert records.erase_subject(collection, "cleo", ENTRY).ledger is Ledgered.PENDING
    (folder / ERASURES).write_bytes(whole.replace(last, last.replace(b'"subject"', b'"object"')))
    with pytest.raises(LedgerMismatch, match="another history"):
        ledger.require_current()
    (folder / ERASURES).write_bytes(b"no ledger at all\n")
    with pytest.raises(LedgerMismatch, match="not a ledger"):
        ledger.require_current()
    (folder / ERASURES).write_bytes(b"x" * 100_000)
    with pytest.raises(LedgerMismatch):
        ledger.require_current()
    assert (folder / ERASURES).stat().st_size == 100_000, "what is no ledger is left as it is"


def test_a_folder_that_is_not_there_ends_the_start(rows, keyring, audit, tmp_path):
    with pytest.raises(BadSettings, match="mount"):
        Ledger(rows, keyring, audit, tmp_path / "nowhere").require_current()


def test_nothing_is_written_where_nothing_is_new(kept, folder, rows, keyring, audit):
    records, collection = kept
    records.erase_subject(collection, "ann", ENTRY)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = Ledger(rows, keyring, SealedAuditLog(rows, keyring), folder)
    again.require_current()
    again.catch_up()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_line_whose_bytes_differ_from_how_it_was_signed_is_refused_even_if_they_mean_the_same(kept, folder, keyring):
    records, collection = kept
    records.erase_subject(collection, "ann", ENTRY)
    (line,) = lines_in(folder)
    with pytest.raises(TamperedData):
        list(read_ledger([line.replace(b",", b", ", 1)], keyring.deployment, keyring.public_key))
    for junk in (b"", b"{}", b"[1]", b"\xff", b'{"deployment": 1}', b"[" * 5000):
        with pytest.raises((TamperedData, LedgerMismatch)):
            list(read_ledger([junk], keyring.deployment, keyring.public_key))


def test_the_whole_copy_is_verified_on_demand(kept, folder, ledger, rows, keyring, audit):
    records, collection = kept
    assert Ledger(rows, keyring, audit).verify() is None
    for name in ("ann", "bob", "cleo"):
        records.erase_subject(collection, name, ENTRY)
    assert ledger.verify() == 3
    path = folder / ERASURES
    first, second, third = path.read_bytes().splitlines(keepends=True)
    for changed in (first + third, first + second.replace(b'"kind"', b'"kinf"') + third, second + first + third):
        path.write_bytes(changed)
        ledger.require_current()  # a start looks at the end alone
        with pytest.raises(TamperedData):
            ledger.verify()
    path.write_bytes(first + second + third)
    rows.write(lambda tx: tx.put_setting("ledger/000000000002", b"another"))
    with pytest.raises(TamperedData, match="line 2"):
        ledger.verify()
