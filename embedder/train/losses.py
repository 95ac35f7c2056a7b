"""Losses over a batch's embeddings, by name: triplet losses first, others of pytorch-metric-learning beside them.

A triplet loss is a miner, which picks triplets of the batch, and a distance: here squared Euclidean distance of unit
vectors, which is 2 - 2 · cosine, except for soft margins, which take the distance itself as Hermans et al. do.

| name | picks | source |
|---|---|---|
| triplet-hard | for each anchor its farthest positive and nearest negative | Hermans et al. 2017, arXiv:1703.07737 |
| triplet-soft | the same, with log(1 + exp(…)) in the margin's place | the same |
| triplet-semihard | negatives beyond the positive and within the margin | Schroff et al. 2015, arXiv:1503.03832 |
| multi-similarity | pairs weighed by how hard they are | Wang et al. 2019, arXiv:1904.06627 |
| arcface | an angle's margin to each training class's own vector | Deng et al. 2019, arXiv:1801.07698 |
| proxy-anchor | each training class's own vector as an anchor | Kim et al. 2020, arXiv:2003.13911 |
| none | nothing: a teacher alone is followed (embedder/train/teacher.py) | |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embedder.train.config import Loss
from lookalike.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Objective:
    """loss(embeddings (N, D), labels (N,)) → a scalar; parameters: what it learns itself, such as class vectors."""

    loss: Callable[[Any, Any], Any]
    parameters: tuple[Any, ...] = ()


def open_objective(loss: Loss, classes: int, dimension: int) -> Objective:
    """By `loss.name`. classes: of the training side. Raises: InvalidInput."""
    if loss.name not in LOSSES:
        raise InvalidInput(f"loss.name: one of {', '.join(LOSSES)}")
    return LOSSES[loss.name](loss, classes, dimension)


def _triplet_hard(loss: Loss, classes: int, dimension: int) -> Objective:
    from pytorch_metric_learning import distances, losses, miners

    squared = distances.LpDistance(power=2)
    return _mined(losses.TripletMarginLoss(loss.margin, distance=squared), miners.BatchHardMiner(distance=squared))


def _triplet_soft(loss: Loss, classes: int, dimension: int) -> Objective:
    from pytorch_metric_learning import losses, miners, reducers

    # A soft margin has no zero, so every triplet counts; the margin is how far apart it starts to be content.
    every = losses.TripletMarginLoss(loss.margin, smooth_loss=True, reducer=reducers.MeanReducer())
    return _mined(every, miners.BatchHardMiner())


def _triplet_semihard(loss: Loss, classes: int, dimension: int) -> Objective:
    from pytorch_metric_learning import distances, losses, miners

    squared = distances.LpDistance(power=2)
    picks = miners.TripletMarginMiner(loss.margin, type_of_triplets="semihard", distance=squared)
    return _mined(losses.TripletMarginLoss(loss.margin, distance=squared), picks)


def _multi_similarity(loss: Loss, classes: int, dimension: int) -> Objective:
    from pytorch_metric_learning import losses, miners

    return _mined(losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner())


def _arcface(loss: Loss, classes: int, dimension: int) -> Objective:
    from pytorch_metric_learning import losses

    made = losses.ArcFaceLoss(classes, dimension, margin=57.3 * (loss.margin or 0.5), scale=loss.scale or 64)
    return Objective(made, tuple(made.parameters()))


def _proxy_anchor(loss: Loss, classes: int, dimension: int) -> Objective:
    from pytorch_metric_learning import losses

    made = losses.ProxyAnchorLoss(classes, dimension, margin=loss.margin or 0.1, alpha=loss.scale or 32)
    return Objective(made, tuple(made.parameters()))


def _none(loss: Loss, classes: int, dimension: int) -> Objective:
    return Objective(lambda embeddings, labels: embeddings.sum() * 0)


def _mined(loss: Any, miner: Any) -> Objective:
    return Objective(lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels)))


LOSSES: dict[str, Callable[[Loss, int, int], Objective]] = {
    "triplet-soft": _triplet_soft,
    "triplet-hard": _triplet_hard,
    "triplet-semihard": _triplet_semihard,
    "multi-similarity": _multi_similarity,
    "arcface": _arcface,
    "proxy-anchor": _proxy_anchor,
    "none": _none,
}
