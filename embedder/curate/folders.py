"""Lists a set of pictures: a folder per class, its files straight inside, and what lies where it should not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedder.curate.findings import LOOK, Finding
from lookalike.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Place:
    """A file of the set. relative: label, `/` and name, as findings call it."""

    path: Path
    label: str

    @property
    def relative(self) -> str:
        return f"{self.label}/{self.path.name}"


def list_set(root: Path) -> tuple[list[Place], list[Finding]]:
    """Every file of every class folder in order, and what is misplaced. Hidden files and folders are passed over.

    Raises: InvalidInput where there is no class folder with a file.
    """
    if not root.is_dir():
        raise InvalidInput("there is no folder at this path; a folder with a subfolder of pictures per class is needed")
    places: list[Place] = []
    misplaced: list[Finding] = []
    for entry in _visible(root):
        if not entry.is_dir():
            misplaced.append(Finding("misplaced", entry.name, "It lies outside any class folder.", 1.0, LOOK))
            continue
        for path in _visible(entry):
            if path.is_dir():
                reason = "It is a folder within a class folder: what it holds is not read."
                misplaced.append(Finding("misplaced", f"{entry.name}/{path.name}", reason, 1.0, LOOK))
            elif path.is_file():
                places.append(Place(path, entry.name))
    if not places:
        raise InvalidInput("a folder with a subfolder of pictures per class is needed; no such picture was found")
    return places, misplaced


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
