"""Galleries as large as asked for, around real photos: what is not real is drawn from Gaussians of their covariance.

Faces are all pictures of faces/train, things all of items/train, embedded once and kept under .cache/; probes are real
photos held out. A Gaussian of the covariance of some thousand photos lies closer to a subspace than photos do, of which
a tenth lies outside the one that their like span: so a tenth of the square of each made-up thing is spread evenly.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lookalike.domain import Floats, Labels

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LOOKALIKE_SHARED", ROOT.parent / "shared"))
SEED = 20261125
OUTSIDE = {"faces": 0.0, "items": 0.1}
PROBES_OF_ITEMS = 5
_BLOCK = 16384


@dataclass(frozen=True)
class Gallery:
    """vectors: (N, D) unit float32 in random order; owners: who or what is on each, negative for a made-up one."""

    vectors: Floats
    owners: Labels
    probes: Floats
    probe_owners: Labels
    real: int


def gallery(kind: str, rows: int, dimension: int) -> Gallery:
    """kind: "faces" (128 dimensions) or "items" (1280, or fewer by projecting them onto their first axes)."""
    vectors, owners = embedded_faces() if kind == "faces" else embedded_items()
    if dimension < vectors.shape[1]:
        axes = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1][:, :dimension]
        vectors = unit(vectors @ axes)
    rng = np.random.default_rng(SEED)
    is_probe = _one_of_each(owners, rng) if kind == "faces" else _last_of_each(owners, rng)
    real = vectors[~is_probe][:rows]
    order = rng.permutation(rows)
    filled = np.empty((rows, dimension), dtype=np.float32)
    filled[order[: len(real)]] = real
    for start in range(len(real), rows, _BLOCK):
        at = order[start : start + _BLOCK]
        filled[at] = like(real, len(at), rng, OUTSIDE[kind])
    names = np.empty(rows, dtype=np.int64)
    names[order] = np.concatenate([owners[~is_probe][:rows], -1 - np.arange(rows - len(real))])
    return Gallery(filled, names, np.ascontiguousarray(vectors[is_probe]), owners[is_probe], len(real))


def like(real: Floats, count: int, rng: np.random.Generator, outside: float) -> Floats:
    """Gaussian rows like the real ones, with this share of their square spread evenly. (count, D)."""
    mean = real.mean(axis=0)
    away = (real - mean) / np.float32(np.sqrt(len(real) - 1))
    if len(real) > real.shape[1]:  # the same covariance from fewer numbers
        away = np.linalg.cholesky(away.T @ away + 1e-9 * np.eye(real.shape[1])).T.astype(np.float32)
    rows = unit(rng.standard_normal((count, len(away)), dtype=np.float32) @ away + mean)
    if not outside:
        return rows
    noise = rng.standard_normal(rows.shape, dtype=np.float32) / np.float32(np.sqrt(rows.shape[1]))
    return unit(np.float32(np.sqrt(1 - outside)) * rows + np.float32(np.sqrt(outside)) * noise)


def unit(rows: Floats) -> Floats:
    found: Floats = np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
    return found


def _one_of_each(owners: Labels, rng: np.random.Generator) -> np.ndarray:
    """One picture of everybody who has three or more."""
    held: dict[int, int] = {}
    shown = dict(zip(*np.unique(owners, return_counts=True), strict=True))
    for i in rng.permutation(len(owners)).tolist():
        if shown[owners[i]] >= 3:
            held.setdefault(int(owners[i]), i)
    return np.isin(np.arange(len(owners)), list(held.values()))


def _last_of_each(owners: Labels, rng: np.random.Generator) -> np.ndarray:
    """Some pictures of every class."""
    chosen = [rng.permutation(np.flatnonzero(owners == one))[:PROBES_OF_ITEMS] for one in np.unique(owners)]
    return np.isin(np.arange(len(owners)), np.concatenate(chosen))


def embedded_faces() -> tuple[Floats, Labels]:
    """Vectors of all pictures of faces/train and the people on them, from .cache/ or made now (some minutes)."""
    from benchmarks.search import embedded_faces as made

    return made()


def embedded_items() -> tuple[Floats, Labels]:
    """Vectors of all pictures of items/train by the shipped model, and their classes, from .cache/ or made now."""
    kept = ROOT / ".cache" / "search-items.npz"
    if not kept.exists():
        from api.bundles import load_bundle
        from lookalike.domain import Kind
        from lookalike.settings import Settings

        print("embedding the pictures of items/train, once", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            encoder, _ = load_bundle(Settings(data=Path(folder)), Kind.IMAGE, "bundle:items-1")
            paths = sorted((SHARED / "items" / "train").glob("*/*.jpg"))
            classes = {name: i for i, name in enumerate(sorted({path.parent.name for path in paths}))}
            vectors = np.stack([encoder.encode(path.read_bytes())[0].vector for path in paths])
        kept.parent.mkdir(exist_ok=True)
        np.savez(kept, vectors=vectors, owners=np.array([classes[path.parent.name] for path in paths]))
    with np.load(kept) as held:
        return held["vectors"], held["owners"]
