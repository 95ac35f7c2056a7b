"""Finds out whom to enrol: folders, manifests, zip archives and NDJSON become a list of pictures with their subjects.

A folder whose entries are folders holds one subject each, named as the folder; a folder of pictures alone is one
subject itself. Names are put into Unicode's NFC form, since some file systems keep them in another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from api.picture_sources import hidden, manifest_rows, nfc, open_source
from lookalike.bulk import Facts, Item, Loaded, Unreadable
from lookalike.errors import InvalidInput

ARCHIVES = (".zip", ".ndjson", ".jsonl")
MAX_PICTURES = 10_000_000
"""In one archive; the service takes fewer in one import."""


@dataclass(frozen=True, slots=True, repr=False)
class PersonPicture:
    """A file to enrol and whose picture it is. facts: what is known of the subject besides."""

    path: Path
    subject: str
    facts: Facts = field(default_factory=Facts)

    @property
    def label(self) -> str:
        return str(self.path)

    def load(self, max_bytes: int) -> Loaded:
        """Raises: Unreadable."""
        try:
            if self.path.stat().st_size > max_bytes:
                raise Unreadable("image_too_large", self.subject)
            return Loaded(self.subject, self.path.read_bytes(), self.facts)
        except OSError:
            raise Unreadable("unreadable_file", self.subject) from None


@dataclass(slots=True, repr=False)
class People:
    """What was found. misplaced: files that belong to nobody; archives: files that are open until `close`."""

    pictures: list[Item] = field(default_factory=list)
    misplaced: list[Path] = field(default_factory=list)
    archives: list[BinaryIO] = field(default_factory=list)

    def close(self) -> None:
        """Close the archives."""
        for archive in self.archives:
            archive.close()


def find_people(paths: Sequence[Path], subject: str | None = None) -> People:
    """Everything under the paths. subject: whose pictures all of them are, instead of their folders' names.

    Raises: InvalidInput for a path that does not say whose it is, or a manifest or archive that cannot be read.
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
        elif path.suffix.lower() in ARCHIVES:
            _from_archive(path, people)
        else:
            raise InvalidInput(
                f"{path}: name a folder, a CSV manifest, a zip archive or an NDJSON file, or say whose picture it is "
                "with --subject"
            )
    return people


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
    return hidden(path.name)


def _from_manifest(manifest: Path, people: People) -> None:
    """A relative path is looked for beside the manifest."""
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        rows = manifest_rows(file, str(manifest))
    people.pictures += [PersonPicture(manifest.parent / row.path, row.subject, row.facts) for row in rows]


def _from_archive(path: Path, people: People) -> None:
    file = path.open("rb")
    people.archives.append(file)
    try:
        people.pictures += open_source(file, MAX_PICTURES)
    except InvalidInput as error:
        people.close()
        raise InvalidInput(f"{path}: {error}") from error
