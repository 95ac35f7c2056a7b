"""Better, worse or the same: a trained network against the best of what costs no training, on classes it never saw.

Both make vectors of the same held-out pictures, and the rule is that of `lookalike evaluate` for two models
(embedder/evaluate/comparison.py): classes are drawn again, and the interval of the difference decides. The rival is the
baseline with the highest value, the least kind choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedder.evaluate.comparison import MARGIN, Difference, caution, difference, in_words
from embedder.evaluate.intervals import draw_weights
from embedder.train.config import TrainConfig
from embedder.train.measures import MAIN, measures, resampled
from embedder.train.vectors import Compared, Way
from lookalike.domain import Labels


@dataclass(frozen=True, slots=True)
class Verdict:
    """names: of the measures; table: way → their values; differences: of the main one, low and high, in 0..1.

    word: "better", "worse", "same", "unclear" or "untested"; sentence: for people.
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
    judged = differences_of([compared.trained], [rival], labels, kind)
    differences = {name: (one.gain.value, one.gain.low, one.gain.high) for name, one in judged.items()}
    sentence = told(judged[main], (compared.trained.name, f"the best of what costs no training ({rival.name})"))
    sentence += f" ({len(np.unique(labels))} classes not trained on{caution(len(np.unique(labels)), 1)})"
    table = {name: tuple(values[n] for n in names) for name, values in found.items()}
    return Verdict(judged[main].verdict, sentence, main, rival.name, names, table, differences)


def differences_of(
    ours: Sequence[Way], theirs: Sequence[Way], labels: Labels, kind: str, seed: int = 1
) -> dict[str, Difference]:
    """Each measure that has resamples, ours against theirs on the same pictures. ours, theirs: one of each seed."""
    classes = len(np.unique(labels))
    weights = draw_weights(classes, seed=seed)
    a, b = ([resampled(w.probes, w.templates, labels, kind, weights) for w in side] for side in (ours, theirs))
    alike = all(
        np.array_equal(one.probes, other.probes) and np.array_equal(one.templates, other.templates)
        for one, other in zip(ours, theirs, strict=True)
    )
    found = {}
    for name in a[0]:
        figures = np.stack([run[name] for run in a]), np.stack([run[name] for run in b])
        found[name] = difference(name, name, *figures, classes, alike=alike, seed=seed)
    return found


def told(found: Difference, names: tuple[str, str]) -> str:
    """The verdict as a sentence. names: of ours and theirs."""
    sentence = in_words(found, names, MARGIN)
    return sentence[0].upper() + sentence[1:]
