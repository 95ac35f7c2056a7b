"""Whether one of two ways is worse than the other, from the cases in which they differ: an exact sign test.

Source: McNemar's test in its exact form (Q. McNemar, Psychometrika 12, 1947).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WORSE = 0.01
"""How unlikely so many losses must be, were both ways equally good, for the new one to count as worse."""


@dataclass(frozen=True, slots=True)
class Paired:
    """compared: cases in all; lost: right before and wrong now; gained: wrong before and right now."""

    compared: int
    lost: int
    gained: int

    @property
    def chance(self) -> float:
        """The chance of at least so many losses among the cases that differ, if both ways were equally good."""
        differing = self.lost + self.gained
        ways = sum(math.comb(differing, n) for n in range(self.lost, differing + 1))
        return float(ways / 2**differing)

    @property
    def verdict(self) -> str:
        """ "worse", "better", or "same": not told apart."""
        if self.chance < WORSE:
            return "worse"
        return "better" if Paired(self.compared, self.gained, self.lost).chance < WORSE else "same"
