"""Cuts drawn boxes out of pictures into a class-per-folder set, with some of their surroundings.

A crop keeps the box's aspect ratio and the picture's own pixels; padding ends at the picture's edge. A box that cannot
be cut is listed with its reason and the rest go on. The set grows beside its destination and takes its name when whole.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder.curate.box_files import SUFFIXES, DrawnBox, folder_name
from embedder.curate.looks import Progress
from embedder.images import ImageLimits, decode_image, encode_jpeg
from lookalike.domain import Pixels
from lookalike.errors import InvalidInput, LookalikeError

FEWEST_PX = 16
"""A smaller crop is no picture that anything could be learned from."""


@dataclass(frozen=True, slots=True)
class Cut:
    """refused: what to blame and why, for each box that was left out."""

    pictures: int
    crops: int
    refused: tuple[tuple[str, str], ...]


def cut_crops(
    root: Path,
    boxes: Sequence[DrawnBox],
    destination: Path,
    *,
    padding: float = 0.1,
    limits: ImageLimits | None = None,
    on_progress: Progress | None = None,
) -> Cut:
    """Write LABEL/PICTURE-NUMBER.jpg. padding: that share of a box is added on every side.

    Raises: InvalidInput where the destination is there already or not one box can be cut.
    """
    if destination.exists() or destination.is_symlink():
        raise InvalidInput("the folder for the crops is there already; name one that is not")
    by_picture: dict[str, list[DrawnBox]] = defaultdict(list)
    for box in boxes:
        by_picture[box.picture].append(box)
    growing = destination.with_name(f".{destination.name}.partial-{os.getpid()}")
    growing.mkdir(parents=True, mode=0o700)
    refused: list[tuple[str, str]] = []
    try:
        for number, (name, drawn) in enumerate(by_picture.items()):
            refused += _cut_picture(root, name, drawn, growing, f"{number:06d}", padding, limits or ImageLimits())
            if on_progress is not None:
                on_progress(number + 1, len(by_picture))
        if len(refused) == len(boxes):
            raise InvalidInput(f"not one box could be cut; the first: {refused[0][1]}")
        growing.rename(destination)
    finally:
        if growing.is_dir():
            shutil.rmtree(growing)
    return Cut(len(by_picture), len(boxes) - len(refused), tuple(refused))


def _cut_picture(
    root: Path, name: str, drawn: Sequence[DrawnBox], into: Path, number: str, padding: float, limits: ImageLimits
) -> list[tuple[str, str]]:
    """Write a picture's crops; what could not be cut, with the reason."""
    try:
        path = find_picture(root, name)
        picture = decode_image(path.read_bytes(), limits)
    except (LookalikeError, OSError) as error:
        reason = str(error) if isinstance(error, LookalikeError) else "the picture cannot be read"
        return [(box.source, reason) for box in drawn]
    refused = []
    for place, box in enumerate(drawn):
        label, crop = folder_name(box.label), crop_of(picture, box, padding)
        if label is None:
            refused.append((box.source, "its label cannot be the name of a folder"))
        elif crop is None:
            refused.append((box.source, f"less than {FEWEST_PX} pixels of its box lie within the picture"))
        else:
            folder = into / label
            folder.mkdir(exist_ok=True, mode=0o700)
            target = folder / f"{path.stem[:100]}-{number}-{place}.jpg"
            target.write_bytes(encode_jpeg(crop))
            target.chmod(0o600)
    return refused


def find_picture(root: Path, name: str) -> Path:
    """The picture of this name within the folder, with any ending if it has none. Raises: InvalidInput."""
    wanted = root / name.replace("\\", "/")
    if not name or "\0" in name or not wanted.resolve().is_relative_to(root.resolve()):
        raise InvalidInput("the picture's name leads out of the folder of pictures")
    if wanted.is_file():
        return wanted
    for suffix in (*SUFFIXES, *(each.upper() for each in SUFFIXES)):
        beside = wanted.with_name(wanted.name + suffix)
        if beside.is_file():
            return beside
    raise InvalidInput("its picture is not in the folder of pictures")


def crop_of(picture: Pixels, box: DrawnBox, padding: float) -> Pixels | None:
    """The part of the picture, (H, W, 3) uint8; None if too little of the box itself lies within."""
    height, width = picture.shape[:2]
    across, down = (width, height) if box.relative else (1, 1)
    left, top = box.x * across, box.y * down
    right, low = left + box.width * across, top + box.height * down
    inside = (min(right, width) - max(left, 0), min(low, height) - max(top, 0))
    if min(inside) < FEWEST_PX:
        return None
    pad_x, pad_y = padding * (right - left), padding * (low - top)
    columns = slice(round(max(left - pad_x, 0)), round(min(right + pad_x, width)))
    rows = slice(round(max(top - pad_y, 0)), round(min(low + pad_y, height)))
    return picture[rows, columns]
