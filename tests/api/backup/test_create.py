"""A backup is one state of all rows, whole or not there, and tells nothing to whoever lacks the offline key."""

from __future__ import annotations

import base64
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.backups import create_backup, verify_backup
from lookalike.domain import Ledgered
from lookalike.errors import InvalidInput, StorageFull
from security.backup_records import rows_of
from tests.api.backup.conftest import CROP, IMAGE
from tests.security.conftest import ENTRY, new_sample


def test_a_backup_made_while_others_enrol_and_erase_is_one_state_in_which_every_sample_has_its_subject(
    deployment, tmp_path
):
    deployment.enrol("ann", "bob")
    stop = threading.Event()
    wrong: list[BaseException] = []

    def busy() -> None:
        try:
            with deployment.opened() as (_, records):
                where, n = records.collection("staff"), 0
                while not stop.is_set():
                    records.add_samples(where, f"person {n}", [new_sample(crop=CROP), new_sample()], ENTRY)
                    if n % 3 == 2:
                        records.erase_subject(where, f"person {n - 1}", ENTRY)
                    n += 1
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=busy)
    thread.start()
    files = [deployment.back_up(tmp_path / f"{n}.backup").file for n in range(4)]
    stop.set()
    thread.join()

    assert wrong == []
    counted = []
    for n, file in enumerate(files):
        found = verify_backup(file, deployment.settings, key=deployment.key, every=1).found
        assert found.counts["samples"] == 2 * found.counts["subjects"]
        counted.append(found.counts["audit_entries"])
        assert deployment.restore(file, tmp_path / f"again {n}")[1].counts["subjects"] <= found.counts["subjects"]
    assert counted == sorted(set(counted)), "each saw more than the one before"


def test_neither_names_nor_metadata_nor_pictures_nor_keys_lie_in_the_file_in_the_clear(deployment, made, tmp_path):
    data = made.read_bytes()
    with deployment.opened() as (vault, records):
        where = records.collection("staff")
        subject = records.subject(where, "ann")
        vector = records.samples(where, subject)[0].vector
        (row,) = vault.rows.read().subjects([subject.key])
        sealed_too = [row.payload, row.wrapped_key, subject.key.encode(), where.id.encode()]
    root = (tmp_path / "data" / "keys" / "root.key").read_bytes()
    texts = [form for text in ("staff", "cleo") for form in (text.encode(), base64.b64encode(text.encode())[:-2])]
    canaries = [*texts, CROP[20:60], IMAGE[20:60], vector.tobytes()[:32], root, *sealed_too]
    assert [canary for canary in canaries if canary in data] == []
    assert made.stat().st_mode & 0o777 == 0o600


def test_the_ledger_names_nobody_either(deployment, tmp_path):
    deployment.enrol("ann xaviera")
    deployment.erase("ann xaviera")
    assert not [file for file in (tmp_path / "ledger").iterdir() if b"xaviera" in file.read_bytes()]


def test_what_lies_in_free_pages_and_dead_rows_does_not_travel(deployment, tmp_path):
    deployment.enrol("ann", "bob")
    with deployment.opened() as (vault, records):
        subject = records.subject(records.collection("staff"), "ann")
        (row,) = vault.rows.read().subjects([subject.key])
    deployment.erase("ann")
    with deployment.opened() as (vault, _), vault.rows.snapshot() as reader:
        everything = [part for record in rows_of(reader) for part in vars_of(record)]
    assert row.wrapped_key not in everything
    assert row.payload not in everything


def vars_of(record: object) -> list[object]:
    return [getattr(record, name) for name in type(record).__slots__ if hasattr(record, name)]


def test_it_gets_a_name_of_its_own_in_a_folder_and_never_replaces_a_file_nor_lies_in_the_data_folder(
    deployment, made, tmp_path
):
    (tmp_path / "out").mkdir()
    first, second = deployment.back_up(tmp_path / "out").file, deployment.back_up(tmp_path / "out").file
    assert first != second
    before = made.read_bytes()
    for place in (made, tmp_path / "data" / "b.backup", tmp_path / "data", tmp_path / "none" / "b.backup"):
        with pytest.raises(InvalidInput):
            deployment.back_up(place)
    assert made.read_bytes() == before


def test_a_backup_that_fails_leaves_nothing_and_the_failure_is_on_record(deployment, made, tmp_path, monkeypatch):
    def full(records: object) -> Iterator[bytes]:
        yield b"a beginning"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("api.backups.encoded", full)
    (tmp_path / "out").mkdir()
    with pytest.raises(StorageFull, match="the backup was not written"):
        deployment.back_up(tmp_path / "out")
    monkeypatch.undo()
    assert list((tmp_path / "out").iterdir()) == []
    with deployment.opened() as (vault, _):
        assert [entry.outcome for entry in vault.audit.page(0, 1000)][-2:] == ["ok", "storage_full"]


def test_what_a_killed_backup_left_is_swept_by_the_next_and_one_that_is_being_written_is_left(deployment, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    deployment.enrol("ann")
    left, busy = out / ".old.backup.0a0b0c0d.writing", out / ".now.backup.0a0b0c0e.writing"
    left.write_bytes(b"half")
    holder = subprocess.Popen(
        ["flock", str(busy), "-c", "echo held; sleep 60"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        made = deployment.back_up(out).file
        assert sorted(file.name for file in out.iterdir()) == sorted([busy.name, made.name])
    finally:
        os.killpg(holder.pid, 9)
        holder.wait()
        holder.stdout.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small file system")
def test_a_full_disk_is_told_clearly_and_nothing_is_left_on_it(deployment, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        for n in range(4):
            deployment.enrol(*(f"person {n} {m}" for m in range(6)))
        with pytest.raises(StorageFull, match="the backup was not written"):
            deployment.back_up(small)
        assert list(small.iterdir()) == []
        with pytest.raises(StorageFull):
            file = deployment.back_up(tmp_path / "elsewhere.backup").file
            deployment.restore(file, small / "again")
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_backup_is_still_made_where_the_ledger_cannot_be_written_and_says_so(deployment, made, tmp_path):
    (tmp_path / "ledger" / "erasures.ledger").unlink()
    with deployment.opened() as (vault, _):
        assert vault.ledger.publish() is Ledgered.WRITTEN, "a copy that is gone is written anew"
        (tmp_path / "ledger" / "erasures.ledger").unlink()
        (tmp_path / "ledger" / "erasures.ledger").mkdir()
        done = create_backup(vault, tmp_path / "second.backup", deployment.key.recipient, with_root_key=True)
    assert done.ledger is Ledgered.PENDING
    assert verify_backup(Path(done.file), deployment.settings, key=deployment.key).found.counts["subjects"] == 3


def test_whoever_is_erased_after_a_backup_is_told_so_by_the_receipt(deployment, tmp_path):
    deployment.enrol("ann", "bob")
    assert deployment.erase("bob").pending == ()
    deployment.back_up(tmp_path / "a.backup")
    assert deployment.erase("ann").pending == ("backups",)
