"""Learning a calibration: a model's from many people, a collection's by laying the model's over its own pairs.

Both count scores of pairs that do not match (lookalike/impostors.py) and leave out those so close that most of them
must be one person under two names: one such pair would otherwise speak for every stranger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lookalike.calibration import Calibration
from lookalike.domain import Floats
from lookalike.errors import NotCalibratable
from lookalike.fusion import Fusion, scored_by, similarities
from lookalike.impostors import (
    GRID,
    HIGHEST,
    LOWEST,
    Impostors,
    Numbers,
    bootstrap_weights,
    count,
    implausible_from,
    level,
    levels_by_size,
    rate,
    shown_until,
    with_tail,
)

MIN_SUBJECTS = 20
"""Fewer subjects than this say nothing of a collection."""

MAX_PROBES, MAX_TEMPLATES = 2000, 5000
"""At most so many of a collection's subjects are compared: 10 million pairs say enough."""

_BULK = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
_UPPER = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)
"""Shares of pairs at whose similarities model and collection are laid over each other (docs/adr/0007)."""

_CREDIBLE_STRETCH = (0.2, 5.0)


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What a collection taught. pairs: those compared; dropped_pairs: too alike to be different people."""

    calibration: Calibration
    subjects: int
    pairs: int
    dropped_pairs: int


def learn(
    rows: Iterable[tuple[int, Floats]],
    *,
    provenance: Mapping[str, str | int | float] | None = None,
    resamples: int = 200,
    seed: int = 1,
) -> Calibration:
    """A model's calibration. rows: a person's number from 0, and one of their probes' scores with others' templates.

    Raises: NotCalibratable with fewer than 100 people, or fewer than 100 scores a probe.
    """
    impostors = count(rows)
    if impostors.people < 100 or impostors.others.min() < 100:
        raise NotCalibratable("a model's calibration needs at least 100 people")
    pairs = impostors.pairs
    first = levels_by_size(impostors, [1], np.full((1, impostors.people), 1 / impostors.people))[0, 0]
    suspicious = implausible_from(impostors, rate(with_tail(first, *_tail_of_pairs(impostors))))
    if suspicious is not None:
        impostors = impostors.without_above(suspicious)
    sizes = _log_spaced(int(impostors.others.min()))
    end = shown_until(impostors)
    tables = levels_by_size(impostors, sizes, bootstrap_weights(impostors.people, resamples, seed))
    tables = with_tail(tables, _tail_start(impostors, end), end)
    facts = {"people": impostors.people, "pairs": pairs, "left_out": pairs - impostors.pairs}
    levels = _ordered(tables[0], *_interval(tables[0], tables[1:]))
    return Calibration(sizes, levels, float(GRID[end]), "model", dict(provenance or {}) | facts)


def recalibrate(
    model: Calibration,
    vectors: Floats,
    owners: Sequence[str],
    *,
    fusion: Fusion = Fusion.CENTROID,
    seed: int = 1,
) -> Recalibration:
    """Lay a model's calibration over a collection's own non-matching pairs. vectors: (N, D) of N owners, all enrolled.

    The few pairs of a small gallery cannot show rare alarms, but they show where its scores lie: similarities are
    stretched and moved until the shares of pairs that reach them agree, which also mends a calibration that is wrong
    altogether. The shape of the tail and the growth with the gallery stay the model's.
    Raises: NotCalibratable with fewer than MIN_SUBJECTS subjects, or when their scores have no spread.
    """
    names = list(dict.fromkeys(owners))
    if len(names) < MIN_SUBJECTS:
        raise NotCalibratable(f"{len(names)} subjects are enrolled and {MIN_SUBJECTS} are needed to learn from")
    impostors = count(_own_rows(vectors, owners, names, fusion, seed))
    pairs = impostors.pairs
    even = np.full(impostors.people, 1 / impostors.people)
    rough = _moved(model.levels[0], *_overlay(model, _shares(impostors, even), _BULK))
    suspicious = implausible_from(impostors, rate(rough[0]))
    if suspicious is not None:
        impostors = impostors.without_above(suspicious)
    end = shown_until(impostors)
    facts = {"subjects": len(names), "pairs": pairs, "left_out": pairs - impostors.pairs}
    learned = replace(
        model,
        levels=_overlaid(model, impostors, float(_shares(impostors, even)[end]), seed),
        shown=float(GRID[end]),
        source="collection",
        provenance=facts,
    )
    return Recalibration(learned, len(names), pairs, pairs - impostors.pairs)


# -------------------------------------------------------------------------------------- laying one over another


def _overlaid(model: Calibration, impostors: Impostors, rarest: float, seed: int) -> Numbers:
    """(3, K, T): the model's levels moved, the interval widened by what resampling the people moves them."""
    shares = tuple(share for share in _UPPER if share >= rarest)
    fits = [
        _overlay(model, _shares(impostors, weights), shares)
        for weights in bootstrap_weights(impostors.people, 100, seed)
    ]
    estimate, below, above = (_moved(levels, *fits[0]) for levels in model.levels)
    low, high = _interval(estimate, np.stack([_moved(model.levels[0], *fit) for fit in fits[1:]]))
    return _ordered(
        estimate,
        estimate - np.hypot(estimate - low, estimate - below),
        estimate + np.hypot(high - estimate, above - estimate),
    )


