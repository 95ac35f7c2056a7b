"""Visual search on pictures of things: how a vector is made, how samples fuse, what a copy is, and how fast it is.

    python benchmarks/visual_search.py --model onnx:MANIFEST.json [--folder ../shared/items/train] [--galleries 12]

The folder holds a folder of pictures per class. What is chosen here is chosen on classes for training; measure on
others. Recall@1 and mAP@R are leave-one-out; fusion is open set: half of the classes are enrolled with K pictures
each, the others are strangers, and the difference to "max" is paired, with its standard error.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from choose_template import RULES
from public_faces import CACHE, ROOT, SHARED

from embedder.duplicates import likeness
from embedder.factory import build_image_embedder
from embedder.images import ImageLimits, decode_image, encode_jpeg
from embedder.pipeline import unit_rows
from embedder.whole_pictures import ImageEmbedder
from lookalike.domain import Floats, Labels, Pixels
from lookalike.searching import NEAR_DUPLICATE

SAMPLES = (2, 3, 5, 10)
ASKED = (0.1, 0.01)
COPIED, NEIGHBOURS = 150, 12


def embedded(paths: list[Path], model: ImageEmbedder) -> tuple[Floats, Floats, list[bytes]]:
    """(probes, templates, what is kept) of every picture."""
    found = [model.encode(path.read_bytes(), crops=True)[0] for path in paths]
    crops = [one.crop or b"" for one in found]
    return np.stack([one.vector for one in found]), model.encode_crops(crops, enrolment=True).vectors, crops


def leave_one_out(queries: Floats, gallery: Floats, label: Labels) -> tuple[float, float]:
    """(recall@1, mAP@R): each picture against all others."""
    scores = queries @ gallery.T
    np.fill_diagonal(scores, -2)
    order = np.argsort(-scores, axis=1)
    hits = label[order] == label[:, None]
    relevant = np.bincount(label)[label] - 1
    precision = [
        (np.cumsum(h[:r]) / np.arange(1, r + 1) * h[:r]).sum() / r for h, r in zip(hits, relevant, strict=True)
    ]
    return float(hits[:, 0].mean()), float(np.mean(precision))


def compare_vectors(probes: Floats, templates: Floats, label: Labels) -> dict[str, tuple[float, float]]:
    """Recall@1 and mAP@R of each way of making vectors; the centre is that of the same pictures."""
    centre = templates.mean(axis=0)
    ways = {"plain": (probes, probes), "mirrored at enrolment": (probes, templates), "mirrored": (templates, templates)}
    ways |= {f"{name}, centred": (unit_rows(q - centre), unit_rows(g - centre)) for name, (q, g) in ways.items()}
    found = {name: leave_one_out(q, g, label) for name, (q, g) in ways.items()}
    for name, (recall, precision) in found.items():
        print(f"{name:32} recall@1 {100 * recall:5.1f} %   mAP@R {100 * precision:5.1f} %")
    return found


def compare_fusions(probes: Floats, templates: Floats, label: Labels, galleries: int) -> dict[str, list[list[float]]]:
    """Rank-1 error and FNIR at FPIR 10 % and 1 % of each rule, in %, with the paired difference to "max"."""
    classes, table = int(label.max()) + 1, {}
    for samples in SAMPLES:
        seen: dict[str, list[list[float]]] = {name: [] for name in RULES}
        for seed in range(galleries):
            rng = np.random.default_rng(seed)
            enrolled = rng.permutation(classes)[: classes // 2]
            rows = [rng.permutation(np.flatnonzero(label == one))[:samples] for one in enrolled]
            gallery = templates[np.stack(rows)]
            mated = np.setdiff1d(np.flatnonzero(np.isin(label, enrolled)), np.concatenate(rows))
            strangers = np.flatnonzero(~np.isin(label, enrolled))
            for name, rule in RULES.items():
                scores, alarms = rule(probes[mated], gallery), rule(probes[strangers], gallery).max(axis=1)
                right = enrolled[scores.argmax(axis=1)] == label[mated]
                bars = [np.sort(alarms)[-1 - int(asked * len(alarms))] for asked in ASKED]
                missed = [1 - (right & (scores.max(axis=1) > bar)).mean() for bar in bars]
                seen[name].append([1 - right.mean(), *missed])
        for name, values in seen.items():
            less = 100 * (np.array(values) - np.array(seen["max"]))
            mean, error = less.mean(axis=0), less.std(axis=0, ddof=1) / math.sqrt(galleries)
            table[f"{name}, {samples} samples"] = [list(100 * np.mean(values, axis=0)), list(mean), list(error)]
            cells = zip(100 * np.mean(values, axis=0), mean, error, strict=True)
            print(f"{name:9} {samples:2} samples" + "".join(f"   {v:5.1f} ({d:+.1f} ± {e:.1f})" for v, d, e in cells))
    return table


def _cropped(picture: Pixels, share: float, left: float) -> Pixels:
    """Without this share of each side, `left` of which is lost on the left and above."""
    height, width = picture.shape[:2]
    x, y = round(share * left * width), round(share * left * height)
    return np.ascontiguousarray(picture[y : y + round((1 - share) * height), x : x + round((1 - share) * width)])


def _encoded(picture: Pixels, quality: int) -> Pixels:
    return decode_image(encode_jpeg(picture, quality), ImageLimits())


def _resized(picture: Pixels, factor: float) -> Pixels:
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG of quality 30": lambda p: _encoded(p, 30),
    "half the size": lambda p: _resized(p, 0.5),
    "0.3 of the size, JPEG 50": lambda p: _encoded(_resized(p, 0.3), 50),
    "1.7 times the size": lambda p: _resized(p, 1.7),
    "squashed to 200×256": lambda p: np.asarray(cv2.resize(p, (200, 256)), np.uint8),
    "10 % cropped all round": lambda p: _cropped(p, 0.1, 0.5),
    "10 % cropped at a corner": lambda p: _cropped(p, 0.1, 1.0),
    "15 % cropped at a corner": lambda p: _cropped(p, 0.15, 0.0),
    "20 % cropped at a corner": lambda p: _cropped(p, 0.2, 1.0),
    "10 % cropped, half the size, JPEG 50": lambda p: _encoded(_resized(_cropped(p, 0.1, 0.0), 0.5), 50),
    "1.3 times as bright": lambda p: np.clip(p * 1.3, 0, 255).astype(np.uint8),
    "smeared by 1.5 px": lambda p: np.asarray(cv2.GaussianBlur(p, (0, 0), 1.5), np.uint8),
}


def compare_copies(paths: list[Path], templates: Floats, crops: list[bytes]) -> dict[str, float]:
    """The least likeness of each kind of copy, and how many other pictures reach what makes a near duplicate."""
    chosen = np.random.default_rng(0).permutation(len(paths))[:COPIED]
    pictures = {i: decode_image(paths[i].read_bytes(), ImageLimits()) for i in chosen}
    kept = [decode_image(crop, ImageLimits()) for crop in crops]
    least = {how: min(likeness(spoil(p), [kept[i]])[0] for i, p in pictures.items()) for how, spoil in COPIES.items()}
    for how, value in least.items():
        print(f"{how:38} least likeness {value:.3f}")
    began, reached, compared = time.process_time(), 0, 0
    for i, picture in pictures.items():
        near = [j for j in np.argsort(-(templates @ templates[i]))[: NEIGHBOURS + 1] if j != i]
        found = likeness(picture, [kept[j] for j in near])
        reached += sum(value >= NEAR_DUPLICATE for value in found)
        compared += len(found)
    print(f"other pictures, the nearest {NEIGHBOURS} of each: {reached} of {compared} reach {NEAR_DUPLICATE}", end="")
    print(f"; {1000 * (time.process_time() - began) / compared:.2f} ms a pair")
    return least | {"others": reached, "compared": compared}


def measure_speed(model: ImageEmbedder, paths: list[Path], rounds: int = 100) -> dict[str, float]:
    """CPU milliseconds from a picture's bytes to its vector, as it is and enlarged to 1280 pixels."""
    small = paths[0].read_bytes()
    large = encode_jpeg(_resized(decode_image(small, ImageLimits()), 1280 / 224), 90)
    times = {}
    for name, data in {"as it is": small, "1280 pixels": large}.items():
        model.encode(data)
        began = time.process_time()
        for _ in range(rounds):
            model.encode(data)
        times[name] = 1000 * (time.process_time() - began) / rounds
        print(f"a picture {name}: {times[name]:.1f} ms of one core to its vector, with {model.runtime}")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="as in LOOKALIKE_IMAGE_MODELS")
    parser.add_argument("--folder", type=Path, default=SHARED / "items" / "train")
    parser.add_argument("--galleries", type=int, default=12)
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "visual_search.json")
    chosen = parser.parse_args()
    if not chosen.folder.is_dir():
        print(f"left out: {chosen.folder} is not here (LOOKALIKE_SHARED names another folder)")
        return
    model = build_image_embedder(CACHE / "models", chosen.model)
    paths = sorted(chosen.folder.glob("*/*.jpg"))
    _, label = np.unique([path.parent.name for path in paths], return_inverse=True)
    probes, templates, crops = embedded(paths, model)
    result = {
        "model": model.space.model,
        "vectors": compare_vectors(probes, templates, label),
        "fusions": compare_fusions(probes, templates, label, chosen.galleries),
        "copies": compare_copies(paths, templates, crops),
        "ms": measure_speed(model, paths),
    }
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=1, default=float) + "\n", "utf-8")


if __name__ == "__main__":
    main()
