"""Says which parts of two pictures made them similar, for any model: hide parts, and see how the similarity changes.

Nothing of the model is looked into, so one way serves all of them. Each picture is hidden in part some hundred times
under masks of random cells, as RISE does (Petsiuk et al., BMVC 2018), and each time compared with the other picture as
it is. What a place is worth follows by regression: a Gaussian process over the picture, whose smoothness stands in for
the measurements that a second has no time for. Half of the masks hide with the picture's mean colour, half with its own
blur, so that the map depends less on what a hidden place looks like. benchmarks/explain.py chose all figures here.

A map says what this model compared, not who somebody is (docs/explain.md). The same pictures, model and seed give the
same map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lookalike.domain import Floats, Pixels

Embed = Callable[[Pixels], Floats]
"""Pictures of one size, (N, H, W, 3) uint8 RGB, to unit vectors, (N, D) float32."""

Masks = NDArray[np.bool_]

MASKS, HIDDEN, CELLS = 200, 0.3, 10
"""A picture's masks; the share of cells that each hides; cells along a side."""

SIDE, BLOCKS = 112, 28
"""Masks are drawn on a square of the first, in pixels, and a map has so many blocks along a side."""

REACHES, NOISE = (6.0, 16.0), 0.2
"""The Gaussian process: how far what a place is worth carries over, in pixels of SIDE, finely and broadly; noise, as a
share of the signal."""

MARKED, DRAWS = 0.2, 8
"""The share of a picture called most important, and how many random shares of that size it is checked against."""

BATCH = 32


@dataclass(frozen=True, slots=True)
class Part:
    """A named part of a picture. area: its share of the picture; weight: its share of all that is asked about.

    without: the similarity when exactly this part is hidden, measured, not taken from the map.
    """

    name: str
    area: float
    weight: float
    without: float


@dataclass(frozen=True, slots=True, repr=False)
class Side:
    """What one of the two pictures gave. heat: (28, 28), by how much the similarity falls for each hundredth hidden.

    Negative heat speaks against the match: hiding it brings the pictures closer. marked: the similarity when the fifth
    of the picture that the map calls most important is hidden; random: the mean of it when other fifths are, by chance.
    against: whether weights and the marked fifth are of what speaks against the match, not of what speaks for it.
    """

    heat: Floats
    parts: tuple[Part, ...]
    marked: float
    random: float
    against: bool = False

    @property
    def holds(self) -> bool:
        """Whether hiding what the map marks does more than hiding as much by chance. Where not, do not believe it."""
        return self.marked > self.random if self.against else self.marked < self.random

    def __repr__(self) -> str:
        return f"Side(marked={self.marked:.3f}, random={self.random:.3f})"


@dataclass(frozen=True, slots=True)
class Explanation:
    """similarity: of the two pictures as they are; sides: what each gave to it, with the other one whole."""

    similarity: float
    sides: tuple[Side, Side]


def explain(
    embed: Embed,
    first: Pixels,
    second: Pixels,
    parts: Mapping[str, Masks] | None = None,
    *,
    against: bool = False,
    masks: int = MASKS,
    seed: int = 1,
) -> Explanation:
    """Maps of two pictures, (H, W, 3) uint8 each. parts: name → bool mask of any size, stretched over each picture.

    against: weigh the parts by what kept the pictures apart, rather than by what made them similar.
    """
    vectors = [embed(picture[None])[0] for picture in (first, second)]
    similarity = float(vectors[0] @ vectors[1])
    hidden = random_cells(masks, seed)
    smooth = smoother(hidden)

    def side(picture: Pixels, other: Floats) -> Side:
        compared = _Compared(embed, picture, other)
        heat = heat_map(smooth, similarity - compared.alternating(hidden))
        return _side(compared, heat, parts or {}, against, seed)

    return Explanation(similarity, (side(first, vectors[1]), side(second, vectors[0])))


def _side(compared: _Compared, heat: Floats, parts: Mapping[str, Masks], against: bool, seed: int) -> Side:
    asked = -heat if against else heat
    named = np.array([to_square(part) for part in parts.values()], bool).reshape(-1, SIDE, SIDE)
    chosen = compared.both(np.concatenate([most_important(asked)[None], named]))
    by_chance = compared.alternating(np.concatenate([random_fifths(DRAWS, seed), scattered_fifths(DRAWS, seed)]))
    weights = enlarged(np.maximum(asked, 0)).clip(0)
    described = tuple(
        Part(name, float(part.mean()), float(weights[part].sum() / max(weights.sum(), 1e-12)), float(without))
        for name, part, without in zip(parts, named, chosen[1:], strict=True)
    )
    return Side(heat, described, float(chosen[0]), float(by_chance.mean()), against)


class _Compared:
    """One picture, hidden in part, compared with the other picture's vector. Masks are (N, 112, 112), true: hidden."""

    def __init__(self, embed: Embed, picture: Pixels, other: Floats) -> None:
        self._embed, self._picture, self._other = embed, picture, other
        self._fillings = (mean_filling(picture), blur_filling(picture))

    def alternating(self, masks: Masks) -> Floats:
        """(N,) similarities, every other mask filled with the mean colour and the rest with the blur."""
        similarities = np.empty(len(masks), np.float32)
        for place, filling in enumerate(self._fillings):
            similarities[place::2] = self._hidden(masks[place::2], filling)
        return similarities

    def both(self, masks: Masks) -> Floats:
        """(N,) similarities, the mean over both fillings."""
        first, second = (self._hidden(masks, filling) for filling in self._fillings)
        return np.asarray((first + second) / 2, np.float32)

    def _hidden(self, masks: Masks, filling: Pixels) -> Floats:
        found = np.empty(len(masks), np.float32)
        for start in range(0, len(masks), BATCH):
            batch = slice(start, start + BATCH)
            found[batch] = self._embed(hide(self._picture, masks[batch], filling)) @ self._other
        return found


