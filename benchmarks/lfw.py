"""Labelled Faces in the Wild, View 1 DevTest, through the whole pipeline: accuracy on pairs, and who is missed.

    python benchmarks/lfw.py [--embedder NAME] [--runtime auto] [--face central] [--draws 20] [--out lfw.json]

Pictures are LFW's own, 250×250 and unaligned, from $LOOKALIKE_SHARED or ../shared: faces/eval/lfw_dev. By LFW's own
definition the person named is the one at the picture's centre; `--face largest` takes the largest face instead, as
enrolment does, and with it 14 bystanders. Pairs: 500 of one person and 500 of two, in 10 folds of 50 and 50 in the
file's order, each judged by the threshold best on the other nine. Open set: one picture of each person who has two or
more is enrolled, drawn anew each time, their other pictures are mated probes and people with one picture are strangers;
a mated probe is missed unless its own person comes first and above the threshold at which the wanted share of strangers
raises an alarm. Nothing may be tuned on these pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from api.models import load_face_encoder
from embedder.evaluate.identification import fnir_at, fnir_estimate, open_set, rank_one
from embedder.evaluate.protocol import Protocol, read_protocol
from embedder.evaluate.vectors import Embedded, embed
from embedder.evaluate.verification import accuracy_by_folds, curve_over_all_pairs
from lookalike.domain import Labels
from lookalike.settings import read_settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LOOKALIKE_SHARED", ROOT.parent / "shared"))
FPIRS = (0.1, 0.01, 0.003)
FARS = (1e-2, 1e-3, 1e-4, 1e-5)
PACKAGES = ("openvino", "onnxruntime", "opencv-python-headless", "numpy")
ACCURACY_WANTED, FNIR_WANTED = 0.989, 0.03


def pair_accuracy(protocol: Protocol, embedded: Embedded) -> dict[str, object]:
    """Both ways in which the service compares two pictures; a pair without two faces counts as judged wrongly."""
    row = {int(place): i for i, place in enumerate(embedded.place)}
    usable = [pair for pair in protocol.pairs if pair.first in row and pair.second in row]
    lost = len(protocol.pairs) - len(usable)
    first, second = [row[pair.first] for pair in usable], [row[pair.second] for pair in usable]
    same = np.array([pair.same for pair in usable], bool)
    folds = np.array([pair.fold for pair in usable], np.int64)
    answers: dict[str, object] = {"pairs": len(protocol.pairs), "lost": lost}
    ways = {"compare": embedded.probes, "verify": embedded.templates}
    for name, left in ways.items():
        scores = np.einsum("ij,ij->i", left[first], embedded.probes[second]).astype(np.float64)
        found = accuracy_by_folds(scores, same, folds)
        answers[name] = {
            "accuracy": found.mean * len(usable) / len(protocol.pairs),
            "error_of_mean": found.error,
            "folds": found.folds,
        }
    return answers


def all_pairs(embedded: Embedded) -> dict[str, object]:
    """Equal error rate, and the share of pairs of one person kept at each rate of false matches."""
    curve = curve_over_all_pairs(embedded.probes, embedded.person)
    return {
        "matching": curve.matching,
        "others": curve.others,
        "equal_error_rate": curve.equal_error_rate(),
        "tar_at_far": {f"{far:g}": curve.tar_at(far) for far in FARS},
    }


def drawn_gallery(person: Labels, rng: np.random.Generator) -> tuple[Labels, Labels]:
    """(rows enrolled, rows of strangers): one picture, by chance, of each person with two or more."""
    _, inverse, pictures = np.unique(person, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(person))
    people, first = np.unique(inverse[shuffled], return_index=True)
    return shuffled[first[pictures[people] > 1]], np.flatnonzero(pictures[inverse] == 1)


def identification(embedded: Embedded, draws: int) -> dict[str, object]:
    """The mean over draws, the draws' spread, and the interval that resampling the first draw's people gives."""
    rng = np.random.default_rng(0)
    searches = [
        open_set(embedded.probes, embedded.templates, embedded.person, *drawn_gallery(embedded.person, rng))
        for _ in range(draws)
    ]
    answers: dict[str, object] = {
        "draws": draws,
        "enrolled": searches[0].size,
        "mated_probes": len(searches[0].mated_best),
        "strangers": len(searches[0].stranger_best),
        "rank_1": float(np.mean([rank_one(each) for each in searches])),
    }
    for fpir in FPIRS:
        found = [fnir_at(each, fpir) for each in searches]
        interval = fnir_estimate(searches[0], fpir)
        answers[f"fnir_at_fpir_{fpir:g}"] = {
            "mean": float(np.mean(found)),
            "deviation_of_draws": float(np.std(found, ddof=1)) if draws > 1 else None,
            "least": min(found),
            "most": max(found),
            "interval_95_of_people": [interval.low, interval.high],
        }
    return answers


def machine() -> dict[str, object]:
    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def show(answers: dict[str, object]) -> None:
    """The figures for a reader, one a line, with what was wanted beside."""

    def line(name: str, value: float, rest: str = "") -> None:
        print(f"{name:38}{100 * value:8.2f} %  {rest}".rstrip())

    pairs, pooled, found = answers["pairs"], answers["all_pairs"], answers["open_set"]
    print(
        f"{answers['model']}, {answers['runtime']}: {answers['pictures']} pictures, {len(answers['left_out'])} left out"
    )
    for way in ("compare", "verify"):
        wanted = f"wanted: at least {100 * ACCURACY_WANTED:.1f}" if way == "compare" else ""
        line(
            f"accuracy on pairs, as {way}",
            pairs[way]["accuracy"],
            f"± {100 * pairs[way]['error_of_mean']:.2f}  {wanted}",
        )
    line("equal error rate, all pairs", pooled["equal_error_rate"])
    for far, tar in pooled["tar_at_far"].items():
        line(f"TAR at FAR {far}, all pairs", tar)
    print(
        f"{found['enrolled']} enrolled with one picture, {found['mated_probes']} mated probes, "
        f"{found['strangers']} strangers, {found['draws']} draws"
    )
    line("rank-1", found["rank_1"])
    for fpir in FPIRS:
        each = found[f"fnir_at_fpir_{fpir:g}"]
        wanted = f"wanted: at most {100 * FNIR_WANTED:.1f}" if fpir == 0.01 else ""
        low, high = each["interval_95_of_people"]
        spread = (
            f"draws {100 * each['least']:.2f} to {100 * each['most']:.2f}, people {100 * low:.2f} to {100 * high:.2f}"
        )
        line(f"FNIR at FPIR {100 * fpir:g} %", each["mean"], f"{spread}  {wanted}")


def progress(done: int, total: int) -> None:
    print(f"\r{done} of {total}", end="", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", default="sface-int8")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--face", choices=("central", "largest"), default="central")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", default="lfw.json")
    chosen = parser.parse_args()
    pairs = SHARED / "faces" / "eval" / "pairsDevTest.txt"
    if not pairs.is_file():
        print(f"left out: {pairs.name} and its pictures are not here (LOOKALIKE_SHARED names another folder)")
        return 0
    settings = read_settings()
    parts = {"embedder": chosen.embedder or settings.embedder, "runtime": chosen.runtime}
    encoder = load_face_encoder(settings.model_copy(update={"data": ROOT / ".cache", **parts}))
    protocol = read_protocol(pairs)
    started = time.process_time()
    embedded = embed(protocol.pictures, encoder, progress, central=chosen.face == "central")
    spent_s = time.process_time() - started
    print(file=sys.stderr)
    answers = {
        "model": encoder.space.model,
        "preprocessing": encoder.space.preprocessing,
        "runtime": encoder.runtime,
        "pictures": len(protocol.pictures),
        "face": chosen.face,
        "left_out": [{"picture": Path(path).name, "reason": why} for path, why in embedded.left_out],
        "cpu_ms_per_picture": 1e3 * spent_s / len(protocol.pictures),
        "pairs": pair_accuracy(protocol, embedded),
        "all_pairs": all_pairs(embedded),
        "open_set": identification(embedded, chosen.draws),
        "machine": machine(),
    }
    show(answers)
    out = ROOT / "bench-output" / chosen.out
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(answers, indent=2, allow_nan=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
