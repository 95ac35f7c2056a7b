"""Templates carried from one model's space into another's, for samples whose picture is not kept.

A linear mapping is learned from the collection's own samples that both models were given, and judged on people that it
was not learned from: it is used only where hardly anybody known by the new model's own templates is lost by carried
ones, and strangers are taken for somebody no more often.
Source: Rubab, Tong, Ross, "Are Face Embeddings Compatible Across Deep Neural Network Models?", arXiv 2604.07282 (2026):
linear mappings take one face model's space to another's with little loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lookalike.domain import Floats
from lookalike.fusion import Fusion, fuse, templates
from lookalike.paired import Paired

LARGEST_LOSS = 0.02
"""Of the people whom the new model's own templates know, those whom carried ones may lose."""

LEAST_PAIRS, LEAST_JUDGED = 200, 50
"""Samples to learn from, and people with several of them to judge by; with fewer, nothing is carried."""

MOST_PAIRS = 20_000
FOLDS = 5
RIDGE = 0.01
"""Of the mean square of a component. A tenth costs false alarms, a thousandth people where pairs are few."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What both models say of the same samples. old: (N, D), new: (N, E), unit rows; owners: N subject keys."""

    old: Floats
    new: Floats
    owners: Sequence[str]

    def __len__(self) -> int:
        return len(self.owners)


@dataclass(frozen=True, slots=True)
class Carriage:
    """How good a mapping is. judged: people with several samples; known: of them, by the new model's own templates.

    lost: of those known, by carried ones no more; alarms: probes taken for somebody else by carried templates and not
    by own ones, and the other way round; why: it is not used, empty where it is.
    """

    pairs: int
    judged: int = 0
    known: int = 0
    lost: int = 0
    alarms: tuple[int, int] = (0, 0)
    why: str = ""

    @property
    def loss(self) -> float:
        return self.lost / self.known if self.known else 0.0


class Mapping:
    """A matrix from one space to another, fitted by ridge regression. Its images are of unit length."""

    def __init__(self, old: Floats, new: Floats) -> None:
        """old: (N, D), new: (N, E): the same N samples in both spaces."""
        squares = old.T @ old
        ridge = RIDGE * np.trace(squares) / len(squares)
        self._matrix = np.linalg.solve(squares + ridge * np.eye(len(squares), dtype=squares.dtype), old.T @ new)

    def __call__(self, old: Floats) -> Floats:
        """(N, D) -> (N, E), unit rows."""
        found = old @ self._matrix
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(lengths, 1e-6), np.float32)


def judge(pairs: Pairs, threshold: float, fusion: Fusion) -> Carriage:
    """How people would be known by carried templates, from mappings that were learned without them.

    threshold: the new model's similarity that decides. Each person of several samples is asked for by the first one,
    as the new model sees it, among all people's templates: own ones, then carried ones.
    """
    if len(pairs) < LEAST_PAIRS:
        return Carriage(
            len(pairs), why=f"{len(pairs)} samples have a picture to learn from, and {LEAST_PAIRS} are asked for"
        )
    rows_of = _rows_of(pairs.owners)
    several = [rows for rows in rows_of.values() if len(rows) > 1]
    if len(several) < LEAST_JUDGED:
        return Carriage(
            len(pairs),
            len(several),
            why=f"{len(several)} people have several samples with a picture, and {LEAST_JUDGED} are asked for",
        )
    carried = _carried_by_others(pairs, list(rows_of.values()))
    known = _known(pairs, pairs.new, several, threshold, fusion)
    known_carried = _known(pairs, carried, several, threshold, fusion)
    alarm = _alarms(pairs, pairs.new, several, threshold)
    alarm_carried = _alarms(pairs, carried, several, threshold)
    found = Carriage(
        len(pairs),
        len(several),
        int(known.sum()),
        int((known & ~known_carried).sum()),
        (int((alarm_carried & ~alarm).sum()), int((alarm & ~alarm_carried).sum())),
    )
    return Carriage(found.pairs, found.judged, found.known, found.lost, found.alarms, _objection(found))


def _objection(found: Carriage) -> str:
    if not found.known:
        return "the new model knows nobody of those who could be judged"
    if found.loss > LARGEST_LOSS:
        return f"it loses {found.lost} of {found.known} people, and {LARGEST_LOSS:.0%} may be lost"
    more, fewer = found.alarms
    if Paired(found.judged, more, fewer).verdict == "worse":
        return f"it takes {more} of {found.judged} people for somebody else who were not before"
    return ""


def _carried_by_others(pairs: Pairs, people: Sequence[Sequence[int]]) -> Floats:
    """Every sample as a mapping carries it that was learned without its person. (N, E)."""
    carried = np.empty_like(pairs.new)
    for fold in range(FOLDS):
        held = np.zeros(len(pairs), bool)
        held[[row for rows in people[fold::FOLDS] for row in rows]] = True
        if held.any():
            carried[held] = Mapping(pairs.old[~held], pairs.new[~held])(pairs.old[held])
    return carried


def _known(
    pairs: Pairs, references: Floats, several: Sequence[Sequence[int]], threshold: float, fusion: Fusion
) -> np.ndarray:
    """Who of those with several samples is known by the first, (S,), the others being these references (N, E)."""
    return np.array(
        [fuse(pairs.new[first], references[others], fusion) >= threshold for first, *others in several], dtype=bool
    )


def _alarms(pairs: Pairs, references: Floats, several: Sequence[Sequence[int]], threshold: float) -> np.ndarray:
    """Whose first sample is as like as the threshold asks to somebody else's template, (S,)."""
    gallery, names = templates(references, pairs.owners)
    place = {name: at for at, name in enumerate(names)}
    scores = pairs.new[[first for first, *_ in several]] @ gallery.T
    scores[np.arange(len(several)), [place[pairs.owners[first]] for first, *_ in several]] = -1.0
    return np.asarray(scores.max(axis=1) >= threshold)


def _rows_of(owners: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, owner in enumerate(owners):
        found.setdefault(owner, []).append(row)
    return found
