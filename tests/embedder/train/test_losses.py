"""Each loss pulls pictures of a class together and pushes others away, and picks what its paper picks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.train.config import Loss  # noqa: E402
from embedder.train.losses import LOSSES, open_objective  # noqa: E402
from lookalike.errors import InvalidInput  # noqa: E402

pytestmark = pytest.mark.train

LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])


def embeddings(seed: int = 0, rows: int = 8, dimension: int = 6) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, dimension, generator=generator))


def squared(a: Any, b: Any) -> float:
    return float(((a - b) ** 2).sum().detach())


def slow_hard(vectors: Any, labels: Any, distance: Any, value: Any) -> float:
    """The mean over anchors that have a positive, of `value` of the farthest positive and nearest negative."""
    found = []
    for anchor in range(len(vectors)):
        same = [j for j in range(len(vectors)) if labels[j] == labels[anchor] and j != anchor]
        other = [j for j in range(len(vectors)) if labels[j] != labels[anchor]]
        if same and other:
            farthest = max(distance(vectors[anchor], vectors[j]) for j in same)
            nearest = min(distance(vectors[anchor], vectors[j]) for j in other)
            found.append(value(farthest, nearest))
    return float(np.mean(found))


@given(st.integers(0, 10**6), st.floats(0.01, 1.5))
@settings(deadline=None, max_examples=25)
def test_a_soft_margin_is_log_of_one_plus_exp_over_the_hardest_triplets(seed: int, margin: float) -> None:
    vectors = embeddings(seed)
    objective = open_objective(Loss("triplet-soft", margin), 3, 6)
    wanted = slow_hard(
        vectors, LABELS, lambda a, b: math.sqrt(squared(a, b)), lambda p, n: math.log1p(math.exp(p - n + margin))
    )
    assert float(objective.loss(vectors, LABELS)) == pytest.approx(wanted, rel=1e-4)


@given(st.integers(0, 10**6), st.floats(0.01, 1.5))
@settings(deadline=None, max_examples=25)
def test_batch_hard_takes_the_farthest_positive_and_the_nearest_negative(seed: int, margin: float) -> None:
    vectors = embeddings(seed)
    objective = open_objective(Loss("triplet-hard", margin), 3, 6)
    values: list[float] = []
    slow_hard(vectors, LABELS, squared, lambda p, n: values.append(max(0.0, p - n + margin)) or 0.0)
    above = [value for value in values if value > 1e-7]  # satisfied triplets do not count in the mean
    wanted = float(np.mean(above)) if above else 0.0
    assert float(objective.loss(vectors, LABELS)) == pytest.approx(wanted, rel=1e-3, abs=1e-5)


@given(st.integers(0, 10**6), st.floats(0.05, 1.0))
@settings(deadline=None, max_examples=25)
def test_semihard_takes_negatives_beyond_the_positive_and_within_the_margin(seed: int, margin: float) -> None:
    vectors = embeddings(seed)
    objective = open_objective(Loss("triplet-semihard", margin), 3, 6)
    found = []
    for a in range(8):
        for p in range(8):
            for n in range(8):
                if a != p and LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n]:
                    gap = squared(vectors[a], vectors[n]) - squared(vectors[a], vectors[p])
                    if 1e-6 < gap < margin - 1e-6:
                        found.append(margin - gap)
    wanted = float(np.mean(found)) if found else 0.0
    assert float(objective.loss(vectors, LABELS)) == pytest.approx(wanted, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "none"])
def test_following_a_loss_brings_a_class_together_and_parts_it_from_others(name: str) -> None:
    torch.manual_seed(0)
    objective = open_objective(Loss(name), 3, 6)
    points = embeddings().requires_grad_()
    before = _nearness(points.detach())
    # Class vectors drawn by chance learn faster than what is drawn to them, as in a run.
    groups = [{"params": [points], "lr": 0.02}, {"params": list(objective.parameters), "lr": 0.2}]
    optimiser = torch.optim.Adam([group for group in groups if group["params"]])
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = objective.loss(torch.nn.functional.normalize(points), LABELS)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    after = _nearness(torch.nn.functional.normalize(points.detach()))
    assert after[0] > before[0]  # cosine within classes
    assert after[1] < before[1]  # cosine between them
    assert losses[-1] < losses[0]


def _nearness(vectors: Any) -> tuple[float, float]:
    """Mean cosine within classes and between them."""
    same = LABELS[:, None] == LABELS[None, :]
    itself = torch.eye(len(LABELS), dtype=torch.bool)
    cosines = vectors @ vectors.T
    return float(cosines[same & ~itself].mean()), float(cosines[~same].mean())


@pytest.mark.parametrize("name", ["triplet-soft", "triplet-hard"])
def test_the_gradient_pulls_the_anchor_to_its_positive_and_from_its_negative(name: str) -> None:
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [0.6, 0.9], [0.8, -0.7]]))
    vectors.requires_grad_()
    open_objective(Loss(name, 0.5), 2, 2).loss(vectors, torch.tensor([0, 0, 1])).backward()
    step = vectors.detach() - 1e-3 * vectors.grad
    assert squared(step[0], step[1]) < squared(vectors[0], vectors[1])
    assert squared(step[0], step[2]) > squared(vectors[0], vectors[2])


def test_triplets_with_room_enough_ask_for_nothing() -> None:
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.01], [1.0, -0.01], [-1.0, 0.01], [-1.0, -0.01]]))
    for name in ("triplet-hard", "triplet-semihard"):
        assert float(open_objective(Loss(name, 0.2), 2, 2).loss(vectors, torch.tensor([0, 0, 1, 1]))) == 0
    soft = open_objective(Loss("triplet-soft", 0.2), 2, 2).loss(vectors, torch.tensor([0, 0, 1, 1]))
    assert float(soft) > 0  # a soft margin goes on pulling, ever less


@pytest.mark.parametrize("name", ["arcface", "proxy-anchor"])
def test_a_class_s_own_vector_learns_with_the_network(name: str) -> None:
    torch.manual_seed(0)
    objective = open_objective(Loss(name), 3, 6)
    (parameter,) = objective.parameters
    assert sorted(parameter.shape) == [3, 6]
    objective.loss(embeddings(), LABELS).backward()
    assert float(parameter.grad.abs().sum()) > 0


def test_arcface_without_a_margin_is_a_scaled_softmax_of_cosines() -> None:
    torch.manual_seed(0)
    vectors = embeddings()
    with_margin, without = (open_objective(Loss("arcface", margin, 16.0), 3, 6) for margin in (0.5, 1e-9))
    own = torch.nn.functional.normalize(without.parameters[0].detach(), dim=0)
    slow = 0.0
    for vector, label in zip(vectors, LABELS, strict=True):
        scores = [16 * float(vector @ own[:, c]) for c in range(3)]
        slow += math.log(sum(math.exp(s) for s in scores)) - scores[int(label)]
    with torch.no_grad():
        with_margin.parameters[0].copy_(without.parameters[0])
        plain = float(without.loss(vectors, LABELS))
        assert plain == pytest.approx(slow / len(vectors), rel=1e-3)
        assert float(with_margin.loss(vectors, LABELS)) > plain


@pytest.mark.parametrize("name", LOSSES)
def test_repeated_pictures_and_equal_vectors_give_numbers(name: str) -> None:
    vectors = torch.ones(8, 4, requires_grad=True)
    loss = open_objective(Loss(name), 3, 4).loss(torch.nn.functional.normalize(vectors), LABELS)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert torch.isfinite(vectors.grad).all()


def test_an_unknown_loss_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"loss.name: one of triplet-soft, triplet-hard"):
        open_objective(Loss("contrastive"), 3, 4)


def test_no_loss_leaves_everything_to_the_teacher() -> None:
    points = embeddings().requires_grad_()
    loss = open_objective(Loss("none"), 3, 6).loss(points, LABELS)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(points.grad.abs().max()) == 0.0
