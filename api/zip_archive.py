"""Zip archives from people whom one does not trust: listed and read in bounds, in memory, and never unpacked to a disk.

Only the central directory is believed, and only where it fits the file: entries may not overlap or lie outside, their
number and sizes are bounded, and names are labels, never paths. Written from APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3
and 4.5.3; stored and deflated entries and Zip64 are read, other methods and encryption are not.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from lookalike.bulk import Unreadable
from lookalike.errors import BadArchive

MAX_RATIO = 20
"""What an archive says to unpack to, beside its own size. Pictures are compressed already and hardly shrink."""

_SLACK_BYTES = 1 << 20
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ALL_16, _ALL_32 = 0xFFFF, 0xFFFFFFFF
_MAX_COMMENT = 0xFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_STORED, _DEFLATED = 0, 8
_UNIX, _FILE_TYPE, _LINK = 3, 0xF000, 0xA000


@dataclass(frozen=True, slots=True, repr=False)
class Entry:
    """A file in an archive. name: as written there, never to be used as a path; packed, size: bytes; at: its place."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    at: int
    link: bool


class ZipArchive:
    """An archive whose directory was read and found to be sound. Thread-safe. entries: its files, without folders."""

    def __init__(self, file: BinaryIO, max_entries: int) -> None:
        """file: seekable, and the archive's from now on. Raises: BadArchive."""
        self._file = file
        self._lock = threading.Lock()
        self._size = file.seek(0, os.SEEK_END)
        count, at, length = self._directory()
        if count > max_entries:
            raise BadArchive(f"the zip archive has {count} entries; at most {max_entries} are allowed")
        found = self._entries(count, at, length)
        self._check(found, at)
        self.entries = [entry for entry in found if not entry.name.endswith("/")]

    def close(self) -> None:
        """Close its file."""
        self._file.close()

    def read(self, entry: Entry, max_bytes: int) -> bytes:
        """An entry's bytes. Raises: Unreadable with the reason."""
        if entry.link:
            raise Unreadable("not_a_file")
        if entry.method not in (_STORED, _DEFLATED):
            raise Unreadable("unsupported_compression")
        if entry.size > max_bytes or entry.packed > max_bytes + _SLACK_BYTES:
            raise Unreadable("image_too_large")
        packed = self._packed(entry)
        data = packed if entry.method == _STORED else _inflated(packed, entry.size)
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise Unreadable("damaged_entry")
        return data

    def _packed(self, entry: Entry) -> bytes:
        with self._lock:
            head = self._bytes(entry.at, _LOCAL.size)
            fields = _LOCAL.unpack(head) if len(head) == _LOCAL.size else (b"",)
            if fields[0] != b"PK\x03\x04":
                raise Unreadable("damaged_entry")
            packed = self._bytes(entry.at + _LOCAL.size + fields[-2] + fields[-1], entry.packed)
        if len(packed) != entry.packed:
            raise Unreadable("damaged_entry")
        return packed

    # -------------------------------------------------------------------------------------------- directory

    def _directory(self) -> tuple[int, int, int]:
        """Entries, place and length of the central directory, which ends where the end record begins."""
        start = max(0, self._size - _END.size - _MAX_COMMENT)
        tail = self._bytes(start, self._size - start)
        place = tail.rfind(b"PK\x05\x06")
        while place >= 0:
            if place + _END.size <= len(tail):
                end = _END.unpack_from(tail, place)
                if place + _END.size + end[7] == len(tail):
                    return self._located(start + place, end)
            place = tail.rfind(b"PK\x05\x06", 0, place)
        raise BadArchive("this is no whole zip archive: its end is missing")

    def _located(self, place: int, end: tuple[int, ...]) -> tuple[int, int, int]:
        _, disk, first_disk, here, count, length, at, _ = end
        if _ALL_16 in (count, here) or _ALL_32 in (length, at):
            place, disk, first_disk, here, count, length, at = self._located64(place)
        if disk or first_disk or here != count:
            raise BadArchive("zip archives in several parts are not read")
        if at + length != place:
            raise BadArchive(
                "the zip archive's directory is not where it says: it is damaged or has something before it"
            )
        return count, at, length

    def _located64(self, place: int) -> tuple[int, ...]:
        locator = self._bytes(max(0, place - _LOCATOR.size), _LOCATOR.size)
        if len(locator) == _LOCATOR.size and locator.startswith(b"PK\x06\x07"):
            at64 = _LOCATOR.unpack(locator)[2]
            record = self._bytes(at64, _END64.size) if at64 < self._size else b""
            if len(record) == _END64.size and record.startswith(b"PK\x06\x06"):
                _, _, _, _, disk, first_disk, here, count, length, at = _END64.unpack(record)
                return at64, disk, first_disk, here, count, length, at
        raise BadArchive("the zip archive's end is damaged")

    def _entries(self, count: int, at: int, length: int) -> list[Entry]:
        found: list[Entry] = []
        end = at + length
        self._file.seek(at)
        while at < end:
            head = self._file.read(_ENTRY.size)
            if len(head) < _ENTRY.size or not head.startswith(b"PK\x01\x02") or len(found) == count:
                raise BadArchive("the zip archive's directory is damaged")
            fields = _ENTRY.unpack(head)
            name_length, extra_length, comment_length = fields[10:13]
            rest = self._file.read(name_length + extra_length + comment_length)
            at += len(head) + len(rest)
            found.append(_entry(fields, rest[:name_length], rest[name_length : name_length + extra_length]))
        if len(found) != count or at != end:
            raise BadArchive("the zip archive's directory is damaged")
        return found

    def _check(self, found: list[Entry], directory_at: int) -> None:
        """Raises: BadArchive for entries that overlap, lie outside, or unpack to more than pictures do."""
        end = 0
        for entry in sorted(found, key=lambda entry: entry.at):
            if entry.at < end or entry.at + _LOCAL.size + entry.packed > directory_at:
                raise BadArchive("the zip archive's entries overlap or lie outside of it: it is damaged or a zip bomb")
            end = entry.at + _LOCAL.size + entry.packed
        if sum(entry.size for entry in found) > MAX_RATIO * self._size + _SLACK_BYTES:
            raise BadArchive(
                f"the zip archive unpacks to more than {MAX_RATIO} times its size: that is no set of pictures"
            )

    def _bytes(self, at: int, length: int) -> bytes:
        self._file.seek(at)
        return self._file.read(length)


