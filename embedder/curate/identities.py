"""Judges labels by face vectors: who is in the wrong folder, which folder holds two people, who has two folders. Pure.

Every threshold is a rate of the model's calibration laid over the set's own people (lookalike/thresholds.py), so that
no similarity is chosen by hand. A folder's person is its largest group of pictures by average linkage; every picture
is compared with the mean of that group without itself, and with those of all other folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedder.pipeline import unit_rows
from lookalike.calibration import Calibration
from lookalike.domain import Floats, Labels
from lookalike.errors import NotCalibratable
from lookalike.thresholds import MIN_SUBJECTS, recalibrate

GROUP_FMR = 0.05
"""Groups of a folder are parted where their mean similarity is one that so many strangers reach."""

OWN_FMR = 0.01
"""Below the similarity that so many strangers reach, a picture does not match its own folder."""

OTHER_FPIR = 0.01
"""A picture matches another folder above what so many strangers reach with any folder of the set."""

WRONG_FMR, WRONG_LEAD = 0.001, 0.15
"""Where another folder is matched better by this lead, the own one must be matched so surely to be believed."""

SPLIT_FMR, SPLIT_SHARE = 1e-4, 0.5
"""Two folders are one person's if this share of each one's pictures match the other's mean as one in 10,000 would."""

LARGEST_FOLDER = 3000
"""Folders beyond this are not parted into groups: average linkage takes memory by the square."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one picture. fault: mislabelled, mixed_identities or unlike_own; group: of its folder, 0 the largest.

    own, best: similarities with its own folder and with the nearest other one; other: that folder's number.
    """

    at: int
    fault: str
    own: float
    best: float
    other: int
    group: int


@dataclass(frozen=True, slots=True)
class Split:
    """Two folders of one person, by number. share: of the less matching folder's pictures that match the other."""

    first: int
    second: int
    share: float
    similarity: float


@dataclass(frozen=True, slots=True, repr=False)
class People:
    """vectors: (N, D) unit; label: (N,) folder numbers 0 to F - 1, all of which occur; group: (N,); means: (F, D)."""

    vectors: Floats
    label: Labels
    group: Labels
    means: Floats

    def __repr__(self) -> str:
        return f"People({len(self.label)} pictures, {len(self.means)} folders)"


def calibrated(model: Calibration, vectors: Floats, names: Sequence[str]) -> Calibration:
    """The model's calibration laid over this set's people, where there are enough of them."""
    if len(set(names)) < MIN_SUBJECTS:
        return model
    try:
        return recalibrate(model, vectors, list(names)).calibration
    except NotCalibratable:
        return model


def gather(vectors: Floats, label: Labels, calibration: Calibration) -> People:
    """Part every folder into groups and take the mean of the largest."""
    cut = calibration.threshold_for_fmr(GROUP_FMR).similarity
    group = np.zeros(len(label), np.int64)
    folders = int(label.max()) + 1
    means = np.zeros((folders, vectors.shape[1]), np.float32)
    order = np.argsort(label, kind="stable")
    bounds = np.searchsorted(label[order], np.arange(folders + 1))
    for folder in range(folders):
        rows = order[bounds[folder] : bounds[folder + 1]]
        group[rows] = groups_of(vectors[rows], cut)
        means[folder] = vectors[rows[group[rows] == 0]].mean(axis=0)
    return People(vectors, label, group, unit_rows(means))


