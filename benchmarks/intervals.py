"""Do 95 % intervals hold the truth 95 times in 100? Tried on made-up people, of whom any number can be drawn.

    python benchmarks/intervals.py [--draws 200] [--out FILE]

Each draw is a folder of people as an evaluation gets it: some with four pictures, some with one. Some people resemble
many, and some are hard to recognise, as real ones do. The truth is a figure's mean over all draws, since rates of
search depend on how many are enrolled. Beside our intervals stand those of pictures taken as independent, for rank-1
and recall@1. Ends with 1 when an interval of ours holds the truth less than 85 times in 100.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from embedder.evaluate.figures import Figure, measure_faces, measure_items
from embedder.evaluate.intervals import draw_weights
from embedder.evaluate.verification import draw_pairs
from lookalike.domain import Floats, Labels

ROOT = Path(__file__).resolve().parent.parent
WANTED = 0.85


def people(rng: np.random.Generator, several: int = 80, single: int = 80, size: int = 24) -> tuple[Floats, Labels]:
    """(vectors, person). Two kinds of people resemble their like; how much pictures of one differ is theirs too."""
    person = np.concatenate([np.repeat(np.arange(several), 4), several + np.arange(single)])
    count = several + single
    kinds = np.random.default_rng(0).normal(size=(2, size))
    share = rng.beta(1, 3, size=count)[:, None]
    centres = rng.normal(size=(count, size)) + 0.8 * share * kinds[rng.integers(2, size=count)]
    spread = rng.gamma(4, 0.22, size=count)[:, None]
    raw = centres[person] + spread[person] * rng.normal(size=(len(person), size))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32), person


def figures(seed: int) -> dict[str, Figure]:
    vectors, person = people(np.random.default_rng(seed))
    weights = draw_weights(int(person.max()) + 1, seed=seed)
    faces = measure_faces(vectors, vectors, person, weights, draw_pairs(person)).by_key()
    return {**measure_items(vectors, vectors, person, weights).by_key(), **faces}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "intervals.json")
    chosen = parser.parse_args()
    drawn = [figures(seed) for seed in range(1, chosen.draws + 1)]
    results = {}
    print(f"{'figure':14} truth   held   half-width   by pictures: held")
    for key in drawn[0]:
        rows = [each[key].row() for each in drawn]
        truth = float(np.mean([row.value for row in rows]))
        held = float(np.mean([row.low <= truth <= row.high for row in rows]))
        width = float(np.mean([(row.high - row.low) / 2 for row in rows]))
        queries = {"rank-1": 240, "recall@1": 320}.get(key)
        naive = None
        if queries is not None:
            errors = [1.96 * np.sqrt(row.value * (1 - row.value) / queries) for row in rows]
            naive = float(np.mean([abs(row.value - truth) <= e for row, e in zip(rows, errors, strict=True)]))
        results[key] = {"truth": truth, "held": held, "half_width": width, "held_by_pictures": naive}
        beside = "" if naive is None else f"{100 * naive:.0f} %"
        print(f"{key:14} {100 * truth:5.1f} % {100 * held:4.0f} %   {100 * width:5.1f} points   {beside}")
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps({"draws": chosen.draws, "figures": results}, indent=1) + "\n", "utf-8")
    return 0 if all(each["held"] >= WANTED for each in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
