"""Whoever changes a backup, cuts it, or puts one together from others gets nothing restored."""

from __future__ import annotations

import hashlib
import random
import secrets
from pathlib import Path

import pytest

from api.backups import verify_backup
from lookalike.errors import BadBackup, DataTooNew, LookalikeError, TamperedData, WrongRecipient
from lookalike.settings import Settings
from security.backup_file import TRAILER_BYTES, check_backup, write_backup
from security.backup_records import MAX_BODY_BYTES, FileRecord, SettingRecord, encoded
from security.recipient import HEAD_BYTES, RecipientKey, Sender
from security.sealed_stream import CHUNK_BYTES, HEADER_BYTES
from tests.api.backup.conftest import Deployment

BORDER = CHUNK_BYTES + 16


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> tuple[Deployment, Path, Path]:
    """Two backups of one deployment, each with several chunks."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "ledger").mkdir()
    (folder / "data").mkdir()
    held = Deployment(Settings(data=folder / "data", ledger=folder / "ledger"))
    held.enrol("ann", "bob")
    with held.opened() as (vault, _):
        for n in range(3):
            vault.rows.write(lambda tx, n=n: tx.put_setting(f"padding {n}", secrets.token_bytes(CHUNK_BYTES)))
    return held, held.back_up(folder / "a.backup").file, held.back_up(folder / "b.backup").file


def chunks_at(file: Path) -> int:
    """Where the first sealed chunk begins."""
    return check_backup(file).sealed_at + HEAD_BYTES + HEADER_BYTES


def refused(held: Deployment, file: Path, data: bytes, tmp_path: Path) -> None:
    """Neither the outside of these bytes nor their inside passes, and nothing of them is restored."""
    changed = tmp_path / "changed.backup"
    changed.write_bytes(data)
    with pytest.raises((TamperedData, BadBackup, DataTooNew)):
        verify_backup(changed, held.settings)
    with pytest.raises((TamperedData, BadBackup, DataTooNew)):
        held.restore(changed, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_the_files_that_are_attacked_are_sound(large):
    held, first, second = large
    for file in (first, second):
        found = verify_backup(file, held.settings, key=held.key, every=1)
        assert (found.found.counts["subjects"], found.found.opened > 10) == (2, True)


def test_a_flipped_bit_is_found_out_without_a_key_wherever_it_is(made, tmp_path):
    data = bytearray(made.read_bytes())
    head = range(chunks_at(made) + 40)
    tail = range(len(data) - TRAILER_BYTES - 40, len(data))
    anywhere = random.Random(7).sample(range(len(data)), 500)
    changed = tmp_path / "changed.backup"
    for at in {*head, *tail, *anywhere}:
        data[at] ^= 1 << (at % 8)
        changed.write_bytes(data)
        with pytest.raises((TamperedData, BadBackup, DataTooNew)):
            check_backup(changed)
        data[at] ^= 1 << (at % 8)


def test_a_file_cut_at_a_chunks_border_or_anywhere_else_is_refused(large, tmp_path):
    held, first, _ = large
    data, start = first.read_bytes(), chunks_at(first)
    borders = [start + n * BORDER for n in range(3)]
    for at in (0, 1, 8, start, *borders, *(b + 1 for b in borders), len(data) - TRAILER_BYTES, len(data) - 1):
        refused(held, first, data[:at], tmp_path)
    for at in borders:
        refused(held, first, data[:at] + data[-TRAILER_BYTES:], tmp_path)
    refused(held, first, data + b"\0", tmp_path)


def test_chunks_that_are_swapped_left_out_doubled_or_taken_from_another_backup_are_refused(large, tmp_path):
    held, first, second = large
    a, b, start, other = first.read_bytes(), second.read_bytes(), chunks_at(first), chunks_at(second)
    one, two = slice(start, start + BORDER), slice(start + BORDER, start + 2 * BORDER)
    head, rest = a[:start], a[two.stop :]
    refused(held, first, head + a[two] + a[one] + rest, tmp_path)
    refused(held, first, head + a[two] + rest, tmp_path)
    refused(held, first, head + a[one] + a[one] + a[two] + rest, tmp_path)
    refused(held, first, head + b[other : other + BORDER] + a[two] + rest, tmp_path)
    refused(held, first, b[:other] + a[start:], tmp_path)
    refused(held, first, a[:-TRAILER_BYTES] + b[-TRAILER_BYTES:], tmp_path)


def signed_anew(held: Deployment, data: bytes) -> bytes:
    """What somebody could do who can make the deployment sign, but does not know the offline key."""
    with held.opened() as (vault, _):
        body = data[:-TRAILER_BYTES]
        signature = vault.keyring.sign(b"lookalike backup\n" + hashlib.sha512(body).digest())
    return body + b"LKBE" + len(body).to_bytes(8, "big") + signature


def test_even_signed_anew_a_changed_chunk_or_statement_does_not_open(large, tmp_path):
    held, first, _ = large
    data, start = bytearray(first.read_bytes()), chunks_at(first)
    flipped = bytearray(data)
    flipped[start + 100] ^= 1
    renamed = bytes(data).replace(b'"audit_seq":', b'"audit_seq":9', 1)
    length = int.from_bytes(data[5:9], "big") + 1
    renamed = renamed[:5] + length.to_bytes(4, "big") + renamed[9:]
    for changed in (bytes(flipped), renamed):
        file = tmp_path / "changed.backup"
        file.write_bytes(signed_anew(held, changed))
        check_backup(file)
        with pytest.raises(TamperedData):
            held.restore(file, tmp_path / "again")
        with pytest.raises(TamperedData):
            verify_backup(file, held.settings, key=held.key)


def test_the_wrong_key_opens_nothing(large):
    held, first, _ = large
    with pytest.raises(WrongRecipient):
        verify_backup(first, held.settings, key=RecipientKey(bytes(range(32))))


def test_a_newer_format_is_refused_and_so_is_what_is_no_backup(made, tmp_path):
    data = made.read_bytes()
    file = tmp_path / "other"
    for content, error in (
        (data[:4] + b"\x02" + data[5:], DataTooNew),
        (b"PK\x03\x04zip", BadBackup),
        (b"", BadBackup),
    ):
        file.write_bytes(content)
        with pytest.raises(error):
            check_backup(file)


def own_backup(held: Deployment, file: Path, pieces: list[bytes]) -> Path:
    """A backup that the deployment itself signed, with other contents."""
    with held.opened() as (vault, _):
        sender = Sender(vault.keyring.public_key, vault.keyring.sign)
        statement = check_backup(file).statement
        changed = file.with_name("own.backup")
        changed.write_bytes(b"".join(write_backup(statement, held.key.recipient, sender, pieces)))
    return changed


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"s" + (MAX_BODY_BYTES + 1).to_bytes(4, "big")],
        [b"?" + bytes(4)],
        [b"s\0\0\0\x04\0\0\0\x09"],
        [next(iter(encoded([SettingRecord("a", b"b")])))],
        [*encoded([SettingRecord("a", b"b")]), b"more"],
        [*encoded([SettingRecord("a", b"b")])],
    ],
    ids=["nothing", "too long", "unknown kind", "cut field", "no end", "more behind the end", "no audit log"],
)
def test_records_that_do_not_fit_are_refused_also_when_signed(large, tmp_path, pieces):
    held, first, _ = large
    file = own_backup(held, first, pieces)
    with pytest.raises((BadBackup, TamperedData, DataTooNew)):
        verify_backup(file, held.settings, key=held.key)
    with pytest.raises((BadBackup, DataTooNew)):
        held.restore(file, tmp_path / "again")
    with pytest.raises(LookalikeError):
        Deployment(held.settings.model_copy(update={"data": tmp_path / "again"})).names()


def test_a_file_with_a_name_that_leads_out_of_the_folder_is_refused(large, tmp_path):
    held, first, _ = large
    for name in ("../outside", "/tmp/outside", "a/b", ""):
        file = own_backup(held, first, [*encoded([FileRecord(name, b"x")])])
        with pytest.raises(BadBackup, match="outside"):
            held.restore(file, tmp_path / "again")
    assert not (tmp_path / "outside").exists()
