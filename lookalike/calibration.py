"""Which similarity keeps false alarms as rare as was asked, and how rare they are at a given similarity.

A calibration is a table of levels (see lookalike/impostors.py) over gallery sizes and similarities, with 95 %
intervals from resampling people. Rates fall with the similarity and grow with the gallery, strictly by construction
of the table. Outside the table:

- Galleries larger than any that was counted, N > M: 1 - (1 - FPIR(M, t))^(N/M), blocks of M subjects taken as
  independent. FPIR is a mean over probes of functions that are concave in the block, so by Jensen's inequality this
  is an upper bound: strangers matched are over-estimated, never under-estimated.
- Similarities that too few people reached: an exponential tail (`with_tail`).

Both are marked `source: "extrapolated"`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lookalike.domain import Threshold
from lookalike.errors import BadModel, InvalidInput
from lookalike.impostors import GRID, Numbers, level, rate

FORMAT = "lookalike-calibration/1"


def uncalibrated(gallery_size: int) -> Threshold:
    """What decides where nothing is known of the scores: everybody passes, and no rate is promised."""
    return Threshold(-1.0, "uncalibrated", None, gallery_size)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Levels for galleries of `sizes` subjects (ascending from 1) at each point of `GRID`.

    levels: (3, K, T): estimate, lower and upper end of the interval; source: "model" or "collection"; shown: the
    highest similarity that enough people reached; provenance: where it comes from, for people to read.
    """

    sizes: tuple[int, ...]
    levels: Numbers
    shown: float
    source: str = "model"
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)

    def threshold(self, target_fpir: float, gallery_size: int) -> Threshold:
        """The lowest similarity at which at most `target_fpir` of strangers' probes match anyone.

        Raises: InvalidInput unless 0 < target_fpir < 1 and gallery_size >= 0.
        """
        if not 0 < target_fpir < 1:
            raise InvalidInput("a false-alarm rate lies between 0 and 1")
        size = _checked(gallery_size)
        column = self._column(0, max(size, 1))
        below = int(np.count_nonzero(column > float(level(target_fpir))))
        if below == 0:
            similarity = -1.0
        elif below == len(GRID):
            similarity = 1.0
        else:
            upper, lower = column[below - 1], column[below]
            share = (upper - float(level(target_fpir))) / (upper - lower)
            similarity = float(GRID[below - 1] + share * (GRID[below] - GRID[below - 1]))
        return Threshold(similarity, self._source(similarity, size), target_fpir, size, self.interval(similarity, size))

    def threshold_for_fmr(self, fmr: float) -> Threshold:
        """The lowest similarity that at most this share of non-matching pairs reaches. Raises: InvalidInput."""
        return self.threshold(fmr, 1)

    def fpir(self, similarity: float, gallery_size: int) -> float:
        """The chance that a stranger's probe scores so high with any of `gallery_size` subjects; 0 in an empty gallery.

        Raises: InvalidInput for a similarity that is not a number or a negative size.
        """
        return self._rate(0, similarity, _checked(gallery_size))

    def fmr(self, similarity: float) -> float:
        """The chance that two people's pictures score so high. Raises: InvalidInput."""
        return self.fpir(similarity, 1)

    def interval(self, similarity: float, gallery_size: int) -> tuple[float, float]:
        """95 % interval of `fpir`, for another draw of people like those it was learned from. Raises: InvalidInput."""
        size = _checked(gallery_size)
        lower = self._rate(1, similarity, min(size, self.sizes[-1]))  # more subjects can't lower it
        return lower, self._rate(2, similarity, size)

    def _source(self, similarity: float, size: int) -> str:
        return self.source if similarity <= self.shown and size <= self.sizes[-1] else "extrapolated"

    def _rate(self, which: int, similarity: float, size: int) -> float:
        if math.isnan(similarity):
            raise InvalidInput("a similarity is a number from -1 to 1")
        if size == 0:
            return 0.0
        return float(rate(np.interp(similarity, GRID, self._column(which, size))))

    def _column(self, which: int, size: int) -> Numbers:
        """(T,) levels of a gallery: linear in the logarithm of its size, and blocks of `largest` beyond that."""
        if size >= self.sizes[-1]:
            return np.asarray(self.levels[which, -1] + math.log(size / self.sizes[-1]), np.float64)
        above = int(np.searchsorted(self.sizes, size, side="right"))
        start, end = self.sizes[above - 1], self.sizes[above]
        share = math.log(size / start) / math.log(end / start)
        table = self.levels[which]
        return np.asarray((1 - share) * table[above - 1] + share * table[above], np.float64)

    # ------------------------------------------------------------------------------------------- as JSON

    def to_json(self) -> str:
        """One line of JSON, without NaN or infinities."""
        document = {
            "format": FORMAT,
            "source": self.source,
            "sizes": self.sizes,
            "shown": self.shown,
            "provenance": dict(self.provenance),
            "grid": [float(GRID[0]), float(GRID[-1]), len(GRID)],
            "levels_e3": np.round(self.levels * 1000).astype(int).tolist(),
        }
        return json.dumps(document, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Raises: BadModel unless `to_json` could have written it."""
        try:
            document = json.loads(text, parse_constant=_refuse)
            if document["format"] != FORMAT or document["grid"] != [-1.0, 1.0, len(GRID)]:
                raise BadModel("the calibration has another format than this program reads")
            found = cls(
                tuple(int(size) for size in document["sizes"]),
                np.array(document["levels_e3"], np.float64) / 1000,
                float(document["shown"]),
                str(document["source"]),
                dict(document["provenance"]),
            )
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise BadModel("the calibration is damaged") from error
        _require_sound(found)
        return found


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _checked(gallery_size: int) -> int:
    if gallery_size < 0:
        raise InvalidInput("a gallery has no fewer than 0 subjects")
    return gallery_size


def _require_sound(found: Calibration) -> None:
    sizes = found.sizes
    sound = (
        len(sizes) > 0
        and sizes[0] == 1
        and all(a < b for a, b in itertools.pairwise(sizes))
        and found.levels.shape == (3, len(sizes), len(GRID))
        and bool(np.isfinite(found.levels).all())
        and bool((np.diff(found.levels, axis=2) <= 0).all())
        and bool((np.diff(found.levels, axis=1) >= 0).all())
        and bool((found.levels[1] <= found.levels[0]).all() and (found.levels[0] <= found.levels[2]).all())
        and -1 <= found.shown <= 1
        and found.source in ("model", "collection")
    )
    if not sound:
        raise BadModel("the calibration is damaged: its rates are out of order")
