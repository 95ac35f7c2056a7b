"""Better, worse or the same: a trained network against the best of what costs no training, on classes it never saw.

Both make vectors of the same held-out pictures. Classes are drawn again with replacement, a thousand times; in each
draw both are measured, and the difference is kept. Its 95 % interval decides: wholly above zero is "better", wholly
below is "worse", otherwise it cannot be told. The rival is the baseline with the highest value, the least kind choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedder.train.config import TrainConfig
from embedder.train.measures import MAIN, measures
from embedder.train.resampling import difference_interval
from embedder.train.vectors import Compared

FEW = 10
"""An interval from drawing fewer classes is too narrow: of four, one of 95 % holds the truth eight times in ten."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """names: of the measures; table: way → their values; differences: of the main one, low and high, in 0..1.

    word: "better", "worse", "the same" or "untested"; sentence: for people.
    """

    word: str
    sentence: str
    measure: str
    rival: str
    names: tuple[str, ...]
    table: dict[str, tuple[float, ...]]
    differences: dict[str, tuple[float, float, float]]

    def metrics(self) -> dict[str, dict[str, object]]:
        """As a bundle's manifest has them: the trained way's values, and how they differ from the rival's."""
        trained = next(reversed(self.table.values())) if self.table else ()
        found: dict[str, dict[str, object]] = {
            name: {"value": round(value, 6), "on": "held-out classes"}
            for name, value in zip(self.names, trained, strict=True)
        }
        for name, (value, low, high) in self.differences.items():
            found[f"{name} less {self.rival}"] = {
                "value": round(value, 6), "low": round(low, 6), "high": round(high, 6), "on": "held-out classes",
            }  # fmt: skip
        return found


def judge(compared: Compared, config: TrainConfig) -> Verdict:
    """On the held-out classes; "untested" where there are none."""
    labels, kind = compared.labels, config.data.kind
    main = MAIN[kind]
    if len(np.unique(labels)) < 2:
        return Verdict(
            "untested",
            "No class was held out of this run, so it tells nothing of classes that it never saw.",
            main,
            "",
            (),
            {},
            {},
        )
    ways = (*compared.baselines, compared.trained)
    found = {way.name: measures(way.probes, way.templates, labels, kind) for way in ways}
    names = tuple(next(iter(found.values())))
    rival = max(compared.baselines, key=lambda way: found[way.name][main])
    differences = difference_interval(compared.trained, rival, labels, kind)
    value, low, high = differences[main]
    word = "better" if low > 0 else "worse" if high < 0 else "the same"
    told = {
        "better": "better than the best of what costs no training",
        "worse": "worse than what costs no training",
        "the same": "not told apart from what costs no training",
    }[word]
    classes = len(np.unique(labels))
    few = ", which are few: take it as a hint" if classes < FEW else ""
    sentence = (
        f"{compared.trained.name.capitalize()} is {told} ({rival.name}): {main} {100 * value:+.2f} points, "
        f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}, on {classes} classes not trained on{few}."
    )
    table = {name: tuple(values[n] for n in names) for name, values in found.items()}
    return Verdict(word, sentence, main, rival.name, names, table, differences)
