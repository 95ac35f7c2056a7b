"""The pictures of a training run: read from class folders, split by class, fitted into the network's square in memory.

A class is never on both sides of a split, so that what is measured on the held-out side is how unseen people or things
are told apart. Pictures that cannot be decoded are listed, not fatal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.images import ImageLimits, decode_image
from embedder.preprocessing import Preprocessing
from embedder.train.config import Data
from lookalike.domain import Labels, Pixels
from lookalike.errors import InvalidInput, LookalikeError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Cutter = Callable[[Pixels], Pixels | None]
"""From a picture to the part that the network is to see; None where that is not in it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Pictures by class. paths: sorted; labels: (N,) numbers into names; crop: how each is cut, see `Data`."""

    paths: tuple[Path, ...]
    labels: Labels
    names: tuple[str, ...]
    crop: tuple[str, ...]


def list_pictures(data: Data) -> Listed:
    """Every class of the folders with enough pictures. Raises: InvalidInput where there are fewer than two."""
    paths: list[Path] = []
    labels: list[int] = []
    names: list[str] = []
    crops: list[str] = []
    without = set(data.without)
    for folder, crop in zip(data.folders, data.crop or ("whole",) * len(data.folders), strict=True):
        root = Path(folder).expanduser()
        if not root.is_dir():
            raise InvalidInput(f"data.folders: there is no folder {folder}")
        for one in sorted(entry for entry in root.iterdir() if entry.is_dir()):
            found = sorted(p for p in one.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if len(found) < max(data.least, 2) or f"{root.name}/{one.name}" in without:
                continue
            found = found[: data.most or None]
            paths += found
            labels += [len(names)] * len(found)
            crops += [crop] * len(found)
            names.append(f"{root.name}/{one.name}")
    if len(names) < 2:
        raise InvalidInput("at least two subfolders must hold two pictures each (JPEG, PNG or WebP)")
    return Listed(tuple(paths), np.array(labels, np.int64), tuple(names), tuple(crops))


def held_out_classes(count: int, data: Data, seed: int) -> Labels:
    """The classes kept apart: a share drawn by chance, or one fold of several. -> (H,) sorted class numbers.

    A share is two classes at least, for with one there is nothing to tell apart; none where fewer than two would be
    left to learn from.
    """
    order = np.random.default_rng([seed, 3]).permutation(count)
    if data.folds > 1:
        return np.sort(order[data.fold :: data.folds])
    apart = max(round(data.held_out * count), 2) if data.held_out else 0
    return np.sort(order[: apart if count - apart >= 2 else 0])


@dataclass(frozen=True, slots=True, repr=False)
class PictureSet:
    """Decoded pictures of one side. squares: (N, side, side, 3) uint8 RGB; labels: (N,); paths: their files."""

    squares: Pixels
    labels: Labels
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"PictureSet({len(self)} pictures of {len(np.unique(self.labels))} classes)"


def load_pictures(
    listed: Listed,
    rows: Labels,
    prepare: Preprocessing,
    memory_mb: int,
    cutters: Mapping[str, Cutter],
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[PictureSet, list[tuple[Path, str]]]:
    """Decode these rows side by side. Gives those that could be read, and the others with a stable word why.

    cutters: for each word of `Listed.crop` what cuts a picture.
    Raises: InvalidInput where they would take more memory than allowed.
    """
    needed = len(rows) * prepare.side**2 * 3
    if needed > memory_mb << 20:
        raise InvalidInput(
            f"{len(rows)} pictures take {needed >> 20} MB decoded, more than data.memory_mb = {memory_mb}; "
            "raise it, or take fewer with data.most"
        )
    squares = np.empty((len(rows), prepare.side, prepare.side, 3), np.uint8)
    answers: list[str] = []

    def fill(place: int) -> str:
        row = int(rows[place])
        try:
            pixels = decode_image(listed.paths[row].read_bytes(), ImageLimits())
        except OSError:
            return "unreadable"
        except LookalikeError as error:
            return error.code
        part = cutters[listed.crop[row]](pixels)
        if part is None:
            return "face_not_found"
        squares[place] = prepare.square(part)
        return ""

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(rows), 256):
            answers += pool.map(fill, range(start, min(start + 256, len(rows))))
            if on_progress is not None:
                on_progress(len(answers), len(rows))
    good = np.array([not answer for answer in answers], bool)
    left_out = [(listed.paths[int(rows[i])], answer) for i, answer in enumerate(answers) if answer]
    kept = PictureSet(squares[good], listed.labels[rows[good]], tuple(listed.paths[int(r)] for r in rows[good]))
    return kept, left_out


def picture_cutters(data: Data, cache_dir: Path) -> dict[str, Cutter]:
    """What `Data.crop` names. cache_dir: where the converted detector is kept. Raises: BadModel."""
    cutters: dict[str, Cutter] = {"whole": lambda pixels: pixels}
    if "face" in data.crop:
        from embedder.align import align_face
        from embedder.factory import DETECTORS
        from embedder.runtime import open_runtime

        detect = DETECTORS["yunet"](cache_dir, open_runtime(), 1)

        def largest_face(pixels: Pixels) -> Pixels | None:
            found = detect(pixels)
            return align_face(pixels, found[0].landmarks) if found else None

        cutters["face"] = largest_face
    return cutters


def with_two_or_more(pictures: PictureSet) -> PictureSet:
    """Without the classes that only one picture is left of."""
    labels, counts = np.unique(pictures.labels, return_counts=True)
    kept = np.isin(pictures.labels, labels[counts > 1])
    paths: Sequence[Path] = [path for path, keep in zip(pictures.paths, kept, strict=True) if keep]
    return PictureSet(pictures.squares[kept], pictures.labels[kept], tuple(paths))
