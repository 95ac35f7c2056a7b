"""Archives are read as the standard library reads them, and hostile ones are refused whole before anything is read."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.zip_archive import ZipArchive
from lookalike.bulk import Unreadable
from lookalike.errors import BadArchive

LIMIT = 1000
NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\\"), min_size=1, max_size=20)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.comment = comment
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def opened(data: bytes, limit: int = LIMIT) -> ZipArchive:
    return ZipArchive(io.BytesIO(data), limit)


def contents(data: bytes) -> dict[str, bytes]:
    archive = opened(data)
    return {entry.name: archive.read(entry, 1 << 20) for entry in archive.entries}


@given(
    files=st.dictionaries(NAMES, st.binary(max_size=300), max_size=8),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    comment=st.binary(max_size=40),
)
def test_what_the_standard_library_packs_comes_out_again(files, method, comment):
    assert contents(zipped(files, method, comment)) == files


def test_a_zip64_archive_of_more_entries_than_sixteen_bits_count_is_read():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(70_000):
            archive.writestr(str(number), b"")
    archive = opened(out.getvalue(), 70_000)
    assert len(archive.entries) == 70_000
    with pytest.raises(BadArchive, match="at most 69999"):
        opened(out.getvalue(), 69_999)


def test_zip64_sizes_of_an_entry_are_read():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("big", "w", force_zip64=True) as file:
        file.write(b"x" * 100)
    assert contents(out.getvalue()) == {"big": b"x" * 100}


@given(data=st.data())
def test_an_archive_with_bytes_changed_is_refused_or_gives_what_it_held_or_says_the_entry_is_damaged(data):
    files = {"a/1.jpg": bytes(range(200)), "b/2.jpg": b"two" * 50}
    archive = bytearray(zipped(files))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = opened(bytes(archive))
    except BadArchive:
        return
    for entry in found.entries:
        try:
            assert found.read(entry, 1 << 20) in files.values()
        except Unreadable as error:
            assert error.reason in {"damaged_entry", "unsupported_compression", "image_too_large", "not_a_file"}


@given(length=st.integers(0, 10_000))
def test_an_archive_that_is_cut_is_refused(length):
    whole = zipped({"a/1.jpg": bytes(range(200)), "b/2.jpg": b"two" * 50})
    with pytest.raises(BadArchive):
        opened(whole[: length % len(whole)])


def test_an_archive_behind_something_else_is_refused():
    with pytest.raises(BadArchive, match="before it"):
        opened(b"#!/bin/sh\n" + zipped({"a": b"x"}))


def encrypted() -> bytes:
    data = bytearray(zipped({"a": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def test_an_encrypted_archive_is_refused_with_what_to_do():
    with pytest.raises(BadArchive, match="without a password"):
        opened(encrypted())


def test_a_bomb_that_says_its_size_is_refused_before_anything_is_unpacked():
    with pytest.raises(BadArchive, match="20 times"):
        opened(zipped({"a": bytes(50 << 20)}))


def test_a_bomb_that_lies_about_its_size_unpacks_no_further_than_it_says():
    data = bytearray(zipped({"a": bytes(5 << 20)}))
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<L", 10)
    found = opened(bytes(data))
    with pytest.raises(Unreadable, match="damaged_entry"):
        found.read(found.entries[0], 1 << 20)


def test_entries_that_share_their_bytes_are_refused():
    """The quoted-overlap bomb (Fifield 2019) names one kernel many times."""
    data = zipped({"a": bytes(range(256)), "b": b"x"})
    central = data.index(b"PK\x01\x02")
    first = data[central : data.index(b"PK\x01\x02", central + 4)]
    directory = first * 2
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), central, 0)
    with pytest.raises(BadArchive, match="overlap"):
        opened(data[:central] + directory + end)


def test_an_entry_that_lies_outside_is_refused():
    data = bytearray(zipped({"a": b"x"}))
    central = data.index(b"PK\x01\x02")
    data[central + 42 : central + 46] = struct.pack("<L", 1 << 20)
    with pytest.raises(BadArchive, match="outside"):
        opened(bytes(data))


def test_a_directory_that_says_to_be_huge_is_refused_without_reading_it():
    data = bytearray(zipped({"a": b"x"}))
    end = data.index(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<L", 0x7FFFFFFF)
    with pytest.raises(BadArchive):
        opened(bytes(data))


def test_a_link_is_not_followed():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("a/passwd.jpg")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    found = opened(out.getvalue())
    with pytest.raises(Unreadable, match="not_a_file"):
        found.read(found.entries[0], 1 << 20)


def test_a_wrong_checksum_spoils_that_entry_alone():
    files = {"a": bytes(range(100)), "b": bytes(range(100, 200))}
    data = bytearray(zipped(files, zipfile.ZIP_STORED))
    data[data.index(bytes(range(100))) + 5] ^= 1
    found = opened(bytes(data))
    with pytest.raises(Unreadable, match="damaged_entry"):
        found.read(found.entries[0], 1 << 20)
    assert found.read(found.entries[1], 1 << 20) == files["b"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression_is_said_to_be_unsupported(method):
    found = opened(zipped({"a": b"x" * 100}, method))
    with pytest.raises(Unreadable, match="unsupported_compression"):
        found.read(found.entries[0], 1 << 20)


def test_an_entry_beyond_the_limit_is_not_read():
    found = opened(zipped({"a": b"x" * 101}))
    with pytest.raises(Unreadable, match="image_too_large"):
        found.read(found.entries[0], 100)


def test_names_that_are_utf8_without_saying_so_are_read_as_that():
    data = zipped({"xxxx": b"1"})
    assert list(contents(data.replace(b"xxxx", "Zo\xeb".encode()))) == ["Zo\xeb"]
    assert zlib.crc32(b"1") == opened(data).entries[0].crc
