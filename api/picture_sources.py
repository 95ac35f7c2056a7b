"""Archives of pictures, each with whose it is: a zip of folders, a zip with a CSV manifest, or NDJSON.

    zip        people/ada/1.jpg: a folder per subject; a single folder around them all is taken for the zip program's
    with CSV   a manifest at the top: path, subject, and what else is known of the subject, as `lookalike enrol` has it
    NDJSON     {"subject": "ada", "image": "<base64>", "metadata": {…}, "consent": {…}, "valid_from": …}, one a line

What is wrong with one picture is said when that is loaded; what is wrong with the whole, when it is opened.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import os
import threading
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from pydantic import ValidationError

from api.bodies import json_value
from api.schemas_subjects import SubjectPut
from api.zip_archive import Entry, ZipArchive
from lookalike.bulk import Facts, Item, Loaded, Unreadable
from lookalike.domain import Consent
from lookalike.errors import BadArchive, InvalidInput

JUNK: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
MAX_MANIFEST_BYTES = 64 << 20
MAX_LINE_BESIDES = 1 << 18
"""What a line of NDJSON may have besides its picture."""

_CONSENT = ("consent_basis", "consent_reference", "consent_expires_at")
_VALIDITY = ("valid_from", "valid_until")
COLUMNS: Final = frozenset({"path", "subject", *_CONSENT, *_VALIDITY})
"""Columns of a manifest that have a meaning of their own; any other is metadata."""


def open_source(file: BinaryIO, max_items: int) -> Sequence[Item]:
    """The pictures of an archive; the bytes decide what it is. file: seekable, stays open while they are loaded.

    Raises: BadArchive.
    """
    file.seek(0)
    start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"PK"):
        return zip_items(ZipArchive(file, max_items))
    if start.startswith(b"{"):
        return line_items(file, max_items)
    raise BadArchive("neither a zip archive nor NDJSON, which begins with {")


def nfc(text: str) -> str:
    """The text as a subject's id has to be: in Unicode's NFC form."""
    return unicodedata.normalize("NFC", text)


def hidden(name: str) -> bool:
    """Whether a file or folder of this name is the system's own, and nobody's picture."""
    return name.startswith(".") or name.lower() in JUNK


# ------------------------------------------------------------------------------------------------ manifests


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """A line of a manifest. facts: all that the manifest says of the subject, in whichever line."""

    path: str
    subject: str
    facts: Facts


def manifest_rows(lines: Iterable[str], name: str) -> list[Row]:
    """Rows of `path`, `subject` and what else is known. Raises: InvalidInput that names the manifest and the line."""
    try:
        rows = csv.DictReader(lines, strict=True)
        if not {"path", "subject"} <= set(rows.fieldnames or ()):
            raise InvalidInput(f"{name}: its first line must name the columns path and subject")
        return _rows(rows, name)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"{name} is not a CSV file in UTF-8: {error}") from error


def _rows(rows: Iterable[dict[str, str]], name: str) -> list[Row]:
    found: list[tuple[str, str]] = []
    facts: dict[str, Facts] = {}
    for number, row in enumerate(rows, 2):
        if not row["path"] or not row["subject"] or None in row:
            raise InvalidInput(f"{name} line {number}: a path, a subject and no more cells than columns are allowed")
        subject = nfc(row["subject"])
        found.append((row["path"], subject))
        said = _facts({key: value for key, value in row.items() if value})
        facts[subject] = said.over(facts.get(subject, Facts()))
    return [Row(path, subject, facts[subject]) for path, subject in found]


def _facts(row: Mapping[str, str]) -> Facts:
    basis, reference, expires = (row.get(column) for column in _CONSENT)
    return Facts(
        {key: value for key, value in row.items() if key not in COLUMNS},
        Consent(basis, reference or "", expires) if basis else None,
        row.get("valid_from"),
        row.get("valid_until"),
    )


# ------------------------------------------------------------------------------------------------------ zip


@dataclass(frozen=True, slots=True, repr=False)
class ZipPicture:
    """A file in a zip. problem: why it is not read, empty if it is."""

    archive: ZipArchive
    entry: Entry
    subject: str
    facts: Facts = field(default_factory=Facts)
    problem: str = ""

    @property
    def label(self) -> str:
        return self.entry.name

    def load(self, max_bytes: int) -> Loaded:
        """Raises: Unreadable."""
        if self.problem:
            raise Unreadable(self.problem, self.subject)
        try:
            return Loaded(self.subject, self.archive.read(self.entry, max_bytes), self.facts)
        except Unreadable as error:
            raise Unreadable(error.reason, self.subject) from None


@dataclass(frozen=True, slots=True, repr=False)
class Missing:
    """A row of a manifest whose picture is not there."""

    label: str
    subject: str

    def load(self, max_bytes: int) -> Loaded:
        """Raises: Unreadable."""
        raise Unreadable("unreadable_file", self.subject)


def zip_items(archive: ZipArchive) -> Sequence[Item]:
    """By the manifest at its top if it has one, else by its folders. Raises: BadArchive."""
    entries = [entry for entry in archive.entries if not any(map(_is_junk, entry.name.split("/")))]
    top = _wrapping(entries)
    named = [(entry.name.removeprefix(top), entry) for entry in entries]
    manifests = [entry for name, entry in named if _is_manifest(name)]
    if len(manifests) > 1:
        raise BadArchive("the zip archive has several CSV files at its top: one manifest is allowed")
    if manifests:
        return _by_manifest(archive, manifests[0], named)
    return _by_folder(archive, named)


def _is_junk(part: str) -> bool:
    return hidden(part) and part not in (".", "..")


def _wrapping(entries: Sequence[Entry]) -> str:
    """The folder around everything, with its slash, as zip programs add it; empty where it is a subject's own."""
    tops = {entry.name.partition("/")[0] + "/" for entry in entries}
    top = tops.pop() if len(tops) == 1 else ""
    within = [entry.name.removeprefix(top) for entry in entries if entry.name.startswith(top)]
    wraps = len(within) == len(entries) and any("/" in name or _is_manifest(name) for name in within)
    return top if wraps else ""


