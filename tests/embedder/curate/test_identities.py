from __future__ import annotations

import numpy as np
import pytest

from embedder.curate.identities import find_splits, gather, groups_of, judge, nearest_other, own_similarity
from embedder.pipeline import unit_rows
from lookalike.calibration import Calibration

pytest.importorskip("scipy")


def around(rng: np.random.Generator, centre: np.ndarray, many: int) -> np.ndarray:
    """Unit vectors that are .75 or so like each other."""
    return unit_rows((centre + 0.05 * rng.normal(size=(many, len(centre)))).astype(np.float32))


@pytest.fixture
def centres() -> np.ndarray:
    return unit_rows(np.random.default_rng(1).normal(size=(30, 128)).astype(np.float32))


def test_own_similarity_leaves_the_picture_itself_out(centres: np.ndarray, calibration: Calibration) -> None:
    rng = np.random.default_rng(2)
    vectors = np.concatenate([around(rng, centre, 4) for centre in centres[:3]])
    label = np.repeat(np.arange(3), 4)

    people = gather(vectors, label, calibration)
    own = own_similarity(people)

    for at in range(len(vectors)):
        rest = [i for i in range(len(vectors)) if label[i] == label[at] and i != at]
        mean = vectors[rest].mean(axis=0)
        assert own[at] == pytest.approx(float(vectors[at] @ mean / np.linalg.norm(mean)), abs=1e-5)


def test_the_only_picture_of_a_folder_has_nothing_to_be_like(centres: np.ndarray, calibration: Calibration) -> None:
    people = gather(centres[:2], np.array([0, 1]), calibration)

    assert np.isnan(own_similarity(people)).all()
    assert judge(people, calibration, []) == []


def test_the_nearest_other_folder_is_found_in_parts_as_at_once(centres: np.ndarray, calibration: Calibration) -> None:
    rng = np.random.default_rng(3)
    people = gather(np.concatenate([around(rng, c, 3) for c in centres]), np.repeat(np.arange(30), 3), calibration)

    parts, whole = nearest_other(people, rows=7), nearest_other(people)

    assert np.allclose(parts[0], whole[0]) and (parts[1] == whole[1]).all()
    assert (whole[1] != people.label).all()


def test_groups_are_numbered_by_size(centres: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    vectors = np.concatenate([around(rng, centres[0], 2), around(rng, centres[1], 5), around(rng, centres[2], 1)])

    assert groups_of(vectors, 0.2).tolist() == [1, 1, 0, 0, 0, 0, 0, 2]


def test_each_wrong_label_gets_its_own_word(centres: np.ndarray, calibration: Calibration) -> None:
    rng = np.random.default_rng(5)
    folders = [around(rng, centre, 6) for centre in centres[:10]]
    folders[1] = np.concatenate([folders[1], around(rng, centres[0], 1)])
    folders[2] = np.concatenate([folders[2], around(rng, centres[20], 3)])
    folders[3] = np.concatenate([folders[3], around(rng, centres[21], 1)])
    label = np.concatenate([np.full(len(folder), number) for number, folder in enumerate(folders)])

    people = gather(np.concatenate(folders), label, calibration)
    found = judge(people, calibration, find_splits(people, calibration))

    assert [(int(label[v.at]), v.fault) for v in found] == [
        (1, "mislabelled"),
        (2, "mixed_identities"),
        (2, "mixed_identities"),
        (2, "mixed_identities"),
        (3, "unlike_own"),
    ]
    assert found[0].other == 0


def test_two_folders_of_one_person_are_named_the_smaller_first(centres: np.ndarray, calibration: Calibration) -> None:
    rng = np.random.default_rng(6)
    folders = [around(rng, centres[0], 6), around(rng, centres[1], 6), around(rng, centres[0], 3)]
    label = np.repeat([0, 1, 2], [6, 6, 3])

    (split,) = find_splits(gather(np.concatenate(folders), label, calibration), calibration)

    assert (split.first, split.second) == (2, 0)