# --------------------------------------------------------------------------------------- hiding a part


def hide(picture: Pixels, masks: Masks, filling: Pixels) -> Pixels:
    """(H, W, 3), (N, 112, 112), (H, W, 3) -> (N, H, W, 3): the picture where a mask is false, the filling elsewhere."""
    height, width = picture.shape[:2]
    if (height, width) != masks.shape[1:]:
        size = (width, height)
        fitted = [cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for m in masks]
        masks = np.array(fitted, bool).reshape(-1, height, width)
    return np.where(masks[..., None], filling, picture)


def mean_filling(picture: Pixels) -> Pixels:
    """The picture's mean colour everywhere."""
    colour = picture.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    return np.broadcast_to(colour, picture.shape)


def blur_filling(picture: Pixels) -> Pixels:
    """The picture so blurred that no feature is left."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), max(picture.shape[:2]) / 11), np.uint8)


# ---------------------------------------------------------------------------------------------- masks


def random_cells(count: int, seed: int, cells: int = CELLS, hidden: float = HIDDEN) -> Masks:
    """Masks of square cells, each hidden by chance, the grid shifted each time. -> (count, 112, 112)."""
    rng = np.random.default_rng(seed)
    cell = -(-SIDE // cells)
    masks = np.empty((count, SIDE, SIDE), bool)
    for mask in masks:
        drawn = np.kron(rng.random((cells + 1, cells + 1)) < hidden, np.ones((cell, cell), bool))
        top, left = rng.integers(0, cell, 2)
        mask[:] = drawn[top : top + SIDE, left : left + SIDE]
    return masks


def random_fifths(count: int, seed: int) -> Masks:
    """Squares of a fifth of the area, wholly inside, anywhere. -> (count, 112, 112)."""
    rng = np.random.default_rng(seed)
    side = round(SIDE * MARKED**0.5)
    masks = np.zeros((count, SIDE, SIDE), bool)
    for mask in masks:
        top, left = rng.integers(0, SIDE - side + 1, 2)
        mask[top : top + side, left : left + side] = True
    return masks


def scattered_fifths(count: int, seed: int, cells: int = 14) -> Masks:
    """A fifth of the cells of a grid, by chance. -> (count, 112, 112)."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, cells * cells), bool)
    for mask in masks:
        mask[rng.choice(cells * cells, round(MARKED * cells * cells), replace=False)] = True
    return np.kron(masks.reshape(count, cells, cells), np.ones((1, SIDE // cells, SIDE // cells), bool))


def to_square(mask: Masks) -> Masks:
    """A mask of any size on the square that masks are drawn on. (H, W) -> (112, 112)."""
    return np.asarray(cv2.resize(mask.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST), bool)


def most_important(heat: Floats, share: float = MARKED) -> Masks:
    """The share of the area with the most heat. (28, 28) -> (112, 112)."""
    fine = enlarged(heat).ravel()
    mask = np.zeros(SIDE * SIDE, bool)
    mask[np.argsort(-fine, kind="stable")[: round(share * SIDE * SIDE)]] = True
    return mask.reshape(SIDE, SIDE)


def enlarged(heat: Floats) -> Floats:
    """(28, 28) -> (112, 112), cubic."""
    return np.asarray(cv2.resize(heat, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


# ----------------------------------------------------------------------------------------- regression


def smoother(masks: Masks, reaches: tuple[float, ...] = REACHES, noise: float = NOISE) -> Floats:
    """What turns the falls of similarity under these masks into a map. (N, 112, 112) -> (784, N).

    A fall is taken for the sum of what the hidden blocks are worth, plus noise; the blocks' worths are a Gaussian
    process whose kernel is a sum of squared exponentials. Its posterior mean is linear in the falls (Rasmussen and
    Williams, Gaussian Processes for Machine Learning, 2006, section 2.2), so it is solved once for all pictures.
    """
    step = SIDE // BLOCKS
    shares = masks.reshape(len(masks), BLOCKS, step, BLOCKS, step).mean(axis=(2, 4)).reshape(len(masks), -1)
    centred = shares - shares.mean(axis=0)
    places = np.indices((BLOCKS, BLOCKS)).reshape(2, -1).T * float(step)
    squares = ((places[:, None] - places[None]) ** 2).sum(axis=-1)
    kernel = np.sum([np.exp(-squares / (2 * reach**2)) for reach in reaches], axis=0)
    signal = centred @ kernel @ centred.T
    signal[np.diag_indices(len(masks))] += noise * signal.trace() / len(masks)
    solved = np.linalg.solve(signal, centred @ kernel).T
    return np.asarray(solved - solved.mean(axis=1, keepdims=True), np.float32)


def heat_map(smooth: Floats, falls: Floats) -> Floats:
    """(784, N), (N,) -> (28, 28): the fall of similarity for each hundredth of the picture hidden there."""
    return (smooth @ falls).reshape(BLOCKS, BLOCKS) * (BLOCKS * BLOCKS / 100)
