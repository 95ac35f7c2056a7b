"""Default or tuned: both trained anew with seeds that no trial had, and judged on classes that no trial saw.

For each seed both make vectors of the same test pictures. The difference is averaged over the seeds, the classes are
drawn again for its interval, and how the seeds differ widens it: with fewer than three of them little can be told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from embedder.evaluate.comparison import caution
from embedder.train.config import Data, TrainConfig, changed
from embedder.train.judge import differences_of, judge, told
from embedder.train.measures import MAIN, measures
from embedder.train.pictures import PictureSet, list_pictures, load_pictures, picture_cutters, with_two_or_more
from embedder.train.recipe import Run, train
from embedder.train.vectors import Way, compare_ways, embed_sides
from lookalike.domain import Labels

SIDES = ("default", "tuned")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed. default, tuned: the measure on the test classes; verdicts: of both against what costs no training."""

    seed: int
    default: float
    tuned: float
    verdicts: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """word: "better", "worse", "same" or "unclear", of the tuned; difference, low, high: over all seeds, in 0..1."""

    word: str
    sentence: str
    measure: str
    classes: int
    outcomes: tuple[Outcome, ...]
    difference: float
    low: float
    high: float


def compare_on_test(
    sides: tuple[TrainConfig, TrainConfig],
    test: Sequence[str],
    data: Data,
    seeds: Sequence[int],
    folder: Path,
    cache_dir: Path,
    on_progress: Callable[[str, int, int], None],
) -> Comparison:
    """sides: default and tuned; test: names of classes that neither learns from; data: where their pictures lie."""
    measure = _measure(sides[0])
    outcomes: list[Outcome] = []
    pairs: list[tuple[Way, Way]] = []
    labels: Labels = np.zeros(0, np.int64)
    for number, seed in enumerate(seeds):
        ways: list[Way] = []
        words: list[str] = []
        for name, config in zip(SIDES, sides, strict=True):
            on_progress("comparison", 2 * number + len(ways), 2 * len(seeds))
            place = folder / f"{name}-{seed}"
            way, word, labels = _trained(changed(config, seed=seed), test, data, place, cache_dir, on_progress)
            ways.append(way)
            words.append(word)
        values = [measures(way.probes, way.templates, labels, data.kind)[measure] for way in ways]
        outcomes.append(Outcome(seed, values[0], values[1], (words[0], words[1])))
        pairs.append((ways[1], ways[0]))
    on_progress("comparison", 2 * len(seeds), 2 * len(seeds))
    judged = differences_of([tuned for tuned, _ in pairs], [default for _, default in pairs], labels, data.kind)[
        measure
    ]
    classes, gain = len(np.unique(labels)), judged.gain
    over = f"{classes} classes that no trial saw, {len(seeds)} {'seeds' if len(seeds) > 1 else 'seed'}"
    sentence = f"{told(judged, ('tuned', 'the default'))} ({over}{caution(classes, len(seeds))})"
    return Comparison(judged.verdict, sentence, measure, classes, tuple(outcomes), gain.value, gain.low, gain.high)


def _trained(
    config: TrainConfig,
    test: Sequence[str],
    data: Data,
    folder: Path,
    cache_dir: Path,
    on_progress: Callable[[str, int, int], None],
) -> tuple[Way, str, Labels]:
    """Its vectors of the test pictures, how it stands to what costs no training, and the pictures' classes."""
    going_on = (folder / "config.json").exists()
    run = train(config, folder, cache_dir, on_progress, resume=going_on)
    on_test = replace(run, held_out=_test_pictures(run, test, data, cache_dir), held_features=None)
    compared = compare_ways(on_test, embed_sides(on_test), config.output)
    return compared.trained, judge(compared, config).word, compared.labels


def _test_pictures(run: Run, test: Sequence[str], data: Data, cache_dir: Path) -> PictureSet:
    listed = list_pictures(data)
    chosen = np.isin(listed.labels, [listed.names.index(name) for name in test])
    prepare, cutters = run.opened.backbone.prepare, picture_cutters(data, cache_dir)
    found, _ = load_pictures(listed, np.flatnonzero(chosen), prepare, data.memory_mb, cutters)
    return with_two_or_more(found)


def _measure(config: TrainConfig) -> str:
    """What chose among trials, where there is an interval for it."""
    return config.select if config.select in ("recall_1", "map_r", "open_set") else MAIN[config.data.kind]
