"""Tries training recipes on held-out classes, several seeds each, and tells which beat what costs no training.

    python benchmarks/recipes.py SWEEP.toml --out FOLDER [--seeds 1 2 3] [--only NAME …]

SWEEP.toml has a table `base`, a configuration as `lookalike train` takes it, and a table `recipes`: name → the values
that it changes, such as `"optimiser.rate" = 3e-5`. A seed draws which classes are held out, so that every recipe is
judged on the same splits. A finished run is not repeated: an interrupted sweep goes on where it was. Each trained
network is also finished in every way that costs no training (mirrored, centred, whitened, joined with its start).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import torch

from embedder.train.config import TrainConfig, changed, config_from
from embedder.train.judge import differences_of
from embedder.train.measures import MAIN, measures
from embedder.train.recipe import train
from embedder.train.vectors import compare_ways, embed_sides

FINISHES: dict[str, dict[str, object]] = {
    "mirrored at enrolment": {"flip": "enrolment"},
    "mirrored": {"flip": "always"},
    "mirrored, whitened 128": {"flip": "always", "whiten": 128},
    "mirrored at enrolment, joined": {"flip": "enrolment", "joined": True},
    "mirrored, joined": {"flip": "always", "joined": True},
    "mirrored, whitened 128, joined": {"flip": "always", "whiten": 128, "joined": True},
}
RESULT = "sweep.json"
GAIN = ("gain", "low", "high")


def main() -> int:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", default=[])
    chosen = parser.parse_args()
    sweep = tomllib.loads(chosen.sweep.read_text("utf-8"))
    for seed in chosen.seeds:
        kept: dict[str, torch.Tensor] = {}
        for name, values in sweep["recipes"].items():
            folder = chosen.out / f"{name}-{seed}"
            if (folder / RESULT).exists() or (chosen.only and name not in chosen.only):
                continue
            base = changed(config_from(sweep["base"]), seed=seed)
            run_one(changed(base, **{key.replace(".", "__"): value for key, value in values.items()}), folder, kept)
    table(chosen.out, list(sweep["recipes"]), chosen.seeds)
    return 0


def run_one(config: TrainConfig, folder: Path, kept: dict[str, torch.Tensor]) -> None:
    """Train, finish in every way, measure each against the best baseline, and write it down."""
    begun = time.monotonic()
    print(f"{folder.name} …", file=sys.stderr, flush=True)
    run = train(config, folder, Path("build/models"), lambda *_: None, resume=folder.exists(), kept=kept)
    kind, found, embedded = config.data.kind, {}, embed_sides(run)
    for name, values in FINISHES.items():
        output = changed(config, **{f"output__{key}": value for key, value in values.items()}).output
        compared = compare_ways(run, embedded, output)
        for way in compared.baselines:
            if way.name not in found:
                found[way.name] = measures(way.probes, way.templates, compared.labels, kind)
        rival = max(compared.baselines, key=lambda way: found[way.name][MAIN[kind]])
        gain = differences_of([compared.trained], [rival], compared.labels, kind)[MAIN[kind]].gain
        figures = measures(compared.trained.probes, compared.trained.templates, compared.labels, kind)
        found[f"trained, {name}"] = figures | {"gain": gain.value, "low": gain.low, "high": gain.high}
    curve = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    result = {"ways": found, "curve": curve, "seconds": time.monotonic() - begun}
    (folder / RESULT).write_text(json.dumps(result, indent=1), "utf-8")


def table(out: Path, names: list[str], seeds: list[int]) -> None:
    """Each recipe's ways: means over seeds; of what was trained, the gain over the best baseline with its intervals."""
    for name in names:
        results = [json.loads((out / f"{name}-{s}" / RESULT).read_text("utf-8")) for s in seeds if done(out, name, s)]
        if not results:
            continue
        print(f"\n{name}: {len(results)} seeds, {np.mean([found['seconds'] for found in results]):.0f} s each")
        for way in results[0]["ways"]:
            values = [found["ways"][way] for found in results]
            line = "  ".join(f"{k} {100 * np.mean([v[k] for v in values]):6.2f}" for k in values[0] if k not in GAIN)
            if "gain" in values[0]:
                each = ", ".join(
                    f"{100 * v['gain']:+.2f} ({100 * v['low']:+.2f} to {100 * v['high']:+.2f})" for v in values
                )
                line += f"   {each}"
            print(f"  {way:45} {line}")


def done(out: Path, name: str, seed: int) -> bool:
    return (out / f"{name}-{seed}" / RESULT).exists()


if __name__ == "__main__":
    raise SystemExit(main())
