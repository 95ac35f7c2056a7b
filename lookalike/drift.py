"""Whether what probes are like has moved away from a baseline: PSI, Kolmogorov-Smirnov and chi-square on binned counts.

The baseline is weighed to the hours that are judged: a quarter of a day counts as much as it does now. All tests of one
judgement are one family (Holm); a move counts when it is both beyond chance and large.

- PSI = sum (p - q) ln(p / q). Without drift it is distributed as (1/n + 1/m) chi-square of bins - 1 degrees of freedom
  (B. Yurdakul, Statistical Properties of Population Stability Index, Western Michigan University, 2018).
- KS: the limit of D sqrt(nm / (n + m)) (N. Smirnov, Ann. Math. Statist. 19, 1948); on bins it is too careful.
- Days differ more than by chance: the same people come again and again, the sun shines. A share that would vary as
  1/n varies as 1/n + spread. The spread is learned from the days of the baseline: from the dispersion of their counts
  (McCullagh & Nelder, Generalized Linear Models, 1989, 4.5), of which the upper end of an interval is taken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lookalike.calibration import Calibration
from lookalike.errors import TamperedData
from lookalike.probe_counts import STATISTICS, Counts, Tally, total

Numbers = NDArray[np.float64]

BASELINE_FROM = 1_000
"""Faces that an automatic baseline waits for."""

BASELINE_DAYS = 3
"""Days that it waits for, so that it is known how days differ."""

LEAST = 100
"""Values from which a statistic is judged."""

CHANCE = 0.001
"""How unlikely all that moved must be together. Ten times stricter than one false alarm in 100 days, since a service
judges the same day again and again while it fills (benchmarks/drift.py)."""

LARGE_PSI = 0.2
"""From here on a shift is called significant in the practice of credit scoring, where PSI comes from."""

LARGE_SHARE = 0.2
"""Cohen's h of two shares: his "small effect", such as 1 % and 4 %, or 30 % and 40 % (J. Cohen, Statistical Power
Analysis for the Behavioral Sciences, 1988, 6.2)."""

_IN_A_BIN = 10.0
"""Neighbouring bins are joined until so many values, of both sides together, are in each."""

_IN_A_QUARTER = 30
"""Values that a quarter of the baseline's days needs to be compared with."""

_IN_A_DAY = 50
"""Values that a day of the baseline needs to tell how days differ."""

UNKNOWN_SPREAD = 0.01
"""Where it is not known, as of a baseline of one day: a day tells no more than 100 different people would.
Days of 80 people have about that (benchmarks/drift.py)."""