def _entry(fields: tuple[int, ...], name: bytes, extra: bytes) -> Entry:
    made_by, flags, method, crc, packed, size = fields[1], fields[3], fields[4], fields[7], fields[8], fields[9]
    attributes, at = fields[15], fields[16]
    if flags & _ENCRYPTED:
        raise BadArchive("the zip archive is encrypted: send it without a password, for it is sealed here anyway")
    size, packed, at = _widened((size, packed, at), extra)
    link = made_by >> 8 == _UNIX and (attributes >> 16) & _FILE_TYPE == _LINK
    return Entry(_decoded(name, flags), method, crc, packed, size, at, link)


def _widened(values: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Size, packed size and place, from the Zip64 field where the entry itself has no room for them."""
    wide, at = list[int](), 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            body = extra[at + 4 : at + 4 + length]
            wide += [struct.unpack_from("<Q", body, n)[0] for n in range(0, len(body) - 7, 8)]
        at += 4 + length
    if len(wide) < values.count(_ALL_32):
        raise BadArchive("the zip archive's directory is damaged")
    size, packed, place = (wide.pop(0) if value == _ALL_32 else value for value in values)
    return size, packed, place


def _decoded(name: bytes, flags: int) -> str:
    """Many programs write UTF-8 without saying so; what is not, is of code page 437, as the standard says."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("utf-8", "replace") if flags & _UTF8 else name.decode("cp437")


def _inflated(packed: bytes, size: int) -> bytes:
    """At most one byte more than the entry says to have. Raises: Unreadable."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    except zlib.error:
        raise Unreadable("damaged_entry") from None
