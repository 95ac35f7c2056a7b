"""What int8 costs and gives: time, agreement with float32, LFW DevTest pairs and open-set misses, side by side.

    python benchmarks/int8.py [--rounds 40] [--out int8.json]

Time is processor time of one thread, both networks in turn in every round, medians. Pictures of LFW go through the
whole pipeline once; both networks see the same crops. Open set: one picture of each person with two or more is
enrolled (averaged with its mirror image, as the service does), the others are probes, people with one are strangers;
the threshold is where 1 % of strangers would be alarms. Intervals: 2,000 bootstrap samples of people, paired.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from embedder.align import align_face
from embedder.factory import build_face_embedder
from embedder.images import ImageLimits, decode_image
from embedder.learn_ranges import HELD_OUT
from embedder.pipeline import FaceEmbedder, unit_rows
from lookalike.domain import Floats, Labels, Pixels

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LOOKALIKE_SHARED", ROOT.parent / "shared"))
NAMES = ("sface", "sface-int8")
FPIR = 0.01


@dataclass(frozen=True, slots=True)
class Faces:
    """Crops (N, 112, 112, 3), one a picture, and the picture's file name without its ending."""

    crops: Pixels
    names: list[str]


def milliseconds(models: dict[str, FaceEmbedder], crops: Pixels, rounds: int) -> dict[str, float]:
    """Median processor time a face."""
    spent: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 5):
        for name, model in models.items():
            start = time.process_time()
            model._model.embed(crops)
            spent[name].append((time.process_time() - start) * 1e3 / len(crops))
    return {name: statistics.median(times[5:]) for name, times in spent.items()}


def agreement(models: dict[str, FaceEmbedder], crops: Pixels) -> dict[str, float]:
    """Cosines between the two networks' vectors of the same crops."""
    plain, int8 = (vectors(models[name], crops) for name in NAMES)
    cosines = np.sum(plain * int8, axis=1)
    return {"mean": float(cosines.mean()), "p1": float(np.quantile(cosines, 0.01)), "least": float(cosines.min())}


def vectors(model: FaceEmbedder, crops: Pixels) -> Floats:
    return unit_rows(np.concatenate([model._model.embed(crops[i : i + 8]) for i in range(0, len(crops), 8)]))


def lfw_faces(folder: Path, detector: Callable[[Pixels], list]) -> Faces:
    """The largest face of every picture; a picture without one ends the benchmark."""
    crops, names = [], []
    for path in sorted(folder.glob("*/*.jpg")):
        pixels = decode_image(path.read_bytes(), ImageLimits())
        crops.append(align_face(pixels, detector(pixels)[0].landmarks))
        names.append(path.stem)
    return Faces(np.stack(crops), names)


def read_pairs(file: Path) -> list[tuple[str, str, bool]]:
    pairs = []
    for line in file.read_text().splitlines()[1:]:
        parts = line.split()
        first, second = (parts[0], parts[1]), (parts[-2], parts[-1])
        if len(parts) == 3:
            second = (parts[0], parts[2])
        pairs.append((*(f"{name}_{int(number):04d}" for name, number in (first, second)), len(parts) == 3))
    return pairs


def accuracy(similarities: Floats, same: np.ndarray) -> list[float]:
    """Of each of ten folds, with the best threshold of the other nine."""
    folds = np.arange(len(same)) % 10
    found = []
    for fold in range(10):
        rest = folds != fold
        grid = np.sort(similarities[rest])
        right = [np.mean((similarities[rest] >= threshold) == same[rest]) for threshold in grid]
        threshold = grid[int(np.argmax(right))]
        found.append(float(np.mean((similarities[~rest] >= threshold) == same[~rest])))
    return found


@dataclass(frozen=True, slots=True)
class OpenSet:
    """For each probe of an enrolled person its best score if that is the right person, else −1; strangers' best."""

    mated: Floats
    people: Labels
    strangers: Floats

    def fnir(self, probes: Labels | slice = slice(None), strangers: Labels | slice = slice(None)) -> float:
        threshold = np.quantile(self.strangers[strangers], 1 - FPIR, method="higher")
        return float(np.mean(self.mated[probes] <= threshold))


