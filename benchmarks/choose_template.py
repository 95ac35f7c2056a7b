"""What to enrol: mirrored average and centring, and how to fuse several samples, chosen on people of faces/train.

    python benchmarks/choose_template.py [--embedder NAME] [--galleries 12] [--out bench-output/choose_template.json]

Open set: half of the people of a folder are enrolled, the others are strangers; FNIR at FPIR 10 % and 1 %, mean over
galleries drawn by chance, with the paired difference to the simplest way and its standard error. The centre always
comes from the other folder, so that nobody is centred by themselves.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from public_faces import DEFAULT_EMBEDDER, ROOT, SHARED, embedded, encoder, machine

from embedder.evaluate.identification import OpenSet, fnir_at, open_set
from embedder.evaluate.vectors import Embedded
from embedder.pipeline import unit_rows
from lookalike.domain import Floats, Labels
from lookalike.fusion import template

ASKED = (0.1, 0.01)
FOLDERS = ("celeba300", "celeba10k")
SAMPLES = (2, 3, 5)

Rule = Callable[[Floats, Floats], Floats]
"""Probes (Q, D) and galleries of K samples (G, K, D) -> similarities (Q, G)."""


def by_max(probes: Floats, samples: Floats) -> Floats:
    return np.max([probes @ samples[:, k].T for k in range(samples.shape[1])], axis=0)


def by_mean(probes: Floats, samples: Floats) -> Floats:
    return np.mean([probes @ samples[:, k].T for k in range(samples.shape[1])], axis=0)


def by_centroid(probes: Floats, samples: Floats) -> Floats:
    return probes @ np.stack([template(subject) for subject in samples]).T


RULES: dict[str, Rule] = {"max": by_max, "mean": by_mean, "centroid": by_centroid}


def vector_ways(faces: Embedded, centre: Floats) -> dict[str, tuple[Floats, Floats]]:
    """(templates, probes) of each way."""
    plain, flipped = faces.probes, faces.templates
    ways = {"plain": (plain, plain), "flip at enrolment": (flipped, plain), "flip both": (flipped, flipped)}
    return ways | {f"{name}, centred": (unit_rows(t - centre), unit_rows(p - centre)) for name, (t, p) in ways.items()}


def half_enrolled(person: Labels, seed: int, samples: int = 1) -> tuple[list[Labels], Labels]:
    """`samples` rows of each of half the people who have more than that, and one row of each other person."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(person))
    people, pictures = np.unique(person, return_counts=True)
    able = people[pictures > samples]
    enrolled = rng.permutation(able)[: len(able) // 2]
    rows = {who: order[person[order] == who] for who in people}
    return [rows[who][:samples] for who in enrolled], np.array([rows[w][0] for w in np.setdiff1d(people, enrolled)])


def compare_vectors(folder: str, faces: Embedded, centre: Floats, galleries: int) -> dict[str, dict[str, object]]:
    """FNIR of every way of making vectors, one sample a subject."""
    seen: dict[str, list[list[float]]] = {}
    for seed in range(galleries):
        enrolled, strangers = half_enrolled(faces.person, seed)
        gallery = np.concatenate(enrolled)
        for name, (templates, probes) in vector_ways(faces, centre).items():
            searches = open_set(probes, templates, faces.person, gallery, strangers)
            seen.setdefault(name, []).append([fnir_at(searches, asked) for asked in ASKED])
    return tabulated(f"{folder}, one sample", seen, "plain")


def compare_rules(folder: str, faces: Embedded, centre: Floats, galleries: int) -> dict[str, dict[str, object]]:
    """FNIR of every rule of fusion, flipped at enrolment and centred."""
    templates, probes = vector_ways(faces, centre)["flip at enrolment, centred"]
    tables: dict[str, dict[str, object]] = {}
    for samples in SAMPLES:
        seen: dict[str, list[list[float]]] = {}
        for seed in range(galleries):
            enrolled, strangers = half_enrolled(faces.person, seed, samples)
            whose = faces.person[[rows[0] for rows in enrolled]]
            mated = np.setdiff1d(np.flatnonzero(np.isin(faces.person, whose)), np.concatenate(enrolled))
            gallery = templates[np.stack(enrolled)]
            for name, rule in RULES.items():
                scores, alarms = rule(probes[mated], gallery), rule(probes[strangers], gallery).max(axis=1)
                right = whose[scores.argmax(axis=1)] == faces.person[mated]
                searches = OpenSet(
                    len(whose), scores.max(axis=1), right, faces.person[mated], alarms, faces.person[strangers]
                )
                seen.setdefault(name, []).append([fnir_at(searches, asked) for asked in ASKED])
        tables |= tabulated(f"{folder}, {samples} samples", seen, "max")
    return tables


def tabulated(title: str, seen: dict[str, list[list[float]]], base: str) -> dict[str, dict[str, object]]:
    """Print a table and give it back."""
    print(f"\n{title:28}" + "".join(f"   FNIR at {100 * a:g} %  less {base:7}" for a in ASKED))
    table: dict[str, object] = {}
    for name, values in seen.items():
        paired = np.array(values) - np.array(seen[base])
        fnir, less, error = np.mean(values, axis=0), paired.mean(axis=0), paired.std(axis=0, ddof=1)
        error /= math.sqrt(len(values))
        table[name] = {
            f"{asked:g}": {"fnir": fnir[i], "difference": less[i], "error": error[i]} for i, asked in enumerate(ASKED)
        }
        cells = (
            f"     {100 * f:6.2f} %   {100 * d:+6.2f} ± {100 * e:.2f}"
            for f, d, e in zip(fnir, less, error, strict=True)
        )
        print(f"{name:28}" + "".join(cells))
    return {title: table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    parser.add_argument("--galleries", type=int, default=12)
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "choose_template.json")
    chosen = parser.parse_args()
    train = SHARED / "faces" / "train"
    if not train.is_dir():
        print("left out: ../shared/faces/train is not here (LOOKALIKE_SHARED names another folder)")
        return
    model = encoder(chosen.embedder, centred=False)
    faces = {folder: embedded(train / folder, model, aligned=folder == "celeba300") for folder in FOLDERS}
    centres = {folder: faces[folder].probes.mean(axis=0) for folder in FOLDERS}
    tables: dict[str, dict[str, object]] = {}
    for folder, other in (FOLDERS, FOLDERS[::-1]):
        tables |= compare_vectors(folder, faces[folder], centres[other], chosen.galleries)
    tables |= compare_rules("celeba300", faces["celeba300"], centres["celeba10k"], chosen.galleries)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps({"machine": machine(model), "tables": tables}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
