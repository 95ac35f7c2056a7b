"""What waits to be enrolled and what was refused lie sealed, are read from anywhere, and survive a kill."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.domain import Collection
from lookalike.errors import CollectionNotFound, JobNotFound, StorageFull, TamperedData
from security.envelope import Context
from security.keys import KeyRing
from security.sealed_imports import SealedImports
from security.sealed_reader import SealedReader
from security.sealed_stream import StreamSealer, open_stream, seal_stream
from security.secret_key import SecretKey
from tests.security.conftest import ENTRY

KEY, CONTEXT = SecretKey(bytes(range(32))), Context("d", "import")


@pytest.fixture
def kept(tmp_path: Path, keyring: KeyRing) -> SealedImports:
    return SealedImports(tmp_path / "imports", keyring)


def sent(kept: SealedImports, collection: Collection, data: bytes) -> str:
    spool = kept.spool(collection.id)
    for at in range(0, len(data), 700_001):
        spool.write(data[at : at + 700_001])
    spool.keep()
    spool.abort()
    return spool.id


def sealed_file(tmp_path: Path, text: bytes, size: int = 16) -> Path:
    sealer = StreamSealer(KEY, CONTEXT, size=size)
    path = tmp_path / "stream"
    path.write_bytes(b"".join((sealer.header, *sealer.seal(text), sealer.finish())))
    return path


@given(pieces=st.lists(st.binary(max_size=50), max_size=6))
def test_a_stream_sealed_piece_by_piece_is_the_stream_sealed_at_once(pieces):
    import io

    sealer = StreamSealer(KEY, CONTEXT)
    whole = sealer.header + b"".join(chunk for piece in pieces for chunk in sealer.seal(piece)) + sealer.finish()
    assert b"".join(open_stream(KEY, io.BytesIO(whole), CONTEXT)) == b"".join(pieces)
    assert len(whole) == len(b"".join(seal_stream(KEY, pieces, CONTEXT)))


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 32, 100])
def test_a_sealed_stream_is_read_from_anywhere(tmp_path, length):
    text = bytes(range(length))
    with SealedReader(KEY, sealed_file(tmp_path, text).open("rb"), CONTEXT) as reader:
        assert reader.size == length
        for start in range(length + 2):
            reader.seek(start)
            assert reader.read(20) == text[start : start + 16 - start % 16][:20]
        reader.seek(0)
        assert reader.readall() == text


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_other_bit_anywhere_is_found_out_when_it_is_read(tmp_path_factory, place, bit):
    path = sealed_file(tmp_path_factory.mktemp("s"), bytes(range(100)))
    changed = bytearray(path.read_bytes())
    changed[place % len(changed)] ^= 1 << bit
    path.write_bytes(changed)
    with path.open("rb") as file, pytest.raises(TamperedData):
        SealedReader(KEY, file, CONTEXT).readall()


@pytest.mark.parametrize("cut", [1, 16, 20, 32, 36, 64])
def test_a_stream_that_was_cut_is_found_out_when_it_is_opened(tmp_path, cut):
    path = sealed_file(tmp_path, bytes(range(100)))
    path.write_bytes(path.read_bytes()[:-cut])
    with path.open("rb") as file, pytest.raises(TamperedData):
        SealedReader(KEY, file, CONTEXT)


def test_what_was_sent_comes_out_again_and_lies_sealed(kept, collection, tmp_path):
    data = b"a face in the clear " * 200_000
    id = sent(kept, collection, data)
    with kept.open(collection.id, id) as file:
        assert file.read() == data
        file.seek(1_500_000)
        assert file.read(40) == data[1_500_000:1_500_040]
    (lies,) = (tmp_path / "imports").iterdir()
    assert lies.stat().st_mode & 0o777 == 0o600
    assert b"in the clear" not in lies.read_bytes()


def test_what_was_not_kept_leaves_no_trace(kept, collection, tmp_path):
    spool = kept.spool(collection.id)
    spool.write(bytes(3 << 20))
    spool.abort()
    assert list((tmp_path / "imports").iterdir()) == []


def test_what_would_fill_the_disk_is_refused_before_it_is_sent(kept, collection):
    with pytest.raises(StorageFull, match="room"):
        kept.spool(collection.id, 1 << 60)


def test_one_import_does_not_open_as_another(kept, collection, tmp_path):
    first, second = sent(kept, collection, b"1"), sent(kept, collection, b"2")
    (tmp_path / "imports" / f"{first}.pictures").replace(tmp_path / "imports" / f"{second}.pictures")
    with pytest.raises(TamperedData):
        kept.open(collection.id, second)
    with pytest.raises(JobNotFound):
        kept.open(collection.id, first)


def test_nothing_opens_once_its_collection_is_deleted(kept, collection, records):
    id = sent(kept, collection, b"1")
    note(kept, collection, id, {"path": "x"})
    records.delete_collection(collection, ENTRY)
    with pytest.raises(CollectionNotFound):
        kept.open(collection.id, id)
    with pytest.raises(CollectionNotFound):
        list(kept.listed(collection.id, id))


# --------------------------------------------------------------------------------------------------- the list


def note(kept: SealedImports, collection: Collection, id: str, *items: dict[str, object]) -> None:
    remarks = kept.list_of(collection.id, id)
    for item in items:
        remarks.append([item])
    remarks.close()


def test_a_list_goes_on_where_it_was_and_names_nobody_on_the_disk(kept, collection, tmp_path):
    id = sent(kept, collection, b"1")
    note(kept, collection, id, {"path": "ada.jpg"}, {"path": "bob.jpg"})
    note(kept, collection, id, {"path": "cy.jpg"})
    assert [item["path"] for item in kept.listed(collection.id, id)] == ["ada.jpg", "bob.jpg", "cy.jpg"]
    assert b"ada" not in (tmp_path / "imports" / f"{id}.list").read_bytes()


def test_a_batch_that_a_kill_cut_short_counts_as_not_written(kept, collection, tmp_path):
    id = sent(kept, collection, b"1")
    path = tmp_path / "imports" / f"{id}.list"
    note(kept, collection, id, {"path": "a"})
    whole = path.read_bytes()
    note(kept, collection, id, {"path": "b"})
    both = path.read_bytes()
    for left in (*(both[:length] for length in range(len(whole), len(both))), whole + bytes(100)):
        path.write_bytes(left)
        assert [item["path"] for item in kept.listed(collection.id, id)] == ["a"]
    note(kept, collection, id, {"path": "c"})
    assert [item["path"] for item in kept.listed(collection.id, id)] == ["a", "c"]


def test_a_list_that_a_kill_left_without_its_head_begins_anew(kept, collection, tmp_path):
    id = sent(kept, collection, b"1")
    for left in (b"", b"LK"):
        (tmp_path / "imports" / f"{id}.list").write_bytes(left)
        note(kept, collection, id, {"path": "a"})
        assert [item["path"] for item in kept.listed(collection.id, id)] == ["a"]


def test_batches_cannot_change_places(kept, collection, tmp_path):
    id = sent(kept, collection, b"1")
    path = tmp_path / "imports" / f"{id}.list"
    note(kept, collection, id)
    head = path.stat().st_size
    note(kept, collection, id, {"path": "a"}, {"path": "b"})
    data = path.read_bytes()
    size = (len(data) - head) // 2
    path.write_bytes(data[:head] + data[head + size :] + data[head : head + size])
    with pytest.raises(TamperedData):
        list(kept.listed(collection.id, id))


# -------------------------------------------------------------------------------------------------- what is left


def test_what_no_job_needs_is_swept_away_and_what_is_being_sent_is_not(kept, collection, tmp_path):
    waiting, ended, unknown, old = (sent(kept, collection, b"1") for _ in range(4))
    for id in (waiting, ended, old):
        note(kept, collection, id, {"path": "x"})
    sending = kept.spool(collection.id)
    for path in (tmp_path / "imports").glob(f"{old}.*"):
        os.utime(path, (time.time() - 7200,) * 2)
    kept.sweep([waiting], [waiting, ended])
    left = {path.name for path in (tmp_path / "imports").iterdir() if not path.name.startswith(".")}
    assert left == {f"{waiting}.pictures", f"{waiting}.list", f"{ended}.list", f"{unknown}.pictures"}
    sending.keep()
    assert kept.open(collection.id, sending.id).read() == b""