def open_set(upright: Floats, mirrored: Floats, names: list[str]) -> OpenSet:
    people = np.array([name.rsplit("_", 1)[0] for name in names])
    _, label, counts = np.unique(people, return_inverse=True, return_counts=True)
    several = counts[label] > 1
    first = np.zeros(len(names), bool)
    first[np.unique(label, return_index=True)[1]] = True
    gallery, probes = several & first, several & ~first
    templates = unit_rows(upright[gallery] + mirrored[gallery])
    scores = upright[probes] @ templates.T
    best = scores.argmax(axis=1)
    right = label[gallery][best] == label[probes]
    mated = np.where(right, scores.max(axis=1), np.float32(-1))
    return OpenSet(mated, label[probes].astype(np.int64), (upright[~several] @ templates.T).max(axis=1))


def paired_interval(first: OpenSet, second: OpenSet, samples: int = 2000) -> tuple[float, float]:
    """95 % interval of the second's FNIR minus the first's, over people."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(first.people == person) for person in np.unique(first.people)]
    differences = []
    for _ in range(samples):
        probes = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        strangers = rng.integers(0, len(first.strangers), len(first.strangers))
        differences.append(second.fnir(probes, strangers) - first.fnir(probes, strangers))
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


def lfw(models: dict[str, FaceEmbedder], folder: Path) -> dict[str, object]:
    faces = lfw_faces(folder / "lfw_dev", models["sface"]._detector)
    pairs = read_pairs(folder / "pairsDevTest.txt")
    place = {name: i for i, name in enumerate(faces.names)}
    left, right = (np.array([place[pair[side]] for pair in pairs]) for side in (0, 1))
    same = np.array([pair[2] for pair in pairs])
    report: dict[str, object] = {"pictures": len(faces.names), "pairs": len(pairs)}
    sets = {}
    for name, model in models.items():
        upright, mirrored = vectors(model, faces.crops), vectors(model, faces.crops[:, :, ::-1])
        folds = accuracy(np.sum(upright[left] * upright[right], axis=1), same)
        sets[name] = open_set(upright, mirrored, faces.names)
        report[name] = {
            "accuracy_percent": 100 * statistics.mean(folds),
            "standard_error": 100 * statistics.stdev(folds) / len(folds) ** 0.5,
            "fnir_percent_at_fpir_1": 100 * sets[name].fnir(),
        }
    low, high = paired_interval(sets["sface"], sets["sface-int8"])
    report["fnir_difference_95"] = [100 * low, 100 * high]
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    crops_folder, eval_folder = SHARED / "faces" / "train" / "celeba300", SHARED / "faces" / "eval"
    report: dict[str, object] = {
        "machine": platform.machine(),
        "features": sorted(
            {"amx_int8", "avx512_vnni", "avx_vnni", "avx2"} & set(Path("/proc/cpuinfo").read_text().split())
        ),
        "openvino": version("openvino"),
    }
    with tempfile.TemporaryDirectory() as cache:
        models = {name: build_face_embedder(Path(cache), embedder=name) for name in NAMES}
        if crops_folder.is_dir():
            held_out = sorted(crops_folder.iterdir())[HELD_OUT - 1 :: HELD_OUT]
            paths = sorted(path for person in held_out for path in person.iterdir())[::4]
            crops = np.stack([decode_image(path.read_bytes(), ImageLimits()) for path in paths])
            report["agreement"] = {"crops": len(crops), **agreement(models, crops)}
        else:
            print("without shared/: random crops, time alone")
            crops = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)
        for rows in (1, 4, 8):
            spent = milliseconds(models, crops[:rows], max(arguments.rounds // rows, 5))
            report[f"batch_{rows}"] = {**spent, "ratio": spent["sface"] / spent["sface-int8"]}
        if eval_folder.is_dir():
            report["lfw_devtest"] = lfw(models, eval_folder)
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
