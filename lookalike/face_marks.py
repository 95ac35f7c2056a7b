"""Faces one by one, for callers who think in faces and users: what a subject's metadata says of one. Pure.

A face that was indexed by itself is a subject of its own, with one sample and these marks in its metadata
(docs/adr/0023). Every other subject is a user, and its samples are that user's faces. A mark that cannot
be read counts as not there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from lookalike.domain import Box, Labels, Subject

IMAGE_ID: Final = "face.image_id"
"""The mark by which a subject is known to be a single face."""

EXTERNAL_IMAGE_ID: Final = "face.external_image_id"
USER_ID: Final = "face.user_id"
BOX: Final = "face.box"
CONFIDENCE: Final = "face.confidence"
HAS_FACES: Final = "face.associated"
"""The mark of a user that faces were ever given to: to erase it is to erase them."""

MARKS = frozenset({IMAGE_ID, EXTERNAL_IMAGE_ID, USER_ID, BOX, CONFIDENCE, HAS_FACES})


@dataclass(frozen=True, slots=True, repr=False)
class FaceRecord:
    """A face that is kept. id: 32 hex characters, its sample's; alone: it is a subject of its own.

    image_id: a UUID, the same for all faces of a picture; box: shares of the picture's width and height, 0 to 1, None
    where the picture's size was not noted; user: the id of the user that it belongs to.
    """

    id: str
    number: int
    subject: Subject
    alone: bool
    image_id: str
    external_image_id: str | None
    box: Box | None
    confidence: float | None
    user: str | None

    def __repr__(self) -> str:
        return f"FaceRecord(id={self.id})"


def face_id(text: str) -> str:
    """The id of a face as a subject's id: a UUID in small letters. text: 32 hex characters."""
    return str(uuid.UUID(hex=text))


def with_marks_of(before: Mapping[str, str], metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata that a caller wants in the place of `before`. Marks are the service's: they stay as they are."""
    kept = {name: value for name, value in before.items() if name in MARKS}
    return {name: value for name, value in metadata.items() if name not in MARKS} | kept


def marks(image_id: str, external_image_id: str | None, box: Box, confidence: float) -> dict[str, str]:
    """The metadata of a face that is a subject of its own. box: in shares of the picture."""
    found = {
        IMAGE_ID: image_id,
        BOX: " ".join(f"{value:.6f}" for value in (box.x, box.y, box.width, box.height)),
        CONFIDENCE: f"{confidence:.4f}",
    }
    return found if external_image_id is None else found | {EXTERNAL_IMAGE_ID: external_image_id}


def face_of(subject: Subject, sample_id: str, number: int) -> FaceRecord:
    """A sample as a face."""
    held = subject.metadata
    if IMAGE_ID not in held:
        return FaceRecord(sample_id, number, subject, False, face_id(sample_id), subject.id, None, None, subject.id)
    box = _numbers(held.get(BOX, ""), 4)
    confidence = _numbers(held.get(CONFIDENCE, ""), 1)
    return FaceRecord(
        sample_id,
        number,
        subject,
        True,
        _uuid(held[IMAGE_ID]) or face_id(sample_id),
        held.get(EXTERNAL_IMAGE_ID),
        Box(*box) if box else None,
        confidence[0] if confidence else None,
        held.get(USER_ID),
    )


@dataclass(frozen=True, slots=True)
class People:
    """Who belongs to whom in a collection, by the subjects' random keys.

    users: keys of all that are no single face, in order; faces: keys of the faces of each user's id; user_of: the id of
    a face's user by the face's key; labels: of every sample that belongs to some user, ascending.
    """

    users: tuple[str, ...]
    faces: Mapping[str, tuple[str, ...]]
    user_of: Mapping[str, str]
    labels: Labels


def people_of(metadata: Mapping[str, Mapping[str, str]], numbers: Callable[[str], tuple[int, ...]]) -> People:
    """metadata: of every subject by its key; numbers: the labels of a subject's samples."""
    users, user_of = [], {}
    faces: dict[str, list[str]] = {}
    labels: list[int] = []
    for key, held in metadata.items():
        user = held.get(USER_ID) if IMAGE_ID in held else None
        if IMAGE_ID not in held:
            users.append(key)
        elif user is None:
            continue
        else:
            user_of[key] = user
            faces.setdefault(user, []).append(key)
        labels.extend(numbers(key))
    kept = {user: tuple(keys) for user, keys in faces.items()}
    return People(tuple(sorted(users)), kept, user_of, np.array(sorted(labels), np.int64))


def _uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _numbers(text: str, count: int) -> list[float]:
    """So many finite numbers, or none."""
    try:
        found = [float(word) for word in text.split()]
    except ValueError:
        return []
    return found if len(found) == count and all(np.isfinite(found)) else []
