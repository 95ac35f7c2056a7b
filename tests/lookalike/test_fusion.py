"""Several samples of a subject, one score."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.fusion import Fusion, fuse, scored_by, similarities, template, templates
from tests.lookalike.strangers import another_picture, people


def test_one_sample_scores_as_itself() -> None:
    a, b = people(2, seed=1)

    assert fuse(a, b[None]) == pytest.approx(float(a @ b), abs=1e-6)


def test_the_score_is_the_cosine_with_the_mean_direction() -> None:
    vectors = people(4, seed=2)
    query = people(1, seed=3)[0]
    mean = sum(vectors[i] for i in range(4)) / 4

    assert fuse(query, vectors) == pytest.approx(float(query @ mean) / float(np.sqrt(mean @ mean)), abs=1e-6)


def test_more_samples_of_a_person_resemble_a_further_one_more() -> None:
    person = people(200, seed=4)
    shots = np.stack([another_picture(person, seed, noise=0.9) for seed in range(6)], axis=1)

    one = [float(shots[i, 5] @ shots[i, 0]) for i in range(200)]
    five = [fuse(shots[i, 5], shots[i, :5]) for i in range(200)]

    assert np.mean(five) > np.mean(one) + 0.05


def test_every_owner_gets_one_template_of_unit_length() -> None:
    vectors = people(5, seed=5)

    found, names = templates(vectors, ["b", "a", "b", "c", "b"])

    assert names == ["b", "a", "c"]
    assert found[0] == pytest.approx(template(vectors[[0, 2, 4]]), abs=1e-6)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3), abs=1e-6)


def test_samples_that_cancel_out_match_nobody() -> None:
    vector = people(1, seed=6)[0]

    assert fuse(vector, np.stack([vector, -vector])) == 0.0
    assert not templates(np.stack([vector, -vector]), ["a", "a"])[0].any()


def test_a_thing_scores_as_its_best_sample() -> None:
    vectors, query = people(4, seed=7), people(1, seed=8)[0]

    assert fuse(query, vectors, Fusion.BEST) == pytest.approx(max(float(query @ v) for v in vectors), abs=1e-6)


@pytest.mark.parametrize("fusion", list(Fusion))
def test_many_subjects_score_at_once_as_they_do_one_by_one(fusion: Fusion) -> None:
    vectors, query = people(6, seed=9), people(1, seed=10)[0]
    owners = ["b", "a", "b", "c", "a", "b"]
    asked = ["c", "b"]

    found = similarities(query, *scored_by(vectors, owners, asked, fusion))

    own = {name: vectors[[i for i, owner in enumerate(owners) if owner == name]] for name in asked}
    assert found == pytest.approx([fuse(query, own[name], fusion) for name in asked], abs=1e-6)
