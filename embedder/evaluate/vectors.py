"""Embeds a protocol's pictures: each as a probe and as an enrolment template, exactly as the service would.

Of several faces the largest is taken, as the service does when it enrols; or the one nearest to the picture's centre,
where the pictures' labels are meant so, as LFW's are (Huang et al. 2007, section 2).

What cannot be read or shows no face is listed, not fatal. Nothing is kept on disk: vectors of faces never lie there in
the clear.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.evaluate.protocol import Picture
from embedder.headers import read_header
from lookalike.domain import EncodedFace, Floats, Labels
from lookalike.errors import InvalidInput, LookalikeError
from lookalike.ports import FaceEncoder

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_BATCH = 50


@dataclass(frozen=True, slots=True, repr=False)
class Embedded:
    """Pictures that show a face. probes, templates: (N, D) unit; person: (N,) numbers; place: (N,) in the protocol.

    left_out: the others, by path and a stable word.
    """

    probes: Floats
    templates: Floats
    person: Labels
    place: Labels
    left_out: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"Embedded({len(self.place)} pictures, {len(self.left_out)} left out)"


def embed(
    pictures: Sequence[Picture],
    encoder: FaceEncoder,
    on_progress: Progress | None = None,
    *,
    central: bool = False,
) -> Embedded:
    """The largest face of each picture, or the one nearest its centre. Raises: InvalidInput where none shows a face."""
    answers: list[Floats | str] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(pictures), _BATCH):
            answers += pool.map(lambda p: _one(p.path, encoder, central), pictures[start : start + _BATCH])
            if on_progress is not None:
                on_progress(len(answers), len(pictures))
    place = np.array([i for i, answer in enumerate(answers) if not isinstance(answer, str)], np.int64)
    if not len(place):
        raise InvalidInput("no picture can be read, or none shows a face")
    both = np.stack([answer for answer in answers if not isinstance(answer, str)])
    number = {name: i for i, name in enumerate(sorted({p.person for p in pictures}))}
    return Embedded(
        both[:, 0],
        both[:, 1],
        np.array([number[pictures[i].person] for i in place], np.int64),
        place,
        tuple((str(pictures[i].path), a) for i, a in enumerate(answers) if isinstance(a, str)),
    )


def _one(path: Path, encoder: FaceEncoder, central: bool) -> Floats | str:
    """(2, D): as a probe and as a template; or why not."""
    try:
        data = path.read_bytes()
        probes = encoder.encode(data, largest_only=not central)
        if not probes:
            return "face_not_found"
        at = nearest_centre(data, probes) if central and len(probes) > 1 else 0
        # Faces come largest first, so the one wanted of several is found again at its place.
        templates = encoder.encode(data, largest_only=at == 0, enrolment=True)
    except OSError:
        return "unreadable"
    except LookalikeError as error:
        return error.code
    return np.stack([probes[at].vector, templates[at].vector])


def nearest_centre(data: bytes, faces: Sequence[EncodedFace]) -> int:
    """The place of the face whose middle is nearest the upright picture's."""
    header = read_header(data)
    turned = header.orientation > 4
    width, height = (header.height, header.width) if turned else (header.width, header.height)

    def distance(at: int) -> float:
        box = faces[at].face.box
        return math.hypot(box.x + box.width / 2 - width / 2, box.y + box.height / 2 - height / 2)

    return min(range(len(faces)), key=distance)
