"""Images a second of a training run's steps, beside the barest loop over one batch that is ready in memory.

    python benchmarks/train.py [--rounds 12] [--steps 6] [--network timm:mobilenetv4_conv_small] [--out train.json]

The run's steps are `embedder.train.recipe.step`: batches picked, changed by chance in another process and normalised;
loss, gradients, clipping, averaged weights. The bare loop has the same network, loss and optimiser and nothing else.
Both take turns, so that a neighbour's load falls on both; the median of each round's ratio is shown; wanted is 0.8 or
more. The pictures are drawn. With one processor only, the process that makes batches takes its time from the network;
the ratio of processor time is of the loop's own process and shows what a processor to spare would give.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from public_faces import machine

from embedder.train.checkpoints import State
from embedder.train.config import TrainConfig, config_from
from embedder.train.losses import open_objective
from embedder.train.network import open_network
from embedder.train.recipe import Run, batches_from, begin, step

ROOT = Path(__file__).resolve().parent.parent
CLASSES, PICTURES, SIDE = 16, 8, 160
ENOUGH_STEPS = 100_000


def draw(folder: Path) -> None:
    """Coarse noise in a colour for each class, as JPEG."""
    rng = np.random.default_rng(0)
    for kind in range(CLASSES):
        place = folder / f"{kind:02}"
        place.mkdir()
        for number in range(PICTURES):
            coarse = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3)) // 2 + rng.integers(0, 128, 3)
            picture = Image.fromarray(coarse.astype(np.uint8)).resize((SIDE, SIDE))
            picture.save(place / f"{number}.jpg", quality=90)


def recipe_steps(config: TrainConfig, folder: Path) -> tuple[Run, Callable[[], object]]:
    """One step of the run at each call."""
    run, objective, optimiser = begin(config, folder, folder, lambda *_: None, {})
    state, batches = State(), batches_from(run, 0)
    run.network.train()
    return run, lambda: step(run, objective, optimiser, state, batches)


def bare_steps(config: TrainConfig, run: Run) -> Callable[[], object]:
    """One step of a plain loop over one batch at each call."""
    batch = next(batches_from(run, 0))
    network = open_network(config.model, config.seed).network.to(run.device, memory_format=torch.channels_last)
    objective = open_objective(config.loss, CLASSES, network.dimension)
    part = network.top if run.features is not None else network
    optimiser = torch.optim.AdamW(list(network.groups(config.optimiser)))
    inputs, labels = batch.inputs.to(run.device), batch.labels.to(run.device)
    network.train()

    def one() -> None:
        optimiser.zero_grad(set_to_none=True)
        objective.loss(torch.nn.functional.normalize(part(inputs)), labels).backward()
        optimiser.step()

    return one


def compare(config: TrainConfig, folder: Path, rounds: int, steps: int) -> dict[str, float]:
    folder.mkdir()
    run, ours = recipe_steps(config, folder)
    contenders = {"recipe": ours, "bare": bare_steps(config, run)}
    images = config.optimiser.classes * config.optimiser.pictures * steps
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    worked: dict[str, list[float]] = {name: [] for name in contenders}
    for one in contenders.values():
        for _ in range(3):
            one()
    for place in range(rounds):
        for name in sorted(contenders, reverse=place % 2 == 0):
            begun, busy = time.perf_counter(), time.process_time()
            for _ in range(steps):
                contenders[name]()
            if run.device.type == "cuda":
                torch.cuda.synchronize()
            rates[name].append(images / (time.perf_counter() - begun))
            worked[name].append(time.process_time() - busy)
    ratios = [a / b for a, b in zip(rates["recipe"], rates["bare"], strict=True)]
    processor = [b / a for a, b in zip(worked["recipe"], worked["bare"], strict=True)]
    return {
        "ratio_of_processor_time": round(statistics.median(processor), 3),
        "recipe_images_s": round(statistics.median(rates["recipe"]), 1),
        "bare_images_s": round(statistics.median(rates["bare"]), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_low": round(min(ratios), 3),
        "ratio_high": round(max(ratios), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=6, help="of each in a round")
    parser.add_argument("--network", default="timm:mobilenetv4_conv_small")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "train.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        drawn = Path(made) / "drawn"
        drawn.mkdir()
        draw(drawn)
        entries: dict[str, dict[str, object]] = {
            "data": {"folders": [str(drawn)], "held_out": 0.0},
            "augment": {"flip": 0.5, "crop": 0.5, "colour": 0.2},
            "optimiser": {"classes": 8, "pictures": 4, "steps": ENOUGH_STEPS, "ema": 0.99},
        }
        model: dict[str, object] = {"backbone": asked.network, "side": asked.side}
        tried = {"whole network": model, "three stages frozen, computed once": {**model, "freeze": 3, "cache": 4}}
        found = {}
        for place, (name, values) in enumerate(tried.items()):
            config = config_from({**entries, "model": values, "threads": asked.threads})
            found[name] = compare(config, Path(made) / f"run{place}", asked.rounds, asked.steps)
    report = {
        "network": asked.network,
        "side": asked.side,
        "batch": "8 classes of 4 pictures",
        "rounds": asked.rounds,
        "found": found,
        "processors_allowed": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "machine": machine(packages=("torch", "timm", "torchvision", "pytorch-metric-learning")),
    }
    text = json.dumps(report, indent=2)
    asked.out.parent.mkdir(exist_ok=True)
    asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
