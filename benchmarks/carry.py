"""What carrying templates from one model to another costs, and whether its own estimate of that holds.

    python benchmarks/carry.py [--old sface-int8] [--new sface] [--draws 5] [--out FILE]

People of ../shared/faces/train/celeba300, half of them with pictures that are kept: the mapping is learned from those
and judged as a re-index judges it. The other half, whose pictures are not kept, is the truth: enrolled by all pictures
but the first, carried or embedded anew, and asked for by the first among all people. In a second part the new model is
unlike the old one more and more: the old one's vectors turned, with noise that no mapping can know.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from public_faces import SHARED, embedded, encoder, machine

from api.models import InstalledModels
from embedder.evaluate.vectors import Embedded
from lookalike.carrying import Mapping, Pairs, judge
from lookalike.domain import Floats, Kind
from lookalike.fusion import Fusion, templates
from lookalike.settings import Settings

PICTURES_EACH = {250: 2, 500: 4, 1000: 8, 2500: 30}
"""Samples that are learned from, and how many of a person at most."""

NOISES = (0.0, 0.1, 0.2, 0.4, 0.8)
TARGET = 0.01


def unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def tried(old: Floats, new: Embedded, threshold: float, size: int, rng: np.random.Generator) -> dict[str, object]:
    """One draw of who has kept pictures, and which `size` samples of those are learned from."""
    people = rng.permutation(np.unique(new.person))
    kept = people[: len(people) // 2]
    rows = np.concatenate([np.flatnonzero(new.person == one)[: PICTURES_EACH[size]] for one in kept])[:size]
    pairs = Pairs(old[rows], new.templates[rows], [str(one) for one in new.person[rows]])
    found = judge(pairs, threshold, Fusion.CENTROID)
    mapping = Mapping(pairs.old, pairs.new)

    unseen = np.flatnonzero(~np.isin(new.person, kept))
    first = np.array([unseen[new.person[unseen] == one][0] for one in people[len(people) // 2 :]])
    rest = np.setdiff1d(unseen, first)
    owners = [str(one) for one in new.person[rest]]
    answers = []
    for references in (new.templates[rest], mapping(old[rest])):
        gallery, names = templates(references, owners)
        scores = new.probes[first] @ gallery.T
        own = np.array([names.index(str(new.person[probe])) for probe in first])
        genuine = scores[np.arange(len(first)), own].copy()
        scores[np.arange(len(first)), own] = -1
        answers.append((genuine >= threshold, scores.max(axis=1) >= threshold))
    (known, alarm), (known_carried, alarm_carried) = answers
    return {
        "pairs": len(pairs),
        "judged": found.judged,
        "estimated_loss": found.loss,
        "used": not found.why,
        "why": found.why,
        "true_loss": float((known & ~known_carried).sum() / max(known.sum(), 1)),
        "alarms": float(alarm.mean()),
        "alarms_carried": float(alarm_carried.mean()),
    }


def row(name: str, draws: list[dict[str, object]]) -> dict[str, object]:
    def mean(field: str) -> float:
        return float(np.mean([draw[field] for draw in draws]))

    found = {
        "case": name,
        "pairs": int(mean("pairs")),
        "judged": int(mean("judged")),
        "used": f"{sum(bool(draw['used']) for draw in draws)} of {len(draws)}",
        **{field: round(mean(field), 4) for field in ("estimated_loss", "true_loss", "alarms", "alarms_carried")},
    }
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", default="sface-int8")
    parser.add_argument("--new", default="sface")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    folder = SHARED / "faces/train/celeba300"
    after = encoder(options.new)
    old, new = embedded(folder, encoder(options.old), aligned=False), embedded(folder, after, aligned=False)
    both, at_old, at_new = np.intersect1d(old.place, new.place, return_indices=True)
    new = Embedded(new.probes[at_new], new.templates[at_new], new.person[at_new], both, ())
    before = old.templates[at_old]
    threshold = threshold_of(options.new, len(np.unique(new.person)) // 2)

    def drawn(vectors: Floats, to: Embedded, size: int, at: float) -> list[dict[str, object]]:
        return [tried(vectors, to, at, size, np.random.default_rng([size, n])) for n in range(options.draws)]

    rows = [row(f"{options.old} to {options.new}", drawn(before, new, size, threshold)) for size in PICTURES_EACH]
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((before.shape[1],) * 2))[0].astype(np.float32)
    for noise in NOISES:
        blur = np.random.default_rng(9).standard_normal(before.shape).astype(np.float32) / np.sqrt(before.shape[1])
        rows.append(
            row(f"turned, noise {noise}", drawn(unit(new.templates @ turn + noise * blur), new, 2500, threshold))
        )
    if options.out:
        options.out.write_text(json.dumps({"rows": rows, "threshold": threshold, "machine": machine(after)}, indent=2))


def threshold_of(embedder: str, size: int) -> float:
    """The similarity that the model's own calibration takes for a gallery of this size."""
    models = InstalledModels(Settings(embedder=embedder))
    calibration = models.calibration(models.default(Kind.FACE))
    if calibration is None:
        raise SystemExit(f"{embedder} has no calibration")
    return float(calibration.threshold(TARGET, size).similarity)


if __name__ == "__main__":
    main()
