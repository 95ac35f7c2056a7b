"""What scores strangers and enrolled people reach in one collection, and what each rate of false alarms would cost.

A stranger's curve is the calibration's own: how likely the best score that a stranger reaches in a gallery of this size
lies where. The enrolled people's is counted: each sample of a subject with several is compared with that subject as it
would be without it. Those are pictures that were fit to be enrolled, so probes at a door are missed more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lookalike.answers import Caller
from lookalike.domain import Collection, Floats, Permission, Threshold
from lookalike.fusion import Fusion, fuse
from lookalike.impostors import GRID, Numbers
from lookalike.live import Live
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Records

RATES = (0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 1 / 300, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
"""False-alarm rates to choose among, from one in five to one in ten thousand."""

ENOUGH_SUBJECTS = 20
"""With fewer subjects of several samples, misses are not told: one of them would decide."""

MAX_SUBJECTS, MAX_SAMPLES = 2000, 8
"""Of the subjects with several samples so many are compared, and of each so many samples."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A rate that can be chosen. misses: the share of known people's pictures below its threshold, None if unknown."""

    rate: float
    threshold: Threshold
    misses: float | None


@dataclass(frozen=True, slots=True)
class GalleryScores:
    """The scores of a collection at its present size.

    strangers: (T,), chance that a stranger's best score lies at each point of `GRID`, up to the next; own: (T,), how
    many samples scored there with their own subject; subjects: of several samples, whom those are of; choices: one for
    each of `RATES`, and the collection's own rate where it is another, commonest alarms first.
    """

    collection: Collection
    size: int
    learned: bool
    strangers: Numbers
    own: Numbers
    subjects: int
    choices: tuple[Choice, ...]

    @property
    def current(self) -> int:
        """Which choice is in force."""
        rates = [choice.rate for choice in self.choices]
        return rates.index(self.collection.target_fpir)


class ScoresOfGalleries:
    """The use case that shows them. Thread-safe."""

    def __init__(self, records: Records, audit: AuditLog, live: Live) -> None:
        self._records = records
        self._audit = audit
        self._live = live

    def of(self, caller: Caller, name: str) -> GalleryScores:
        """Raises: CollectionNotFound, NotCalibrated where no rate can be promised."""
        with on_record(self._audit, caller, "collection.scores", Permission.MANAGE_COLLECTIONS, name) as record:
            live = self._live.of(self._records.collection(name))
            where, known, size = live.collection, live.calibration, len(live.roster)
            scores, subjects = own_scores(*live.roster.all_templates(), live.roster.fusion)
            record.details.update(subjects=subjects)
            reached = np.array([known.fpir(float(point), size) for point in GRID])
            rates = sorted({*RATES, where.target_fpir}, reverse=True)
            told = scores if subjects >= ENOUGH_SUBJECTS else None
            return GalleryScores(
                collection=where,
                size=size,
                learned=live.learned,
                strangers=np.append(reached[:-1] - reached[1:], reached[-1]),
                own=_binned(scores),
                subjects=subjects,
                choices=tuple(_choice(rate, known.threshold(rate, size), told) for rate in rates),
            )


def own_scores(vectors: Floats, owners: Sequence[str], fusion: Fusion, seed: int = 1) -> tuple[Floats, int]:
    """Each sample's similarity to its subject without it: (M,), and of how many subjects. vectors: (N, D) of N owners.

    Subjects with one sample have none; where there are many, some are drawn by chance.
    """
    rows_of: dict[str, list[int]] = {}
    for row, owner in enumerate(owners):
        rows_of.setdefault(owner, []).append(row)
    several = [rows for rows in rows_of.values() if len(rows) > 1]
    chosen = np.random.default_rng(seed).permutation(len(several))[:MAX_SUBJECTS]
    scores = []
    for rows in (several[i] for i in chosen):
        for left_out in rows[:MAX_SAMPLES]:
            others = vectors[[row for row in rows if row != left_out]]
            scores.append(fuse(vectors[left_out], others, fusion))
    return np.array(scores, np.float32), len(chosen)


def _choice(rate: float, threshold: Threshold, scores: Floats | None) -> Choice:
    misses = None if scores is None else float(np.mean(scores < threshold.similarity))
    return Choice(rate, threshold, misses)


def _binned(scores: Floats) -> Numbers:
    """(M,) -> (T,): how many lie at each point of the grid, up to the next."""
    places = np.clip(np.searchsorted(GRID, scores, side="right") - 1, 0, len(GRID) - 1)
    return np.bincount(places, minlength=len(GRID)).astype(np.float64)