def groups_of(vectors: Floats, cut: float) -> Labels:
    """(N,): 0 for the largest group, 1 for the next, by average linkage of cosine similarity down to `cut`."""
    if not 1 < len(vectors) <= LARGEST_FOLDER:
        return np.zeros(len(vectors), np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distance = np.clip(1.0 - vectors @ vectors.T, 0.0, 2.0).astype(np.float64)
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    found = fcluster(tree, 1.0 - cut, "distance")
    names, first, counts = np.unique(found, return_index=True, return_counts=True)
    by_size = names[np.lexsort((first, -counts))]
    place = {int(name): number for number, name in enumerate(by_size)}
    return np.array([place[int(name)] for name in found], np.int64)


def own_similarity(people: People) -> Floats:
    """(N,): each picture with the mean of its folder's largest group without itself; NaN where nothing is left."""
    sums = np.zeros_like(people.means)
    main = people.group == 0
    np.add.at(sums, people.label[main], people.vectors[main])
    rest = sums[people.label] - np.where(main, 1.0, 0.0)[:, None].astype(np.float32) * people.vectors
    left = np.bincount(people.label[main], minlength=len(people.means))[people.label] - main
    scores = (people.vectors * unit_rows(rest)).sum(axis=1)
    return np.asarray(np.where(left > 0, scores, np.nan), np.float32)


def nearest_other(people: People, rows: int = 1024) -> tuple[Floats, Labels]:
    """(N,) similarity with the nearest other folder's mean, and its number; -1 each where there is none."""
    best = np.full(len(people.label), -1.0, np.float32)
    whose = np.full(len(people.label), -1, np.int64)
    if len(people.means) < 2:
        return best, whose
    for start in range(0, len(best), rows):
        part = slice(start, start + rows)
        scores = people.vectors[part] @ people.means.T
        scores[np.arange(len(scores)), people.label[part]] = -2.0
        whose[part] = scores.argmax(axis=1)
        best[part] = scores.max(axis=1)
    return best, whose


def judge(people: People, calibration: Calibration, splits: Sequence[Split]) -> list[Verdict]:
    """A verdict on every picture that is not where it belongs. splits: folders between which nobody is moved."""
    own, (best, whose) = own_similarity(people), nearest_other(people)
    matches_other = calibration.threshold(OTHER_FPIR, max(len(people.means) - 1, 1)).similarity
    unlike = calibration.threshold_for_fmr(OWN_FMR).similarity
    doubtful = calibration.threshold_for_fmr(WRONG_FMR).similarity
    one_person = {(each.first, each.second) for each in splits} | {(each.second, each.first) for each in splits}
    sizes = _group_sizes(people)
    found = []
    for at in np.flatnonzero(~np.isnan(own) & (own < doubtful)):
        label, other, group = int(people.label[at]), int(whose[at]), int(people.group[at])
        elsewhere = best[at] >= matches_other and best[at] - own[at] >= WRONG_LEAD and (label, other) not in one_person
        if elsewhere:
            fault = "mislabelled"
        elif own[at] >= unlike:
            continue
        elif group > 0 and sizes[label, group] > 1:
            fault = "mixed_identities"
        else:
            fault = "unlike_own"
        found.append(Verdict(int(at), fault, float(own[at]), float(best[at]), other, group))
    return found


def find_splits(people: People, calibration: Calibration) -> list[Split]:
    """Pairs of folders that hold one person, the smaller folder first."""
    return [s for s in cross_matches(people, people, calibration) if _smaller_first(people, s)]


def cross_matches(here: People, there: People, calibration: Calibration) -> list[Split]:
    """Folders of one set and of another (or the same) whose largest groups match each other's means both ways."""
    wanted = calibration.threshold_for_fmr(SPLIT_FMR).similarity
    onward = _match_shares(here, there.means, wanted)
    backward = _match_shares(there, here.means, wanted).T
    both = np.minimum(onward, backward)
    if here is there:
        np.fill_diagonal(both, 0.0)
    pairs = np.argwhere(both >= SPLIT_SHARE)
    return [Split(int(a), int(b), float(both[a, b]), float(here.means[a] @ there.means[b])) for a, b in pairs]


def _match_shares(people: People, means: Floats, wanted: float) -> Floats:
    """(F, G): the share of each folder's largest group that reaches `wanted` with each mean."""
    shares = np.zeros((len(people.means), len(means)), np.float32)
    main = np.flatnonzero(people.group == 0)
    for start in range(0, len(main), 1024):
        rows = main[start : start + 1024]
        np.add.at(shares, people.label[rows], (people.vectors[rows] @ means.T >= wanted).astype(np.float32))
    pictures = np.maximum(np.bincount(people.label[main], minlength=len(shares)), 1)
    return np.asarray(shares / pictures[:, None], np.float32)


def _smaller_first(people: People, pair: Split) -> bool:
    sizes = np.bincount(people.label, minlength=len(people.means))
    return (int(sizes[pair.first]), -pair.first) < (int(sizes[pair.second]), -pair.second)


def _group_sizes(people: People) -> Labels:
    """(F, G): how many pictures are in each group of each folder."""
    sizes = np.zeros((len(people.means), int(people.group.max()) + 1), np.int64)
    np.add.at(sizes, (people.label, people.group), 1)
    return sizes
