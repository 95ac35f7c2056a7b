"""What stands behind the network is the same slow arithmetic in numpy, in the exported graph, and joined."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.train.finishing import SHRINKAGE, Finish, FinishedNetwork, learn_finish  # noqa: E402
from lookalike.domain import Floats, Labels  # noqa: E402

pytestmark = pytest.mark.train


def clumps(dimension: int = 12, classes: int = 9, pictures: int = 8) -> tuple[Floats, Labels]:
    """Unit vectors of classes about a common mean, noisier in the first directions."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), pictures)
    noise = rng.normal(size=(len(labels), dimension)) * np.linspace(1.5, 0.1, dimension)
    points = 1 + rng.normal(size=(classes, dimension))[labels] + noise
    return unit(points), labels


def unit(points: Floats) -> Floats:
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def test_the_centre_is_the_mean_of_the_classes_means_and_is_taken_away() -> None:
    vectors, labels = clumps()
    vectors, labels = vectors[3:], labels[3:]  # a smaller class weighs as much as the others
    finish = learn_finish(vectors, labels, centred=True, whiten=0)
    centre = np.zeros(12)
    for label in range(9):
        centre += np.mean([v for v, c in zip(vectors, labels, strict=True) if c == label], axis=0) / 9
    assert np.allclose(finish.centre, centre, atol=1e-6)
    assert finish.matrix is None
    assert np.allclose(finish(vectors), unit(vectors - centre), atol=1e-6)


def test_whitening_makes_the_shrunk_spread_within_classes_the_same_in_every_direction() -> None:
    vectors, labels = clumps()
    finish = learn_finish(vectors, labels, centred=True, whiten=6)
    assert finish.matrix is not None
    assert finish.matrix.shape == (6, 12)
    centred = unit(vectors - finish.centre).astype(np.float64)
    # Slowly: principal directions, the covariance within classes along them, its mean variance mixed in.
    values, directions = np.linalg.eigh(np.cov(centred.T))
    kept = directions[:, np.argsort(-values)[:6]].T
    inside = np.zeros((6, 6))
    for label in range(9):
        members = [kept @ v for v, c in zip(centred, labels, strict=True) if c == label]
        for member in members:
            away = member - np.mean(members, axis=0)
            inside += np.outer(away, away) / len(labels)
    shrunk = (1 - SHRINKAGE) * inside + SHRINKAGE * np.trace(inside) / 6 * np.eye(6)
    whitened = finish.matrix @ kept.T @ shrunk @ kept @ finish.matrix.T.astype(np.float64)
    assert np.allclose(whitened, np.eye(6), atol=1e-3)
    assert np.allclose(np.linalg.norm(finish(vectors), axis=1), 1, atol=1e-5)


def test_whitening_of_noisy_directions_finds_more_of_a_class() -> None:
    vectors, labels = clumps(classes=30)
    plain, whitened = (learn_finish(vectors, labels, centred=True, whiten=n)(vectors) for n in (0, 12))
    assert _first_right(whitened, labels) > _first_right(plain, labels)


def _first_right(vectors: Floats, labels: Labels) -> float:
    scores = vectors @ vectors.T - 2 * np.eye(len(vectors))
    return float((labels[scores.argmax(axis=1)] == labels).mean())


def test_more_dimensions_than_there_are_pictures_are_not_made_up() -> None:
    vectors, labels = clumps(dimension=40, classes=3, pictures=4)
    finish = learn_finish(vectors, labels, centred=False, whiten=30)
    assert finish.centre is None
    assert finish.matrix is not None
    assert len(finish.matrix) <= 12
    assert np.isfinite(finish(vectors)).all()


def networks() -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2))
    return base, *(torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(20, 12)) for _ in range(2))


def raw(base: torch.nn.Module, top: torch.nn.Module, pixels: torch.Tensor) -> Floats:
    with torch.inference_mode():
        return unit(top(base(pixels)).numpy())


@pytest.mark.parametrize("whiten", [0, 5])
@pytest.mark.parametrize("centred", [False, True])
def test_the_graph_computes_what_numpy_computes(whiten: int, centred: bool) -> None:
    base, top, _ = networks()
    pixels = torch.rand(7, 3, 8, 8)
    finish = learn_finish(*clumps(), centred=centred, whiten=whiten)
    with torch.inference_mode():
        found = FinishedNetwork(base, [(top, finish)])(pixels).numpy()
    assert np.allclose(found, finish(raw(base, top, pixels)), atol=1e-5)


def test_joined_vectors_have_the_mean_of_both_cosines() -> None:
    base, first, second = networks()
    pixels = torch.rand(7, 3, 8, 8)
    one, other = Finish(), learn_finish(*clumps(), centred=True, whiten=5)
    with torch.inference_mode():
        joined = FinishedNetwork(base, [(first, one), (second, other)])(pixels).numpy()
    a, b = one(raw(base, first, pixels)), other(raw(base, second, pixels))
    assert joined.shape == (7, 12 + 5)
    assert np.allclose(joined @ joined.T, (a @ a.T + b @ b.T) / 2, atol=1e-5)


def test_a_vector_without_length_stays_without_one() -> None:
    assert np.array_equal(Finish(np.zeros(4, np.float32))(np.zeros((1, 4), np.float32)), np.zeros((1, 4)))
