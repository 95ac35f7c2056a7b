"""What to measure on: a folder with a subfolder per person, or a file of pairs in LFW's format with its pictures.

A pairs file starts with N (N matched pairs, then N mismatched) or with `folds<TAB>N`, N of each per fold; a line is
`name i j` or `name i other j`, and picture i of a name lies at `name/name_000i.jpg`
(http://vis-www.cs.umass.edu/lfw/README.txt). Where such a picture shows several faces, the one at its centre is meant
(Huang et al., Labeled Faces in the Wild, 2008).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import InvalidInput

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FOLDS = 10
"""A pairs file without folds of its own is cut into so many."""


@dataclass(frozen=True, slots=True)
class Picture:
    path: Path
    person: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures by their place in `Protocol.pictures`."""

    first: int
    second: int
    same: bool
    fold: int


@dataclass(frozen=True, slots=True)
class Protocol:
    """pictures: sorted by person, then file name; absent: pictures that pairs name and the folder lacks.

    central: of several faces in a picture the one nearest its centre is meant, not the largest.
    """

    name: str
    pictures: tuple[Picture, ...]
    pairs: tuple[Pair, ...] = ()
    absent: tuple[str, ...] = ()
    central: bool = False


def read_protocol(path: Path, pictures: Path | None = None) -> Protocol:
    """A folder of people, or a pairs file. pictures: where a pairs file's people are, else found beside it.

    Raises: InvalidInput where nothing can be measured.
    """
    if path.is_dir():
        return Protocol(path.name, tuple(_people(path)))
    if not path.is_file():
        raise InvalidInput("there is neither a folder of people nor a file of pairs at this path")
    folds, lines = _read_pairs(path)
    root = pictures if pictures is not None else _root_beside(path, lines[0][0])
    found = tuple(_people(root))
    place = {(p.person, p.path.stem): i for i, p in enumerate(found)}
    pairs, absent = [], []
    for number, line in enumerate(lines):
        same = len(line) == 3
        wanted = [(line[0], line[1]), (line[0], line[2]) if same else (line[2], line[3])]
        places = [place.get((name, f"{name}_{int(index):04d}")) for name, index in wanted]
        absent += [f"{name}_{int(i):04d}" for (name, i), at in zip(wanted, places, strict=True) if at is None]
        if places[0] is not None and places[1] is not None:
            pairs.append(Pair(places[0], places[1], same, _fold(number, len(lines), folds, same)))
    if not pairs:
        raise InvalidInput("none of the pairs' pictures were found; name their folder")
    return Protocol(path.stem, found, tuple(pairs), tuple(sorted(set(absent))), central=True)


def _people(root: Path) -> Iterator[Picture]:
    if not root.is_dir():
        raise InvalidInput("the pictures' folder does not exist")
    found = False
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        for picture in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
            found = True
            yield Picture(picture, folder.name)
    if not found:
        raise InvalidInput("a folder with a subfolder of pictures per person is needed")


def _read_pairs(path: Path) -> tuple[int, list[list[str]]]:
    """How many folds the file has, and its lines split."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("the pairs file is not text") from error
    rows = [line.split("\t") if "\t" in line else line.split() for line in text.splitlines() if line.strip()]
    header, lines = (rows[0], rows[1:]) if rows else ([], [])
    try:
        folds = int(header[0]) if len(header) == 2 else 1
        each = int(header[-1])
        for line in lines:
            _ = int(line[1]), int(line[-1])
        sound = folds > 0 and len(lines) == 2 * each * folds and all(len(line) in (3, 4) for line in lines)
    except (ValueError, IndexError) as error:
        raise InvalidInput("the pairs file is not in LFW's format") from error
    if not sound or not lines:
        raise InvalidInput("the pairs file is not in LFW's format: its header and its lines disagree")
    return folds, lines


def _root_beside(path: Path, person: str) -> Path:
    """The folder of the pairs file, or a folder in it, that holds this person."""
    inside = sorted(p for p in path.parent.iterdir() if p.is_dir())
    for root in (path.parent, *inside):
        if (root / person).is_dir():
            return root
    raise InvalidInput("the pairs' pictures are not beside the file; name their folder")


def _fold(number: int, lines: int, folds: int, same: bool) -> int:
    """In order of the file, as LFW has it; a single block is cut into FOLDS with as many of each kind."""
    if folds > 1:
        return number * folds // lines
    half = lines // 2
    return (number if same else number - half) * FOLDS // half
