"""Looks at every picture once: can it be read, its quality, its hashes and, for faces, the largest one's vector.

Vectors stay in memory: those of faces never lie on disk in the clear. An interrupted run therefore begins anew, at
about 12 ms a face picture, and has written nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from embedder.align import CROP_SIDE
from embedder.curate.findings import LOOK, MOVE, REMOVE, Finding
from embedder.curate.folders import Place
from embedder.curate.hashes import Hashes, hash_picture, shrink
from embedder.curate.picture_quality import picture_faults
from embedder.headers import read_header
from embedder.images import ImageLimits, decode_image, encode_jpeg
from embedder.quality import BOUNDS
from lookalike.domain import EncodedFace, Floats, Pixels, Quality
from lookalike.errors import ImageTooLarge, ImageTooSmall, LookalikeError
from lookalike.ports import FaceEncoder

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

SECOND_FACE = 0.25
"""A second face counts from this share of the largest one's area on; smaller ones are bystanders."""

ENDINGS = {"jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"), "png": (".png",), "webp": (".webp",)}

_BATCH = 64
_MAGIC = (b"\xff\xd8", b"\x89PNG", b"RIFF")
_FACE_FAULTS = {"too_small": "tiny", "too_dark": "dark", "too_bright": "bright", "blurred": "blurred"}


@dataclass(frozen=True, slots=True, repr=False)
class Look:
    """What is kept of a picture. small: (64, 64) uint8 grey and pixels: its place in quality; None if unreadable.

    data_hash, pixels_hash: SHA-256 of the file and of its upright pixels; vector: (D,) of the largest face; certain:
    False where no face was found and the whole picture was taken as an aligned crop.
    """

    place: Place
    findings: tuple[Finding, ...]
    data_hash: bytes = b""
    pixels_hash: bytes = b""
    pixels: int = 0
    small: Pixels | None = None
    hashes: Hashes | None = None
    vector: Floats | None = None
    certain: bool = True

    def __repr__(self) -> str:
        return f"Look({self.place.relative})"


def look_at_all(
    places: Sequence[Place], limits: ImageLimits, encoder: FaceEncoder | None, on_progress: Progress | None = None
) -> list[Look]:
    """In order. encoder: for faces; None for pictures of things."""
    looks: list[Look] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(places), _BATCH):
            looks += pool.map(lambda place: look_at(place, limits, encoder), places[start : start + _BATCH])
            if on_progress is not None:
                on_progress(len(looks), len(places))
    return looks


def look_at(place: Place, limits: ImageLimits, encoder: FaceEncoder | None) -> Look:
    """One picture; what is wrong with it is among its findings."""
    try:
        data = place.path.read_bytes()
    except OSError as error:
        reason = f"It cannot be read: {error.strerror or type(error).__name__}."
        return Look(place, (Finding("broken", place.relative, reason, 1.0, REMOVE),))
    try:
        picture = decode_image(data, limits)
    except LookalikeError as error:
        return Look(place, (_refused(place, data, error),), hashlib.sha256(data).digest())
    faces = encoder.encode(data, enrolment=True) if encoder is not None else []
    vector, certain = (faces[0].vector, True) if faces else (None, True)
    if encoder is not None and not faces and picture.shape == (CROP_SIDE, CROP_SIDE, 3):
        vector, certain = encoder.encode_crops([encode_jpeg(picture)], enrolment=True).vectors[0], False
    findings = [
        *_misnamed(place, data),
        *_spoiled(place, picture, faces[0].face.quality if faces else None),
        *(_of_faces(place, faces) if encoder is not None else ()),
    ]
    small = shrink(picture)
    return Look(
        place,
        tuple(findings),
        hashlib.sha256(data).digest(),
        hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest(),
        picture.shape[0] * picture.shape[1],
        small,
        hash_picture(small),
        vector,
        certain,
    )


def _refused(place: Place, data: bytes, error: LookalikeError) -> Finding:
    sentence = f"{str(error)[:1].upper()}{str(error)[1:]}."
    if isinstance(error, ImageTooSmall):
        fault = "tiny"
    elif isinstance(error, ImageTooLarge):
        fault = "too_large"
    else:
        known = not data or (data.startswith(_MAGIC) and "animated" not in str(error))
        fault = "broken" if known else "unsupported"
    return Finding(fault, place.relative, sentence, 1.0, REMOVE)


def _misnamed(place: Place, data: bytes) -> list[Finding]:
    """A wrong ending alone harms nobody who goes by the bytes, as we do; other programs go by the name."""
    kind = read_header(data).format
    if place.path.suffix.lower() in ENDINGS[kind]:
        return []
    ending = place.path.suffix or "no ending"
    reason = f"The bytes are {kind.upper()}, the name says {ending}."
    renamed = f"{place.label}/{place.path.stem}{ENDINGS[kind][0]}"
    return [Finding("misnamed", place.relative, reason, 1.0, MOVE + renamed)]


def _spoiled(place: Place, picture: Pixels, quality: Quality | None) -> list[Finding]:
    """The gravest fault of the picture; of its face, where there is one."""
    if quality is None:
        found = [(fault, f"In the whole picture {why}.", sure) for fault, why, sure in picture_faults(picture)]
    else:
        found = [
            (
                _FACE_FAULTS[bound.reason],
                f"The face's {bound.measure} is {quality.measures[bound.measure]:.0f}; the bound is {bound.limit:.0f}.",
                1.0 - bound.goodness(quality.measures[bound.measure]),
            )
            for bound in BOUNDS
            if bound.reason in quality.reasons and bound.reason in _FACE_FAULTS
        ]
    return [Finding(fault, place.relative, why, sure, REMOVE) for fault, why, sure in found[:1]]


def _of_faces(place: Place, faces: Sequence[EncodedFace]) -> list[Finding]:
    if not faces:
        return [Finding("no_face", place.relative, "The detector found no face.", 1.0, REMOVE)]
    if len(faces) == 1:
        return []
    largest, second = faces[0].face, faces[1].face
    share = second.box.area / max(largest.box.area, 1e-9)
    if share < SECOND_FACE:
        return []
    reason = f"{len(faces)} faces, the second with {100 * share:.0f} % of the largest one's area."
    return [Finding("several_faces", place.relative, reason, min(second.confidence, 0.5 + share / 2), LOOK)]
