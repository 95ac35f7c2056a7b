"""Finds pictures that are one picture: the same bytes, the same pixels, or the same photo under another treatment.

Which of a group stays is decided by rule: the one with the most pixels, and of equals the first by path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedder.curate.hashes import propose_by_hash, propose_by_vector
from embedder.curate.looks import Look
from embedder.curate.pixels import likeness

WITH_FACES = (6, 4)
WITHOUT = (21, 6)
"""How many of dHash's and pHash's bits may differ in a pair that is looked at. Faces have vectors to propose by too."""

FACE_SIMILARITY = 0.8
"""Two copies of a photo have face vectors at least so alike: crops, mirror images and bad JPEGs were measured."""

MOST_PARTNERS = 24
"""A picture is compared with so many later ones at most, so that a set of near-identical goods takes no forever."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Two pictures that are one, by their places among the looks. how: a sentence; exact: bytes or pixels are equal."""

    first: int
    second: int
    how: str
    confidence: float
    exact: bool


def find_twins(looks: Sequence[Look]) -> list[Twins]:
    """Every pair that was found; of equal files each is paired with the first one only."""
    exact = [*_equal(looks, "data_hash", "Byte for byte the same file")]
    known = {(pair.first, pair.second) for pair in exact}
    pixels = _equal(looks, "pixels_hash", "The same pixels in another file")
    exact += [pair for pair in pixels if (pair.first, pair.second) not in known]
    copies = {pair.second for pair in exact}
    return exact + _near(looks, [i for i, look in enumerate(looks) if look.small is not None and i not in copies])


def _equal(looks: Sequence[Look], field: str, how: str) -> list[Twins]:
    first: dict[bytes, int] = {}
    found = []
    for at, look in enumerate(looks):
        digest = getattr(look, field)
        if not digest:
            continue
        if digest in first:
            found.append(Twins(first[digest], at, how, 1.0, True))
        first.setdefault(digest, at)
    return found


def _near(looks: Sequence[Look], readable: list[int]) -> list[Twins]:
    """Pairs that hashes or vectors propose and pixels confirm."""
    if len(readable) < 2:
        return []
    hashes = [hashed for i in readable if (hashed := looks[i].hashes) is not None]
    faces = [i for i in readable if looks[i].vector is not None]
    gradient, frequency = WITH_FACES if faces else WITHOUT
    by_hash = propose_by_hash(hashes, gradient_bits=gradient, frequency_bits=frequency, most=MOST_PARTNERS)
    proposed = {(readable[i], readable[j]) for i, j in by_hash}
    if faces:
        vectors = np.stack([each for i in faces if (each := looks[i].vector) is not None])
        by_face = propose_by_vector(vectors, similarity=FACE_SIMILARITY, most=MOST_PARTNERS)
        proposed |= {(faces[i], faces[j]) for i, j in by_face}
    found = []
    for first, second in sorted(proposed):
        one, other = looks[first].small, looks[second].small
        if one is None or other is None:
            continue
        alike = likeness(one, other)
        if alike.same:
            flipped = "mirrored and " if alike.mirrored else ""
            how = f"Once {flipped}laid over each other the pixels correlate at {alike.pixels:.3f}"
            found.append(Twins(first, second, how, min(alike.pixels, 1.0), False))
    return found


def keeper_first(looks: Sequence[Look], pair: Twins) -> tuple[int, int]:
    """(the one to keep, the other)."""
    first, second = pair.first, pair.second
    return (second, first) if looks[second].pixels > looks[first].pixels else (first, second)
