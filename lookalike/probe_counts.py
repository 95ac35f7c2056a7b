"""What is counted of probes: how many fell into which fixed bin of each statistic; no picture, vector, name or id.

Counts of a day stand in four rows, one for each quarter of the day (UTC), so that a morning can be compared with
mornings. Counts add up, in any order and from any number of processes.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import TamperedData

Tally = NDArray[np.int64]

FORMAT = "lookalike-probes/1"
QUARTERS = 4
_QUARTER_S = 86_400 // QUARTERS


@dataclass(frozen=True, slots=True)
class Statistic:
    """Bin i holds the values from edges[i - 1] up to, but not, edges[i]; the first and the last are open.

    meaning: for people to read. share: the mean of a yes or no, which has two bins. tested: whether a move of it is
    drift; what is not tested explains others.
    """

    meaning: str
    edges: tuple[float, ...]
    share: bool = False
    tested: bool = True

    @property
    def bins(self) -> int:
        return len(self.edges) + 1


def _steps(first: float, last: float, step: float) -> tuple[float, ...]:
    return tuple(round(first + i * step, 6) for i in range(round((last - first) / step) + 1))


def _share(meaning: str) -> Statistic:
    return Statistic(meaning, (0.5,), share=True)


STATISTICS: Mapping[str, Statistic] = {
    "quality": Statistic("quality score of a face", (*_steps(0.1, 0.9, 0.1), 0.999)),
    "sharpness": Statistic("sharpness", (5, 10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960)),
    "brightness": Statistic("brightness, 0 to 255", _steps(32, 224, 16)),
    "highlight": Statistic("brightest twentieth, 0 to 255", (*_steps(40, 240, 20), 254)),
    "eye_distance_px": Statistic("size: pixels between the eyes", (8, 11, 16, 22, 32, 45, 64, 90, 128, 181, 256, 362)),
    "turn": Statistic("how far the head is turned", (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5)),
    "outside": Statistic("share of the face beyond the picture", (0.001, 0.05, 0.1, 0.2, 0.4)),
    "nearest": Statistic("similarity to the nearest subject", _steps(-0.1, 0.95, 0.05)),
    "second": Statistic("similarity to the second nearest", _steps(-0.1, 0.95, 0.05)),
    "margin": Statistic(
        "nearest above second nearest", (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8)
    ),
    "faces": Statistic("faces in a picture", (0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 7.5, 10.5, 20.5)),
    "no_candidate": _share("faces without a candidate"),
    "face_not_found": _share("pictures without a face"),
    "refused": _share("pictures that cannot be read"),
    "gallery": Statistic("subjects searched", tuple(float(2**i) for i in range(1, 25)), tested=False),
}

MEASURES = ("sharpness", "brightness", "highlight", "eye_distance_px", "turn", "outside")
"""Statistics that go by the name of a measure of a face's quality (embedder/quality.py)."""

_starts = np.cumsum([0, *(statistic.bins for statistic in STATISTICS.values())]).tolist()
_PLACES = {name: slice(_starts[i], _starts[i + 1]) for i, name in enumerate(STATISTICS)}
_WIDTH: int = _starts[-1]


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """tally: (QUARTERS, all bins of all statistics)."""

    tally: Tally

    @classmethod
    def none(cls) -> Counts:
        return cls(np.zeros((QUARTERS, _WIDTH), np.int64))

    def of(self, name: str) -> Tally:
        """(QUARTERS, bins) of a statistic."""
        return self.tally[:, _PLACES[name]]

    def add(self, name: str, value: float, quarter: int) -> None:
        """Count a value. For the one who keeps these counts to itself; others add up with `+`."""
        self.tally[quarter, _PLACES[name].start + bisect_right(STATISTICS[name].edges, value)] += 1

    @property
    def pictures(self) -> int:
        """Pictures that were searched or refused."""
        return int(self.of("refused").sum())

    @property
    def faces(self) -> int:
        return int(self.of("quality").sum())

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tally + other.tally)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and bool(np.array_equal(self.tally, other.tally))

    # ------------------------------------------------------------------------------------------- as JSON

    def to_json(self) -> str:
        quarters = [
            {name: row[place].tolist() for name, place in _PLACES.items() if row[place].any()} for row in self.tally
        ]
        return json.dumps({"format": FORMAT, "quarters": quarters}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Counts:
        """Raises: TamperedData unless `to_json` could have written it."""
        found = cls.none()
        try:
            document = json.loads(text)
            if document["format"] != FORMAT or len(document["quarters"]) != QUARTERS:
                raise TamperedData("counts of probes have another format than this program reads")
            for row, quarter in zip(found.tally, document["quarters"], strict=True):
                for name, numbers in quarter.items():
                    if len(numbers) != STATISTICS[name].bins:
                        raise TamperedData("counts of probes have other bins than this program's")
                    row[_PLACES[name]] = np.array(numbers, np.int64)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise TamperedData("counts of probes are damaged") from error
        if (found.tally < 0).any():
            raise TamperedData("counts of probes are damaged")
        return found


def total(counts: Iterable[Counts]) -> Counts:
    """All of them together."""
    return sum(counts, Counts.none())


def quarter_of(at: float) -> int:
    """The quarter of the UTC day. at: seconds since the epoch."""
    return int(at % 86_400 // _QUARTER_S)