_CAREFUL = 2.326
"""Normal deviate of the interval's end that is taken for a spread: once in a hundred it is larger."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What probes were like. first, last: its days; days: how many of them had probes; chosen: by an operator; spread:
    how much a day's shares vary beyond chance, by statistic, as one over a number of values."""

    counts: Counts
    first: str
    last: str
    days: int = 1
    chosen: bool = False
    spread: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, days: Mapping[str, Counts], *, chosen: bool = False) -> Baseline:
        """From one or more days."""
        spread = {name: _spread([counts.of(name).sum(axis=0) for counts in days.values()]) for name in STATISTICS}
        return cls(total(days.values()), min(days), max(days), len(days), chosen, spread)

    def to_json(self) -> str:
        held = {
            "counts": json.loads(self.counts.to_json()),
            "first": self.first,
            "last": self.last,
            "days": self.days,
            "chosen": self.chosen,
            "spread": {name: round(value, 7) for name, value in self.spread.items()},
        }
        return json.dumps(held, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Baseline:
        """Raises: TamperedData."""
        try:
            held = json.loads(text)
            counts = Counts.from_json(json.dumps(held["counts"]))
            return cls(counts, held["first"], held["last"], held["days"], held["chosen"], held["spread"])
        except (ValueError, KeyError, TypeError) as error:
            raise TamperedData("a baseline of probes is damaged") from error


@dataclass(frozen=True, slots=True)
class Finding:
    """One statistic, then and now. before, now: its median, or its share; None where there is no value.

    psi: how far it moved; p: the chance of such a move without drift, corrected for all that was tested; verdict:
    "same", "moved" or "too_few"; before_count, now_count: values; before_bins, now_bins: shares of its bins.
    """

    statistic: str
    before: float | None
    now: float | None
    before_count: int
    now_count: int
    psi: float | None
    p: float | None
    verdict: str
    before_bins: tuple[float, ...]
    now_bins: tuple[float, ...]

    @property
    def moved(self) -> bool:
        return self.verdict == "moved"

    @property
    def rose(self) -> bool:
        """Whether the middle of it moved up. Of bins, so that it tells even where both medians lie in one."""
        return float(np.cumsum(self.now_bins).sum()) < float(np.cumsum(self.before_bins).sum())


def judge(baseline: Baseline, now: Counts, days: int = 1) -> list[Finding]:
    """Every statistic that is tested, then and now. days: how many the probes of `now` come from."""
    sides = {}
    for name in (name for name, statistic in STATISTICS.items() if statistic.tested):
        spread = baseline.spread.get(name, UNKNOWN_SPREAD)
        sides[name] = _facing(baseline.counts.of(name), now.of(name), spread / baseline.days, spread / days)
    chances: dict[tuple[str, str], float] = {}
    for name, side in sides.items():
        if side.enough and STATISTICS[name].share:
            chances[name, "chi2"] = side.chi2_chance()
        elif side.enough:
            chances[name, "psi"], chances[name, "ks"] = side.psi_chance(), side.ks_chance()
    corrected = dict(zip(chances, holm(list(chances.values())), strict=True))
    return [_finding(name, side, [p for (of, _), p in corrected.items() if of == name]) for name, side in sides.items()]


def against_calibration(now: Counts, calibration: Calibration, gallery_size: int, below: float) -> float | None:
    """PSI of nearest similarities against what the calibration expects of strangers; None of too few.

    Only bins below the similarity `below` are compared, where hardly anybody who is enrolled is found.
    """
    edges = STATISTICS["nearest"].edges
    kept = sum(edge <= below for edge in edges)
    seen = now.of("nearest").sum(axis=0)[:kept].astype(np.float64)
    if kept < 2 or seen.sum() < LEAST:
        return None
    above = np.array([1.0, *(calibration.fpir(edge, gallery_size) for edge in edges[:kept])])
    expected = above[:-1] - above[1:]
    return psi(expected / expected.sum() * 1e6, seen)


# --------------------------------------------------------------------------------------------- two sides


@dataclass(frozen=True, slots=True)
class _Facing:
    """A statistic's two sides. before: (B,) shares weighed to the hours of `now`, as good as `before_count` values;
    now: (B,) values of hours that the baseline has; before_varies, now_varies: variance beyond chance, of a share."""

    before: Numbers
    before_count: float
    now: Numbers
    before_varies: float
    now_varies: float

    @property
    def now_count(self) -> float:
        return float(self.now.sum())

    @property
    def enough(self) -> bool:
        return self.now_count >= LEAST and self.before_count >= LEAST

    @property
    def psi(self) -> float:
        return psi(*self._joined()) if len(self.now) > 2 else psi(self.before * self.before_count, self.now)

    def psi_chance(self) -> float:
        before, now = self._joined()
        before_size, now_size = self._sizes()
        return chi2_chance(psi(before, now) / (1 / before_size + 1 / now_size), len(now) - 1)

    def chi2_chance(self) -> float:
        """Of two shares, by their angles, whose variance does not depend on how rare they are (J. Cohen, as above)."""
        before_size, now_size = self._sizes()
        return chi2_chance(self.cohens_h() ** 2 / (1 / before_size + 1 / now_size), 1)

    def ks_chance(self) -> float:
        distance = float(np.abs(np.cumsum(self.before - self.now / self.now_count)).max())
        before_size, now_size = self._sizes()
        return ks_chance(distance * math.sqrt(before_size * now_size / (before_size + now_size)))

    def cohens_h(self) -> float:
        """The distance of two shares, of the upper one of two bins."""
        return abs(_angle(self.now[1] / self.now_count) - _angle(self.before[1]))

    def _sizes(self) -> tuple[float, float]:
        """How many independent values each side is as good as."""
        return 1 / (1 / self.before_count + self.before_varies), 1 / (1 / self.now_count + self.now_varies)

    def _joined(self) -> tuple[Numbers, Numbers]:
        both = join_bins(np.stack([self.before * self.before_count, self.now]), _IN_A_BIN)
        return both[0], both[1]


def _facing(before: Tally, now: Tally, before_varies: float, now_varies: float) -> _Facing:
    """before, now: (QUARTERS, B). Standardised directly to the hours of `now`."""
    known = before.sum(axis=1) >= _IN_A_QUARTER
    seen = now[known].astype(np.float64)
    sizes = before[known].sum(axis=1)
    if not seen.sum():
        return _Facing(np.zeros(before.shape[1]), 0.0, np.zeros(before.shape[1]), before_varies, now_varies)
    weights = seen.sum(axis=1) / seen.sum()
    shares = (weights[:, None] * before[known] / sizes[:, None]).sum(axis=0)
    return _Facing(shares, float(1 / (weights**2 / sizes).sum()), seen.sum(axis=0), before_varies, now_varies)


def _finding(name: str, side: _Facing, chances: Sequence[float]) -> Finding:
    share = STATISTICS[name].share
    seen = side.now / max(side.now_count, 1.0)
    verdict, shift, p = "too_few", None, None
    if side.enough:
        shift, p = side.psi, min(chances)
        large = side.cohens_h() > LARGE_SHARE if share else shift > LARGE_PSI
        verdict = "moved" if large and p < CHANCE else "same"
    return Finding(
        statistic=name,
        before=_typical(name, side.before),
        now=_typical(name, seen),
        before_count=round(side.before_count),
        now_count=round(side.now_count),
        psi=shift,
        p=p,
        verdict=verdict,
        before_bins=tuple(side.before.tolist()),
        now_bins=tuple(seen.tolist()),
    )


def _typical(name: str, shares: Numbers) -> float | None:
    """The share, or the median with values spread evenly within a bin; an open bin counts as its edge."""
    if not shares.sum():
        return None
    if STATISTICS[name].share:
        return float(shares[1])
    edges = STATISTICS[name].edges
    below = np.concatenate([[0.0], np.cumsum(shares)])
    place = int(np.searchsorted(below[1:], 0.5 * below[-1]))
    low, high = edges[max(place - 1, 0)], edges[min(place, len(edges) - 1)]
    return float(low + (high - low) * (0.5 * below[-1] - below[place]) / shares[place])


def _spread(days: Sequence[Tally]) -> float:
    """How much the shares of these days, (B,) each, vary beyond chance."""
    large = [day for day in days if day.sum() >= _IN_A_DAY]
    if len(large) < 2:
        return UNKNOWN_SPREAD
    table = join_bins(np.stack(large).astype(np.float64), _IN_A_BIN * len(large))
    freedom = (len(table) - 1) * (table.shape[1] - 1)
    if not freedom:  # what happens too rarely
        return UNKNOWN_SPREAD
    sizes = table.sum(axis=1)
    # What a day's size is to the variance where days are not equally large, as in an analysis of variance.
    size = float((sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(sizes) - 1))
    # Chi-square's lower end by E. Wilson and M. Hilferty, PNAS 17, 1931.
    least = freedom * max(1 - 2 / (9 * freedom) - _CAREFUL * math.sqrt(2 / (9 * freedom)), 0.05) ** 3
    return float(max(0.0, (pearson(table) / least - 1) / size))


# ------------------------------------------------------------------------------------------------- tests


def psi(before: Numbers, now: Numbers) -> float:
    """Population stability index of two rows of counts; half a value is added to each bin, so that none is empty."""
    p, q = (now + 0.5) / (now + 0.5).sum(), (before + 0.5) / (before + 0.5).sum()
    return float(((p - q) * np.log(p / q)).sum())


def pearson(table: Numbers) -> float:
    """Pearson's chi-square of a table of counts, 0 for columns that are empty."""
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / max(table.sum(), 1.0)
    there = expected > 0
    return float((np.square(table - expected)[there] / expected[there]).sum())


def chi2_chance(value: float, freedom: int) -> float:
    """The chance that chi-square exceeds this value: Abramowitz & Stegun 26.4.4 and 26.4.5, finite sums."""
    if value <= 0 or freedom < 1:
        return 1.0
    half = value / 2
    odd = freedom % 2
    found = math.erfc(math.sqrt(half)) if odd else 0.0
    for i in range(freedom // 2):
        power = i + 0.5 * odd
        found += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
    return min(found, 1.0)


def ks_chance(value: float) -> float:
    """The chance that the limit of Kolmogorov and Smirnov exceeds this value: 2 sum (-1)^(k - 1) exp(-2 k² x²)."""
    if value < 0.2:
        return 1.0  # 1 - 5e-13: the series would need hundreds of terms there
    found = sum((1 if k % 2 else -1) * math.exp(-2 * (k * value) ** 2) for k in range(1, 101))
    return min(max(2 * found, 0.0), 1.0)


def holm(chances: Sequence[float]) -> list[float]:
    """The chances corrected for being so many (S. Holm, Scand. J. Statist. 6, 1979)."""
    corrected, least = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        least = max(least, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = least
    return corrected


def join_bins(table: Numbers, at_least: float) -> Numbers:
    """Neighbouring columns added until each holds `at_least` in all; the last takes the rest. (R, B) -> (R, fewer)."""
    joined: list[Numbers] = []
    held = np.zeros(len(table))
    for column in table.T:
        held = held + column
        if held.sum() >= at_least:
            joined.append(held)
            held = np.zeros(len(table))
    if joined:
        joined[-1] = joined[-1] + held
    else:
        joined = [held]
    return np.stack(joined, axis=1)


def _angle(share: float) -> float:
    return float(2 * math.asin(math.sqrt(min(max(share, 0.0), 1.0))))
