"""The few figures that steer a run, from vectors and labels; `lookalike evaluate` gives the whole table.

recall_1 and map_r: of retrieval, each picture asked among all others (Musgrave et al. 2020, arXiv:2003.08505).
tar_1e-3: pairs of one class accepted where one in a thousand pairs of two is. open_set: 1 - FNIR at FPIR 1 %, the mean
over galleries drawn by chance in which half of the classes are enrolled with one picture and the others are strangers.
"""

from __future__ import annotations

import numpy as np

from embedder.evaluate.identification import fnir_figures, open_set
from embedder.evaluate.intervals import Numbers, weighted_means
from embedder.evaluate.retrieval import retrieval
from embedder.evaluate.verification import curve_over_all_pairs
from lookalike.domain import Floats, Labels

GALLERIES = 12
FPIR = 0.01
MAIN = {"face": "open_set", "image": "map_r"}
"""What chooses the best moment and judges, unless a configuration's `select` chooses otherwise."""


def measures(probes: Floats, templates: Floats, labels: Labels, kind: str) -> dict[str, float]:
    """By name, each higher is better. probes, templates: (N, D) unit, the same pictures; labels: (N,)."""
    alone = np.ones((1, len(np.unique(labels))))
    found = {name: float(figures[0]) for name, figures in resampled(probes, templates, labels, kind, alone).items()}
    if kind == "face":
        found["tar_1e-3"] = curve_over_all_pairs(probes, labels).tar_at(1e-3)
    return found


def resampled(probes: Floats, templates: Floats, labels: Labels, kind: str, weights: Numbers) -> dict[str, Numbers]:
    """recall_1, map_r and, of faces, open_set, each with its resamples: (1 + B,). Shapes as `measures`.

    weights: (1 + B, classes) of `draw_weights`, the classes in the order of their labels. Who is enrolled and what is
    searched among stay as they are: a class drawn twice is no distractor of itself.
    """
    _, label = np.unique(labels, return_inverse=True)
    searched = retrieval(probes, label)
    found = {
        "recall_1": weighted_means(searched.found_within(1), searched.label, weights),
        "map_r": weighted_means(searched.average_precision, searched.label, weights),
    }
    if kind == "face":
        draws = (open_set(probes, templates, label, *half_enrolled(label, seed)) for seed in range(GALLERIES))
        found["open_set"] = 1 - np.mean([fnir_figures(searches, FPIR, weights) for searches in draws], axis=0)
    return found


def half_enrolled(labels: Labels, seed: int) -> tuple[Labels, Labels]:
    """(gallery, strangers): a picture of each class of half of those with two, and one of each of all others."""
    rng = np.random.default_rng([seed, 5])
    order = rng.permutation(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    able = rng.permutation(classes[counts > 1])
    enrolled = able[: max(1, len(able) // 2)]
    found, first = np.unique(labels[order], return_index=True)
    row = dict(zip(found.tolist(), order[first].tolist(), strict=True))
    return (
        np.array([row[int(c)] for c in enrolled], np.int64),
        np.array([row[int(c)] for c in np.setdiff1d(classes, enrolled)], np.int64),
    )