def _overlay(model: Calibration, shares: Numbers, at: Sequence[float]) -> tuple[float, float]:
    """(stretch, move) such that similarity = stretch * the model's + move, by least squares over the shares `at`.

    shares: (T,), of the collection's pairs at each similarity or above. Raises: NotCalibratable.
    """
    wanted = -level(np.array(at))
    theirs = np.interp(wanted, -model.levels[0, 0], GRID)
    ours = np.interp(wanted, -level(shares), GRID)
    stretch, move = np.polyfit(theirs, ours, 1)
    if not _CREDIBLE_STRETCH[0] <= stretch <= _CREDIBLE_STRETCH[1]:
        raise NotCalibratable("the enrolled score as no model's do: are they all the same?")
    return float(stretch), float(move)


def _moved(levels: Numbers, stretch: float, move: float) -> Numbers:
    """Levels by a similarity of the model -> by one of the collection. (K, T) -> (K, T)."""
    where = (GRID - move) / stretch
    moved = np.stack([np.interp(where, GRID, row) for row in levels])
    beyond = where > GRID[-1]
    steepness = np.maximum(levels[:, -11] - levels[:, -1], 0.0) / (GRID[-1] - GRID[-11])
    moved[:, beyond] -= steepness[:, None] * (where[beyond] - GRID[-1])
    return np.asarray(np.maximum(moved, LOWEST), np.float64)


def _shares(impostors: Impostors, weights: Numbers) -> Numbers:
    """(T,): share of pairs at each similarity or above. weights: (people,), adding up to 1."""
    by_probe = weights[impostors.person]
    return np.asarray(by_probe @ impostors.at_least / (by_probe @ impostors.others), np.float64)


def _own_rows(
    vectors: Floats, owners: Sequence[str], names: Sequence[str], fusion: Fusion, seed: int
) -> Iterator[tuple[int, Floats]]:
    """A sample of each subject against the other subjects; some of both, drawn by chance, where there are many."""
    rng = np.random.default_rng(seed)
    row_of = {name: row for row, name in enumerate(names)}
    sample = np.empty(len(names), np.int64)
    order = rng.permutation(len(owners))
    sample[[row_of[owners[i]] for i in order]] = order
    chosen = rng.permutation(len(names))
    rows, starts = scored_by(vectors, owners, [names[subject] for subject in chosen[:MAX_TEMPLATES]], fusion)
    for person, subject in enumerate(chosen[:MAX_PROBES]):
        yield person, np.delete(similarities(vectors[sample[subject]], rows, starts), person)


# ---------------------------------------------------------------------------------------------- tables


def _interval(estimate: Numbers, resampled: Numbers) -> tuple[Numbers, Numbers]:
    """95 % interval. (K, T), (B, K, T) -> (K, T) twice.

    Each person stands on both sides of their pairs, as probe and as template, and resampling probes moves one side:
    the mean over pairs is a U-statistic of order two, whose standard error is twice that of its rows (Hoeffding 1948).
    """
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return estimate - 2 * np.maximum(estimate - low, 0.0), estimate + 2 * np.maximum(high - estimate, 0.0)


def _ordered(estimate: Numbers, low: Numbers, high: Numbers) -> Numbers:
    """(K, T) each -> (3, K, T) with the interval around the estimate, falling along T and growing along K."""
    table = np.stack([estimate, np.minimum(low, estimate), np.maximum(high, estimate)])
    table = np.minimum.accumulate(np.clip(table, LOWEST, HIGHEST), axis=2)
    return np.asarray(np.round(np.maximum.accumulate(table, axis=1), 3), np.float64)


def _log_spaced(largest: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, … and `largest`."""
    sizes = {m * 10**e for e in range(7) for m in (1, 2, 5)} | {largest}
    return tuple(sorted(size for size in sizes if size <= largest))


def _tail_of_pairs(impostors: Impostors) -> tuple[int, int]:
    """Where the tail of pairs is straight and not yet spoiled by one person under two names: FMR 1e-3 to 1e-5."""
    fmr = impostors.at_least.sum(axis=0) / impostors.pairs
    end = int(np.flatnonzero(fmr >= max(1e-5, 100 / impostors.pairs))[-1])
    start = int(np.flatnonzero(fmr >= min(0.1, 100 * fmr[end]))[-1])
    return min(start, end - 3), end


def _tail_start(impostors: Impostors, end: int) -> int:
    """Where ten times the people of `end` raised an alarm, or half of all."""
    alarmed = impostors.alarmed()
    return min(int(np.flatnonzero(alarmed >= min(10 * alarmed[end], impostors.people / 2))[-1]), end - 3)
