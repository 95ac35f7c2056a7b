"""Finds out whom to enrol: a folder per subject, or a CSV manifest, becomes a list of pictures with their subjects.

A folder whose entries are folders holds one subject each, named as the folder; a folder of pictures alone is one
subject itself. Names are put into Unicode's NFC form, since some file systems keep them in another.
"""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lookalike.errors import InvalidInput

JUNK: Final = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True, repr=False)
class PersonPicture:
    """A file to enrol and whose picture it is."""

    path: Path
    subject: str


@dataclass(slots=True, repr=False)
class People:
    """What was found. metadata: for subjects whose manifest has some; misplaced: files that belong to nobody."""

    pictures: list[PersonPicture] = field(default_factory=list)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    misplaced: list[Path] = field(default_factory=list)

    @property
    def subjects(self) -> int:
        return len({picture.subject for picture in self.pictures})


def find_people(paths: Sequence[Path], subject: str | None = None) -> People:
    """Everything under the paths. subject: whose pictures all of them are, instead of their folders' names.

    Raises: InvalidInput for a path that does not say whose it is, or a manifest that cannot be read.
    """
    people = People()
    for path in paths:
        if subject is not None:
            files = _files(path) if path.is_dir() else [path]
            people.pictures += [PersonPicture(file, nfc(subject)) for file in files]
        elif path.is_dir():
            _from_folder(path, people)
        elif path.suffix.lower() == ".csv":
            _from_manifest(path, people)
        else:
            raise InvalidInput(f"{path}: name a folder or a CSV manifest, or say whose picture it is with --subject")
    return people


def nfc(text: str) -> str:
    """The text as a subject's id has to be: in Unicode's NFC form."""
    return unicodedata.normalize("NFC", text)


def _from_folder(folder: Path, people: People) -> None:
    entries = sorted(entry for entry in folder.iterdir() if not _hidden(entry))
    folders = [entry for entry in entries if entry.is_dir()]
    loose = [entry for entry in entries if not entry.is_dir()]
    if not folders:
        people.pictures += [PersonPicture(file, nfc(folder.resolve().name)) for file in loose]
        return
    people.misplaced += loose
    for person in folders:
        people.pictures += [PersonPicture(file, nfc(person.name)) for file in _files(person)]


def _files(folder: Path) -> Iterator[Path]:
    """The files under a folder, at any depth, in a fixed order."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(names) if not _hidden(Path(name)))


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in JUNK


def _from_manifest(manifest: Path, people: People) -> None:
    """Rows of `path`, `subject` and metadata; a relative path is looked for beside the manifest."""
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if not {"path", "subject"} <= set(rows.fieldnames or ()):
                raise InvalidInput(f"{manifest}: its first line must name the columns path and subject")
            _read_rows(rows, manifest, people)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"{manifest} is not a CSV file in UTF-8: {error}") from error


def _read_rows(rows: Iterable[dict[str, str]], manifest: Path, people: People) -> None:
    for number, row in enumerate(rows, 2):
        if not row["path"] or not row["subject"] or None in row:
            raise InvalidInput(
                f"{manifest} line {number}: a path, a subject and no more cells than columns are allowed"
            )
        subject = nfc(row["subject"])
        people.pictures.append(PersonPicture(manifest.parent / row["path"], subject))
        facts = {key: value for key, value in row.items() if key not in ("path", "subject") and value}
        if facts:
            people.metadata.setdefault(subject, {}).update(facts)
