"""The few figures that steer a run, from vectors and labels; `lookalike evaluate` gives the whole table.

recall_1 and map_r: of retrieval, each picture asked among all others (Musgrave et al. 2020, arXiv:2003.08505).
tar_1e-3: pairs of one class accepted where one in a thousand pairs of two is. open_set: 1 - FNIR at FPIR 1 %, the mean
over galleries drawn by chance in which half of the classes are enrolled with one picture and the others are strangers.
"""

from __future__ import annotations

import numpy as np

from embedder.evaluate.identification import fnir_at, open_set
from embedder.evaluate.retrieval import retrieval
from embedder.evaluate.verification import curve_over_all_pairs
from lookalike.domain import Floats, Labels

GALLERIES = 12
MAIN = {"face": "open_set", "image": "map_r"}
"""What chooses the best moment and judges, unless a configuration's `select` chooses otherwise."""


def measures(probes: Floats, templates: Floats, labels: Labels, kind: str) -> dict[str, float]:
    """By name, each higher is better. probes, templates: (N, D) unit, the same pictures; labels: (N,)."""
    searched = retrieval(probes, labels)
    found = {"recall_1": searched.recall_at(1), "map_r": searched.map_at_r}
    if kind == "face":
        found["tar_1e-3"] = curve_over_all_pairs(probes, labels).tar_at(1e-3)
        draws = (open_set(probes, templates, labels, *half_enrolled(labels, seed)) for seed in range(GALLERIES))
        found["open_set"] = 1 - float(np.mean([fnir_at(searches, 0.01) for searches in draws]))
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
