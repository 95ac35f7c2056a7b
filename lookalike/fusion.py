"""Several samples of one subject, one score: the cosine with their centroid for faces, with the best one for things.

Both were chosen by measurement (docs/adr/0008, 0012). A centroid is of unit length again, so that a subject with one
sample scores exactly as that sample does, either way.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np

from lookalike.domain import Floats, Kind, Labels


class Fusion(enum.Enum):
    CENTROID = "centroid"
    BEST = "best"


FUSIONS = {Kind.FACE: Fusion.CENTROID, Kind.IMAGE: Fusion.BEST}


def fuse(query: Floats, vectors: Floats, fusion: Fusion = Fusion.CENTROID) -> float:
    """A subject's similarity to a query. (D,) unit, (K, D) unit with K >= 1 -> -1 to 1."""
    found = query @ template(vectors) if fusion is Fusion.CENTROID else np.max(vectors @ query)
    return float(np.clip(found, -1.0, 1.0))


def scored_by(vectors: Floats, owners: Sequence[str], subjects: Sequence[str], fusion: Fusion) -> tuple[Floats, Labels]:
    """What these subjects are scored by, one after another: (M, D), and the row where each one's begin, (S,).

    A subject's similarity to a query is the greatest that it has with a row of its own: see `similarities`.
    vectors: (N, D) of N owners, all enrolled.
    """
    if fusion is Fusion.CENTROID:
        found, names = templates(vectors, owners)
        row_of = {name: row for row, name in enumerate(names)}
        return found[[row_of[subject] for subject in subjects]], np.arange(len(subjects))
    rows_of: dict[str, list[int]] = {subject: [] for subject in subjects}
    for row, owner in enumerate(owners):
        if owner in rows_of:
            rows_of[owner].append(row)
    lengths = [len(rows_of[subject]) for subject in subjects]
    rows = [row for subject in subjects for row in rows_of[subject]]
    return vectors[rows], np.cumsum([0, *lengths[:-1]])


def similarities(query: Floats, rows: Floats, starts: Labels) -> Floats:
    """(D,), and what `scored_by` gave -> (S,)."""
    return np.asarray(np.maximum.reduceat(rows @ query, starts), np.float32)


def template(vectors: Floats) -> Floats:
    """The direction of the mean of unit vectors. (K, D) -> (D,); zeros where they cancel out."""
    total = vectors.sum(axis=0)
    length = float(np.linalg.norm(total))
    return np.asarray(total / length if length > 1e-6 else np.zeros_like(total), np.float32)


def templates(vectors: Floats, owners: Sequence[str]) -> tuple[Floats, list[str]]:
    """One template per owner. (N, D) and N owners -> (S, D) and the S owners, in order of first appearance."""
    row_of: dict[str, int] = {}
    rows = np.array([row_of.setdefault(owner, len(row_of)) for owner in owners], np.int64)
    totals = np.zeros((len(row_of), vectors.shape[1]), np.float32)
    np.add.at(totals, rows, vectors)
    lengths = np.linalg.norm(totals, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, totals / np.maximum(lengths, 1e-6), 0.0).astype(np.float32), list(row_of)
