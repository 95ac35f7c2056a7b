"""Embeds a protocol's pictures: each as a probe and as an enrolment template, exactly as the service would.

What cannot be read or shows no face is listed, not fatal. Nothing is kept on disk: vectors of faces never lie there in
the clear.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.evaluate.protocol import Picture
from lookalike.domain import Floats, Labels
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


def embed(pictures: Sequence[Picture], encoder: FaceEncoder, on_progress: Progress | None = None) -> Embedded:
    """The largest face of each picture. Raises: InvalidInput where no picture shows a face."""
    answers: list[Floats | str] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(pictures), _BATCH):
            answers += pool.map(lambda p: _one(p.path, encoder), pictures[start : start + _BATCH])
            if on_progress is not None:
                on_progress(len(answers), len(pictures))
    place = np.array([i for i, answer in enumerate(answers) if not isinstance(answer, str)], np.int64)
    if not len(place):
        raise InvalidInput("no picture shows a face")
    both = np.stack([answer for answer in answers if not isinstance(answer, str)])
    number = {name: i for i, name in enumerate(sorted({p.person for p in pictures}))}
    return Embedded(
        both[:, 0],
        both[:, 1],
        np.array([number[pictures[i].person] for i in place], np.int64),
        place,
        tuple((str(pictures[i].path), a) for i, a in enumerate(answers) if isinstance(a, str)),
    )


def _one(path: Path, encoder: FaceEncoder) -> Floats | str:
    """(2, D): as a probe and as a template; or why not."""
    try:
        data = path.read_bytes()
        probe = encoder.encode(data, largest_only=True)
        template = encoder.encode(data, largest_only=True, enrolment=True)
    except OSError:
        return "unreadable"
    except LookalikeError as error:
        return error.code
    return np.stack([probe[0].vector, template[0].vector]) if probe and template else "face_not_found"
