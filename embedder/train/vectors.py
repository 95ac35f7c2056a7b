"""Vectors of a run's two sides as a service would make them, before and after training, with each cheap finish beside.

What costs no training stands in the same table: the starting network as it is, mirrored and centred, and whitened. A
trained network that does not beat the best of them is not better for having been trained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from embedder.train.batches import embed_pictures
from embedder.train.config import Output
from embedder.train.finishing import Finish, learn_finish
from embedder.train.network import EmbeddingNetwork, open_network
from embedder.train.pictures import PictureSet
from embedder.train.recipe import Run
from lookalike.domain import Floats, Labels

WHITENED = 256
"""Dimensions that the whitened baseline keeps at most."""


@dataclass(frozen=True, slots=True, repr=False)
class Sides:
    """Unit vectors of pictures upright and mirrored: (N, D) each, of the training and the held-out side."""

    training: tuple[Floats, Floats]
    held_out: tuple[Floats, Floats]


@dataclass(frozen=True, slots=True, repr=False)
class Embedded:
    """A run's pictures by the starting network, which is kept for joining, and by the trained one."""

    start: EmbeddingNetwork
    before: Sides
    after: Sides


@dataclass(frozen=True, slots=True, repr=False)
class Way:
    """A way of making vectors, on the held-out classes. probes, templates: (N, D) unit; name: in words."""

    name: str
    probes: Floats
    templates: Floats


@dataclass(frozen=True, slots=True)
class Compared:
    """Ways side by side. trained: what is exported; baselines: what costs no training; labels: of the held-out side.

    start, finishes: what the export is made of.
    """

    trained: Way
    baselines: tuple[Way, ...]
    labels: Labels
    start: EmbeddingNetwork
    start_finish: Finish
    finish: Finish


def embed_sides(run: Run) -> Embedded:
    """Both sides' pictures, upright and mirrored, before training and after it."""
    start = _start(run)
    return Embedded(start, _sides(start, run), _sides(run.network, run))


def compare_ways(run: Run, embedded: Embedded, output: Output) -> Compared:
    """Finish what was embedded as `output` says, beside the ways that cost no training."""
    before, after = embedded.before, embedded.after
    labels = run.training.labels
    centred = _learned(before, labels, centred=True, whiten=0)
    whitened = _learned(before, labels, centred=True, whiten=min(WHITENED, len(labels) // 2))
    as_it_is, in_centre = _finished(before, Finish()), _finished(before, centred)
    baselines = (
        _way("start, as it is", *as_it_is, "never"),
        _way("start, mirrored at enrolment and centred", *in_centre, "enrolment"),
        _way("start, mirrored always and centred", *in_centre, "always"),
        _way("start, mirrored always, whitened", *_finished(before, whitened), "always"),
    )
    start_finish = _learned(before, labels, centred=output.centred, whiten=output.whiten)
    finish = _learned(after, labels, centred=output.centred, whiten=output.whiten)
    vectors, name = _finished(after, finish), "trained"
    if output.joined:
        others, name = _finished(before, start_finish), "start and trained, joined"
        upright, mirrored = (
            np.concatenate(both, axis=1) * np.float32(0.5**0.5) for both in zip(others, vectors, strict=True)
        )
        vectors = upright, mirrored
    trained = _way(name, *vectors, output.flip)
    return Compared(trained, baselines, run.held_out.labels, embedded.start, start_finish, finish)


def _start(run: Run) -> EmbeddingNetwork:
    """The network as it was before training, without a new head, which was drawn by chance."""
    network = open_network(replace(run.config.model, dimension=0, dropout=0.0), run.config.seed).network
    network.base_precision = run.network.base_precision
    network.to(run.device, memory_format=torch.channels_last)
    network.eval()
    return network


def _sides(network: EmbeddingNetwork, run: Run) -> Sides:
    def both(pictures: PictureSet, features: torch.Tensor | None) -> tuple[Floats, Floats]:
        upright, mirrored = embed_pictures(network, pictures, run.normalise, features)
        return upright.numpy(), mirrored.numpy()

    return Sides(both(run.training, run.features), both(run.held_out, run.held_features))


def _learned(sides: Sides, labels: Labels, *, centred: bool, whiten: int) -> Finish:
    """From the training side's pictures, upright and mirrored averaged."""
    upright, mirrored = sides.training
    return learn_finish(unit(upright + mirrored), labels, centred=centred, whiten=whiten)


def _finished(sides: Sides, finish: Finish) -> tuple[Floats, Floats]:
    """The held-out side's vectors, upright and mirrored, as the exported graph gives them."""
    return finish(sides.held_out[0]), finish(sides.held_out[1])


def _way(name: str, upright: Floats, mirrored: Floats, flip: str) -> Way:
    """As a service makes them of what the graph gives."""
    both = unit(upright + mirrored)
    return Way(name, both if flip == "always" else upright, upright if flip == "never" else both)


def unit(vectors: Floats) -> Floats:
    """Each row divided by its length."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def output_dimension(output: Output, dimension: int, finish: Finish) -> int:
    """Of the exported vectors. dimension: the network's own."""
    one = dimension if finish.matrix is None else len(finish.matrix)
    return one * (2 if output.joined else 1)
