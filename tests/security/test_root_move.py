"""Moving the root: all or nothing, processes that run follow for a while, and the old root opens nothing after it."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from api.root_access import new_root_access
from index.sqlite_rows import SqliteRows
from lookalike.errors import BadSettings, Conflict, KeyUnavailable, TamperedData
from lookalike.settings import Settings
from security import root_passphrase
from security.audit import SealedAuditLog
from security.backup_records import SettingRecord, rows_of
from security.envelope import key_id_of
from security.keys import KeyRing, open_key_ring
from security.ledger_copy import Ledger
from security.root import HANDOVER, Root, handovers
from security.root_key import new_root, root_facts, root_key
from security.root_move import Moved, move_root
from security.root_places import RootAccess
from security.rotation import KeyRotation
from security.sealed_records import SealedRecords
from tests.security.conftest import ENTRY, Clock, new_collection, new_sample
from tests.security.test_rotation import ADMIN, Fragile, Killed, asking, names, row_of

FILE = "file:keys/root.key"
OLD, NEW = "a long passphrase", "another passphrase"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {"kdf": "argon2id", "iterations": 1, "memory_kib": 64, "lanes": 1}
    monkeypatch.setattr(root_passphrase, "_DERIVATION", costs)
    monkeypatch.setattr("security.rotation.SETTLE_S", 0.0)


@pytest.fixture(autouse=True)
def clock_of_roots(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(Root.__init__, "__defaults__", (clock,))


@pytest.fixture
def people(records: SealedRecords, collection) -> list[str]:
    for name in ("anna", "ben"):
        records.add_samples(collection, name, [new_sample()], ENTRY)
    return ["anna", "ben"]


NOTHING = RootAccess()


def secret(folder: Path, name: str, content: str) -> RootAccess:
    (folder / name).write_text(content)
    (folder / name).chmod(0o400)
    return RootAccess(passphrase_file=folder / name)


def move(rows, keyring, clock, folder, spec, access=NOTHING, *, minutes: float | None = 10.0) -> Moved:
    new = new_root(spec, folder, rows, access)
    until = None if minutes is None else clock.now + 60 * minutes
    return move_root(rows, keyring, SealedAuditLog(rows, keyring, clock), new, ENTRY, until=until)


def opened(rows, folder: Path, spec: str, clock, access=NOTHING) -> tuple[KeyRing, SealedRecords]:
    ring = open_key_ring(spec, folder, rows, access=access)
    return ring, SealedRecords(rows, ring, SealedAuditLog(rows, ring, clock), clock)


def test_from_file_to_passphrase_to_another_one_and_back_everything_opens(
    rows, keyring, collection, people, clock, tmp_path
):
    one, two = secret(tmp_path, "one", OLD), secret(tmp_path, "two", NEW)
    steps = [("passphrase:", one), ("passphrase:", two), ("file:other/root.key", RootAccess())]
    ring = keyring
    for spec, access in steps:
        moved = move(rows, ring, clock, tmp_path, spec, access)
        assert moved.collections == 1
        assert root_facts(rows.read()).shown == spec
        ring, records = opened(rows, tmp_path, spec, clock, access)
        assert ring.root.id.hex() == moved.root_id
        assert (ring.deployment, ring.public_key) == (keyring.deployment, keyring.public_key)
        assert names(records, records.collection(collection.name)) == people
    assert "root.passphrase" not in rows.read().settings("root")


def test_the_old_root_opens_nothing_after_it_and_the_new_one_is_named(rows, keyring, people, clock, tmp_path):
    move(rows, keyring, clock, tmp_path, "file:other.key")
    with pytest.raises(
        KeyUnavailable, match=r"not the key .* comes from file:other.key since \d{4}-.*restore a backup"
    ):
        open_key_ring(FILE, tmp_path, rows)


def test_nothing_is_left_that_the_old_root_wrapped_but_the_handover(rows, keyring, records, people, clock, tmp_path):
    records.create_collection(new_collection("staff"), ENTRY)
    old = keyring.root.id
    move(rows, keyring, clock, tmp_path, "file:other.key")
    reader = rows.read()
    wrapped = {name: value for name, value in reader.settings("").items() if key_id_of(value) == old or old in value}
    assert {name for name in wrapped if not name.startswith("ledger")} == {HANDOVER + old.hex()}
    assert all(key_id_of(row.wrapped_key) != old for row in reader.collections())

    again = open_key_ring("file:other.key", tmp_path, rows)
    move(rows, again, clock, tmp_path, "file:third.key", minutes=None)
    assert handovers(rows.read()) == {}


# -------------------------------------------------------------------------------------------- while serving


def test_a_process_that_runs_follows_and_writes_on(rows, keyring, records, collection, people, clock, tmp_path):
    ring, other = opened(rows, tmp_path, FILE, clock)
    third, late = opened(rows, tmp_path, FILE, clock)

    move(rows, keyring, clock, tmp_path, "file:other.key")
    other.add_samples(other.collection(collection.name), "carla", [new_sample()], ENTRY)
    other.create_collection(new_collection("staff"), ENTRY)
    clock.now += 60
    log = SealedAuditLog(rows, ring, clock)
    KeyRotation(rows, ring, log, Ledger(rows, ring, log), clock=clock).run(asking(), None, lambda *_: None)
    move(rows, ring, clock, tmp_path, "file:third.key")

    assert third.root.id != keyring.root.id
    assert names(late, late.collection(collection.name)) == [*people, "carla"]  # over two handovers at once
    fresh = opened(rows, tmp_path, "file:third.key", clock)[1]
    assert [c.name for c in fresh.collections()] == ["staff", "visitors"]
    assert {key_id_of(row.wrapped_key) for row in rows.read().collections()} == {third.root.id}


def test_writes_go_on_while_the_root_is_moved_again_and_again(clock, tmp_path):
    """The command that moves it has a connection of its own, as it is a process of its own."""
    rows, beside = SqliteRows(tmp_path / "records.db"), SqliteRows(tmp_path / "records.db")
    _, records = opened(rows, tmp_path, FILE, clock)
    failures: list[BaseException] = []
    made: list[str] = []
    ended = threading.Event()

    def work() -> None:
        try:
            while not ended.is_set():
                collection = new_collection(f"c{len(made)}")
                records.create_collection(collection, ENTRY)
                records.add_samples(collection, "anna", [new_sample()], ENTRY)
                assert len(records.collections()) > len(made)
                made.append(collection.name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work)]
    for thread in threads:
        thread.start()
    for number in range(4):
        while len(made) < 3 * (number + 1) and not failures:
            time.sleep(0.01)
        before = FILE if number == 0 else f"file:{number - 1}.key"
        move(beside, open_key_ring(before, tmp_path, beside), clock, tmp_path, f"file:{number}.key")
    ended.set()
    for thread in threads:
        thread.join()

    assert not failures
    fresh = opened(rows, tmp_path, "file:3.key", clock)[1]
    assert {c.name for c in fresh.collections()} == set(made)
    assert all(names(fresh, c) == ["anna"] for c in fresh.collections())
    rows.close()
    beside.close()


def test_a_row_read_just_before_opens_for_some_seconds_and_not_longer(
    rows, keyring, collection, clock, tmp_path, monkeypatch
):
    before, context = row_of(rows, collection), keyring.context("collection-key", collection=collection.id)
    ring, _ = opened(rows, tmp_path, FILE, clock)
    move(rows, keyring, clock, tmp_path, "file:other.key")
    ring.reread(collection.id)
    assert ring.root.open(before.wrapped_key, context)
    later = time.monotonic() + 6.0
    monkeypatch.setattr("security.root.time.monotonic", lambda: later)
    with pytest.raises(KeyUnavailable, match="another root"):
        ring.root.open(before.wrapped_key, context)


def test_after_the_time_or_without_a_handover_a_process_says_that_it_must_be_started_again(
    rows, keyring, collection, clock, tmp_path
):
    for number, minutes in enumerate((10.0, None)):
        _, late = opened(rows, tmp_path, FILE if number == 0 else "file:0.key", clock)
        ring = keyring if number == 0 else open_key_ring("file:0.key", tmp_path, rows)
        move(rows, ring, clock, tmp_path, f"file:{number}.key", minutes=minutes)
        clock.now += 601
        with pytest.raises(KeyUnavailable, match="start it again with LOOKALIKE_KEYS"):
            late.collection(collection.name)


def test_a_service_ends_handovers_that_are_over(rows, keyring, collection, clock, tmp_path):
    move(rows, keyring, clock, tmp_path, "file:other.key")
    log = SealedAuditLog(rows, keyring, clock)
    rotation = KeyRotation(rows, keyring, log, Ledger(rows, keyring, log), clock=clock)
    rotation.follow()
    assert rotation.status(ADMIN).handed_over_until == clock.now + 600
    clock.now += 601
    rotation.follow()
    assert (rotation.status(ADMIN).handed_over_until, handovers(rows.read())) == (None, {})


def test_a_backup_takes_no_handover_along(rows, keyring, collection, clock, tmp_path):
    move(rows, keyring, clock, tmp_path, "file:other.key")
    kept = {record.name for record in rows_of(rows.read()) if isinstance(record, SettingRecord)}
    assert "root" in kept and not any(name.startswith(HANDOVER) for name in kept)


def test_a_handover_that_was_changed_or_prolonged_is_not_followed(rows, keyring, collection, clock, tmp_path):
    move(rows, keyring, clock, tmp_path, "file:other.key")
    (name, held), *_ = rows.read().settings(HANDOVER).items()
    clock.now += 601
    for forged in (b"\x7f" + held[1:], held[:8] + bytes(len(held) - 8), b"", held[:5]):
        rows.write(lambda tx, forged=forged: tx.put_setting(name, forged))
        root = Root(rows, root_key(FILE, tmp_path, rows, fresh=False), clock)
        with pytest.raises(KeyUnavailable, match="another root"):
            root.open(row_of(rows, collection).wrapped_key, keyring.context("collection-key", collection=collection.id))


# --------------------------------------------------------------------------------------- all or nothing


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_before_the_commit_the_old_root_opens_and_after_it_the_new_one(
    rows, keyring, collection, people, clock, tmp_path, after
):
    log = SealedAuditLog(rows, keyring, clock)
    new = new_root("file:other.key", tmp_path, rows, RootAccess())
    with pytest.raises(Killed):
        move_root(Fragile(rows, 1, after), keyring, log, new, ENTRY, until=None)

    right, wrong = ("file:other.key", FILE) if after else (FILE, "file:other.key")
    _, records = opened(rows, tmp_path, right, clock)
    assert names(records, records.collection(collection.name)) == people
    with pytest.raises(KeyUnavailable, match="not the key"):
        open_key_ring(wrong, tmp_path, rows)
    if not after:  # the file that was made is taken up by the next try
        move(rows, open_key_ring(FILE, tmp_path, rows), clock, tmp_path, "file:other.key")
        assert open_key_ring("file:other.key", tmp_path, rows).root.id == new.key.id


def test_a_tampered_key_stops_the_move_and_nothing_is_changed(rows, keyring, collection, clock, tmp_path):
    row = row_of(rows, collection)
    rows.write(lambda tx: tx.put_collection(replace(row, wrapped_key=row.wrapped_key[:-1] + b"\0")))
    with pytest.raises(TamperedData):
        move(rows, keyring, clock, tmp_path, "file:other.key")
    assert open_key_ring(FILE, tmp_path, rows).root.id == keyring.root.id
    assert handovers(rows.read()) == {}


def test_of_two_moves_at_once_one_is_done_and_the_other_refused(rows, keyring, collection, clock, tmp_path):
    other = open_key_ring(FILE, tmp_path, rows)
    new = new_root("file:second.key", tmp_path, rows, RootAccess())
    move(rows, keyring, clock, tmp_path, "file:first.key")
    with pytest.raises(Conflict, match="by somebody else"):
        move_root(rows, other, SealedAuditLog(rows, other, clock), new, ENTRY, until=None)
    assert open_key_ring("file:first.key", tmp_path, rows)


def test_a_move_to_the_root_that_is_in_force_is_refused(rows, keyring, clock, tmp_path):
    with pytest.raises(Conflict, match="already"):
        move(rows, keyring, clock, tmp_path, FILE)


def test_it_is_on_record_without_a_secret(rows, keyring, audit, collection, clock, tmp_path):
    move(rows, keyring, clock, tmp_path, "passphrase:", secret(tmp_path, "one", OLD))
    entry = audit.page(0, 100)[-1]
    assert entry.details["collections"] == 1 and OLD not in repr(entry)
    assert not any(OLD.encode() in value for value in rows.read().settings("").values())


# ------------------------------------------------------------------------------------------- passphrases


def test_a_new_passphrase_is_asked_for_twice_and_the_present_one_once(memory, tmp_path):
    asked: list[bool] = []

    def ask(again: bool) -> bytes:
        asked.append(again)
        return OLD.encode()

    first = root_key("passphrase:", tmp_path, memory, fresh=True, access=RootAccess(ask=ask))
    second = root_key("passphrase:", tmp_path, memory, fresh=False, access=RootAccess(ask=ask))
    assert (first.id, asked) == (second.id, [True, False])


def test_a_passphrase_in_the_setting_is_refused_and_not_repeated(memory, tmp_path):
    with pytest.raises(BadSettings, match="PASSPHRASE_FILE") as refused:
        root_key("passphrase:correct horse battery", tmp_path, memory, fresh=True)
    assert "horse" not in str(refused.value)


def test_the_file_of_the_old_passphrase_is_not_taken_for_the_new_one(tmp_path):
    settings = Settings(passphrase_file=tmp_path / "old")
    assert new_root_access(settings, None).passphrase_file is None
    assert new_root_access(settings, tmp_path / "new").passphrase_file == tmp_path / "new"


@pytest.mark.parametrize(
    "held",
    [
        b"", b"null", b"{}",
        b'{"kdf": "argon2id", "iterations": 3, "lanes": 4, "memory_kib": 99999999999, "salt": "%s"}' % (b"00" * 16),
        b'{"kdf": "scrypt", "iterations": 3, "lanes": 4, "memory_kib": 262144, "salt": "%s"}' % (b"00" * 16),
        b'{"kdf": "argon2id", "iterations": 3, "lanes": 4, "memory_kib": 262144, "salt": "xx"}',
    ],
)  # fmt: skip
def test_what_a_passphrase_is_derived_by_is_checked(memory, tmp_path, held):
    access = secret(tmp_path, "one", OLD)
    memory.tables.settings["root.passphrase"] = held
    with pytest.raises(KeyUnavailable, match="the data folder was changed"):
        root_key("passphrase:", tmp_path, memory, fresh=False, access=access)


def test_a_folder_of_before_facts_were_kept_says_what_can_be_told(memory, tmp_path):
    open_key_ring(FILE, tmp_path, memory)
    del memory.tables.settings["root"]
    assert root_facts(memory.read()).kind == "file"
    (tmp_path / "wrong.key").write_bytes(os.urandom(32))
    (tmp_path / "wrong.key").chmod(0o400)
    with pytest.raises(KeyUnavailable, match=r"comes from file: \(set .*; without it nothing"):
        open_key_ring("file:wrong.key", tmp_path, memory)