def _is_manifest(name: str) -> bool:
    return "/" not in name and name.lower().endswith(".csv")


def _by_manifest(archive: ZipArchive, manifest: Entry, named: Sequence[tuple[str, Entry]]) -> list[Item]:
    try:
        text = archive.read(manifest, MAX_MANIFEST_BYTES).decode("utf-8-sig")
        rows = manifest_rows(io.StringIO(text, newline=""), "the manifest")
    except Unreadable as error:
        raise BadArchive(f"the zip archive's manifest cannot be read: {error.reason}") from None
    except UnicodeDecodeError:
        raise BadArchive("the zip archive's manifest is not in UTF-8") from None
    except InvalidInput as error:
        raise BadArchive(str(error)) from None
    by_name: dict[str, Entry] = {}
    for name, entry in named:
        by_name.setdefault(name, entry)
    found: list[Item] = []
    for row in rows:
        there = by_name.get(row.path.removeprefix("./"))
        if there is None or there is manifest:
            found.append(Missing(row.path, row.subject))
        else:
            found.append(ZipPicture(archive, there, row.subject, row.facts, _unsafe(there)))
    return found


def _by_folder(archive: ZipArchive, named: Sequence[tuple[str, Entry]]) -> list[Item]:
    found: list[Item] = []
    seen: set[str] = set()
    for name, entry in sorted(named, key=lambda pair: pair[0].split("/")):
        subject = nfc(name.partition("/")[0]) if "/" in name else ""
        problem = _unsafe(entry) or ("" if subject else "not_in_a_subject_folder")
        if name in seen:
            problem = "duplicate_name"
        seen.add(name)
        found.append(ZipPicture(archive, entry, subject, problem=problem))
    return found


def _unsafe(entry: Entry) -> str:
    """Nothing is unpacked, so that such a path could do no harm; whoever made it meant some."""
    parts = entry.name.split("/")
    return "unsafe_path" if ".." in parts or not parts[0] or "\\" in entry.name or "\0" in entry.name else ""


# --------------------------------------------------------------------------------------------------- NDJSON


class Line(SubjectPut):
    """What a line of NDJSON says. image: base64 (RFC 4648, section 4)."""

    subject: str
    image: str


class Lines:
    """An NDJSON file that several threads read lines of."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._lock = threading.Lock()

    def read(self, at: int, length: int) -> bytes:
        with self._lock:
            self.file.seek(at)
            return self.file.read(length)


@dataclass(frozen=True, slots=True, repr=False)
class LinePicture:
    """A line: its place and length in bytes."""

    lines: Lines
    number: int
    at: int
    length: int

    @property
    def label(self) -> str:
        return f"line {self.number}"

    def load(self, max_bytes: int) -> Loaded:
        """Raises: Unreadable."""
        if self.length > -(-max_bytes // 3) * 4 + MAX_LINE_BESIDES:
            raise Unreadable("image_too_large")
        line = _line(self.lines.read(self.at, self.length))
        subject = nfc(line.subject)
        try:
            data = base64.b64decode(line.image, validate=True)
        except (binascii.Error, ValueError):
            raise Unreadable("not_base64", subject) from None
        if len(data) > max_bytes:
            raise Unreadable("image_too_large", subject)
        said = line.consent
        consent = None if said is None else Consent(said.basis, said.reference, said.expires_at)
        return Loaded(subject, data, Facts(line.metadata, consent, line.valid_from, line.valid_until))


def _line(text: bytes) -> Line:
    try:
        return Line.model_validate(json_value(text))
    except (InvalidInput, ValidationError):
        raise Unreadable("bad_line") from None


def line_items(file: BinaryIO, max_items: int) -> Sequence[Item]:
    """The lines that are not empty; only their places are held in memory. Raises: BadArchive for too many."""
    lines, found = Lines(file), list[Item]()
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    number, at, held, blank = 1, 0, 0, True
    while at + held < size:
        piece = file.readline(1 << 20)  # in bounds, however long a line is
        held, blank = held + len(piece), blank and not piece.strip()
        if piece.endswith(b"\n") or at + held == size:
            if not blank:
                found.append(LinePicture(lines, number, at, held))
            if len(found) > max_items:
                raise BadArchive(f"at most {max_items} lines are allowed")
            number, at, held, blank = number + 1, at + held, 0, True
    return found
