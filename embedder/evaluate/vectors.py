"""Embeds a protocol's pictures: each as a probe and as an enrolment template, exactly as the service would.

What cannot be read or shows no face is listed, not fatal. A cache, when asked for, holds vectors in the clear: it is
for pictures that are public anyway, and is written for its owner's eyes only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
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

_BATCH = 200


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
    pictures: Sequence[Picture], encoder: FaceEncoder, on_progress: Progress | None = None, cache: Path | None = None
) -> Embedded:
    """The largest face of each picture. cache: a file to begin from and to keep what was embedded in.

    Raises: InvalidInput where no picture shows a face.
    """
    known = _read_cache(cache, encoder)
    keys = [f"{p.person}/{p.path.name}/{p.path.stat().st_size}" for p in pictures]
    missing = [i for i, key in enumerate(keys) if key not in known]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for batch in _batches(missing):
            for i, answer in zip(batch, pool.map(lambda i: _one(pictures[i].path, encoder), batch), strict=True):
                known[keys[i]] = answer
            _write_cache(cache, encoder, known)
            if on_progress is not None:
                on_progress(len(pictures) - len(missing) + missing.index(batch[-1]) + 1, len(pictures))
    answers = [known[key] for key in keys]
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


def _batches(items: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _stamp(encoder: FaceEncoder) -> str:
    space = encoder.space
    return "\n".join((space.model, str(space.dimension), space.preprocessing, encoder.runtime))


def _read_cache(cache: Path | None, encoder: FaceEncoder) -> dict[str, Floats | str]:
    if cache is None or not cache.is_file():
        return {}
    with np.load(cache) as held:
        if str(held["stamp"]) != _stamp(encoder):
            return {}
        found: dict[str, Floats | str] = dict(zip(held["keys"].tolist(), held["vectors"], strict=True))
        return found | dict(zip(held["left_out"].tolist(), held["why"].tolist(), strict=True))


def _write_cache(cache: Path | None, encoder: FaceEncoder, known: dict[str, Floats | str]) -> None:
    if cache is None:
        return
    good = {key: answer for key, answer in known.items() if not isinstance(answer, str)}
    bad = {key: answer for key, answer in known.items() if isinstance(answer, str)}
    vectors = np.stack(list(good.values())) if good else np.zeros((0, 2, encoder.space.dimension), np.float32)
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_name(cache.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        np.savez(
            file,
            stamp=np.array(_stamp(encoder)),
            keys=np.array(list(good), np.str_),
            vectors=vectors,
            left_out=np.array(list(bad), np.str_),
            why=np.array(list(bad.values()), np.str_),
        )
    part.replace(cache)
