"""Scores of a gallery: each sample against its subject without it, checked against a slow loop."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.fusion import Fusion
from lookalike.gallery_scores import MAX_SAMPLES, own_scores


def unit(rows: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("fusion", list(Fusion))
def test_each_sample_is_compared_with_its_subject_as_it_would_be_without_it(fusion: Fusion):
    owners = ["a", "b", "a", "c", "a", "c"]
    vectors = unit(len(owners), 1)
    expected = []
    for i, owner in enumerate(owners):
        others = [vectors[j] for j in range(len(owners)) if owners[j] == owner and j != i]
        if others:
            mean = np.sum(others, axis=0)
            centroid = float(vectors[i] @ (mean / np.linalg.norm(mean)))
            expected.append(centroid if fusion is Fusion.CENTROID else max(float(vectors[i] @ o) for o in others))
    scores, subjects = own_scores(vectors, owners, fusion)
    assert subjects == 2
    np.testing.assert_allclose(sorted(scores), sorted(expected), atol=1e-6)


def test_subjects_with_one_sample_have_no_score_of_their_own():
    scores, subjects = own_scores(unit(3, 2), ["a", "b", "c"], Fusion.CENTROID)
    assert (len(scores), subjects) == (0, 0)


def test_an_empty_gallery_has_none():
    scores, subjects = own_scores(np.zeros((0, 16), np.float32), [], Fusion.CENTROID)
    assert (len(scores), subjects) == (0, 0)


def test_a_subject_with_very_many_samples_does_not_speak_for_all():
    scores, subjects = own_scores(unit(52, 3), ["a"] * 50 + ["b"] * 2, Fusion.BEST)
    assert subjects == 2 and len(scores) == MAX_SAMPLES + 2
