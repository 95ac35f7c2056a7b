"""How often strangers are matched, counted from scores of pairs that do not match.

`FPIR(N, t)` is the chance that a stranger's probe reaches similarity t with at least one of N subjects. With m of a
probe's M non-matching scores at t or above, a gallery of N drawn from those M raises no alarm with the chance
C(M - m, N) / C(M, N). The mean over probes is exact for every N <= M and assumes no independence: 1 - (1 - FMR)^N
would, and is wrong for faces, because some people resemble many ("wolves") and others nobody.

Rates are kept as levels, log(-log(1 - rate)): straight lines in log N when blocks of subjects are independent, finite
for tiny rates. Arrays named `levels` end in (K gallery sizes, T points of `GRID`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lookalike.domain import Floats

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]

GRID: Numbers = np.round(np.linspace(-1.0, 1.0, 201), 2)
"""Similarities at which rates are kept."""

LOWEST, HIGHEST = -41.0, 3.5
"""Levels of the rates 1.6e-18 and 1: what lies beyond is cut off."""

ENOUGH_PEOPLE = 20
"""A rate counts as shown by data while at least so many people raised an alarm."""

_GENTLEST_TAIL = 10.0
"""Levels per unit of similarity: no tail is believed to fall more slowly (measured on faces: 30 to 45)."""


def level(rate: Numbers | float) -> Numbers:
    """log(-log(1 - rate)), cut to LOWEST..HIGHEST. Rates in 0..1."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(-np.log1p(-np.clip(rate, 0.0, 1.0))), LOWEST, HIGHEST), np.float64)


def rate(level: Numbers | float) -> Numbers:
    """The inverse of `level`."""
    return np.asarray(-np.expm1(-np.exp(np.asarray(level, np.float64))), np.float64)


@dataclass(frozen=True, slots=True)
class Impostors:
    """Counts of non-matching scores. Probes P, points of the grid T.

    at_least: (P, T), scores of the probe at GRID[j] or above; others: (P,), all its scores; person: (P,), whose probe
    it is, 0 to people - 1.
    """

    at_least: Counts
    others: Counts
    person: Counts

    @property
    def people(self) -> int:
        return int(self.person.max()) + 1 if len(self.person) else 0

    @property
    def pairs(self) -> int:
        return int(self.others.sum())

    def alarmed(self) -> Counts:
        """(T,): people with a score at each similarity or above."""
        hit = np.zeros((self.people, len(GRID)), bool)
        np.logical_or.at(hit, self.person, self.at_least > 0)
        return np.asarray(hit.sum(axis=0), np.int64)

    def without_above(self, point: int) -> Impostors:
        """As if pairs at GRID[point] or above had not been compared."""
        dropped = self.at_least[:, point]
        return replace(self, at_least=np.maximum(self.at_least - dropped[:, None], 0), others=self.others - dropped)


def count(rows: Iterable[tuple[int, Floats]]) -> Impostors:
    """Rows of (person's number from 0, scores of one of their probes against other people, (M,))."""
    at_least, others, person = [], [], []
    for who, scores in rows:
        bins = np.bincount(np.searchsorted(GRID, scores, side="right"), minlength=len(GRID) + 1)
        at_least.append(np.cumsum(bins[::-1])[::-1][1:])
        others.append(len(scores))
        person.append(who)
    shape = (len(person), len(GRID))
    return Impostors(np.array(at_least, np.int64).reshape(shape), np.array(others), np.array(person))


def bootstrap_weights(people: int, times: int, seed: int) -> Numbers:
    """(1 + times, people): ones, then how often each resample drew each person; rows sum to 1."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(people, np.full(people, 1 / people), size=times)
    return np.concatenate([np.ones((1, people)), drawn]) / people


def levels_by_size(impostors: Impostors, sizes: Sequence[int], weights: Numbers) -> Numbers:
    """The exact levels for galleries of these sizes. weights: (B, people) -> (B, K, T).

    Every probe must have at least max(sizes) scores; each person's probes count as one.
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, impostors.others.max() + 1)))])
    each = np.bincount(impostors.person, minlength=impostors.people)
    table = np.empty((len(weights), len(sizes), len(GRID)))
    probe_weights = (weights / each)[:, impostors.person]
    for row, size in enumerate(sizes):
        others = impostors.others[:, None]
        left = others - impostors.at_least
        log_quiet = (
            log_factorial[left] - log_factorial[np.maximum(left - size, 0)]
            - log_factorial[others] + log_factorial[others - size]
        )  # fmt: skip
        table[:, row] = level(np.clip(probe_weights @ np.where(left >= size, -np.expm1(log_quiet), 1.0), 0.0, 1.0))
    return table


def shown_until(impostors: Impostors) -> int:
    """The last point of the grid at which enough people raised an alarm."""
    return int(np.flatnonzero(impostors.alarmed() >= min(ENOUGH_PEOPLE, impostors.people))[-1])


def with_tail(levels: Numbers, start: int, end: int) -> Numbers:
    """The levels with a straight line beyond GRID[end], as steep as the chord from GRID[start]. (..., T) -> (..., T).

    A straight line is an exponential tail. Scores of faces fall off faster than that, as a normal distribution's do,
    so rates beyond the data are over-estimated rather than under-estimated.
    """
    width = GRID[end] - GRID[start]
    steepness = np.maximum((levels[..., start] - levels[..., end]) / width, _GENTLEST_TAIL)[..., None]
    tail = levels[..., end, None] - steepness * (GRID[end + 1 :] - GRID[end])
    return np.concatenate([levels[..., : end + 1], np.maximum(tail, LOWEST)], axis=-1)


def implausible_from(impostors: Impostors, expected: Numbers) -> int | None:
    """The point from which most pairs can't be of different people, None where there is none.

    expected: (T,), FMR by a model of the tail. From there on over twice the expected pairs are seen at each similarity,
    and at the first chance would do that less than once in a thousand times (Chernoff's bound for a Poisson count; a
    pair is counted from both sides). The same person enrolled under two names, or a twin, is then likelier.
    """
    seen = impostors.at_least.sum(axis=0) / 2
    due = np.maximum(expected * impostors.pairs / 2, 1e-12)
    surprise = np.where(seen > 0, seen * np.log(np.maximum(seen, 1e-12) / due), 0.0) - seen + due
    too_many = (seen > 2 * due) | (seen == 0)
    from_here_on = np.logical_and.accumulate(too_many[::-1])[::-1]
    found = np.flatnonzero(from_here_on & (surprise > np.log(1000.0)) & (seen > 0))
    return int(found[0]) if len(found) else None
