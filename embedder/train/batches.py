"""Feeds a run with batches: picked, changed by chance, and ready before the network asks for them.

Everything that is drawn follows from the seed and the batch's number, so the order of workers changes nothing and a run
goes on after a kill exactly as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from embedder.preprocessing import Preprocessing
from embedder.train.augment import transforms
from embedder.train.config import TrainConfig
from embedder.train.network import EmbeddingNetwork
from embedder.train.onnx_export import compiled
from embedder.train.pictures import PictureSet
from embedder.train.sampling import PKBatches
from lookalike.domain import Labels, Pixels
from lookalike.errors import InvalidInput

CHUNK = 64
WORTH_COMPILING = 1 << 20
"""Numbers into the network, seven pictures of 224, from which on it pays to compile it for the service's runtime."""

MIRRORED = 1
"""The variant of `frozen_features` that is the picture's mirror image; always there, for a service may ask for it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """inputs: what the learning part of the network takes; labels: (N,); rows: (N,) of the picture set."""

    inputs: torch.Tensor
    labels: torch.Tensor
    rows: torch.Tensor


class Normalise:
    """uint8 (N, 3, S, S) RGB → what the network takes: `Preprocessing` for pictures that are squares already."""

    def __init__(self, prepare: Preprocessing, device: torch.device) -> None:
        self._mean = torch.tensor(prepare.mean, device=device)[:, None, None]
        self._scale = torch.tensor(prepare.scale, device=device)[:, None, None]
        self._flip = prepare.channels == "bgr"
        self._device = device

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        moved = pictures.to(self._device, non_blocking=True)
        ordered = moved.flip(1) if self._flip else moved
        # Channels last, which is a third faster on a processor, while there is a byte a value.
        return ordered.contiguous(memory_format=torch.channels_last).float().sub_(self._mean).mul_(self._scale)

    def squares(self, squares: Pixels) -> torch.Tensor:
        """(N, S, S, 3) uint8."""
        return self(torch.from_numpy(np.ascontiguousarray(squares.transpose(0, 3, 1, 2))))


class _Changed(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Item n is batch n: uint8 pictures, changed by chance, and their rows."""

    def __init__(self, pictures: PictureSet, config: TrainConfig) -> None:
        self._squares = pictures.squares
        optimiser = config.optimiser
        self._batches = PKBatches(pictures.labels, optimiser.classes, optimiser.pictures, config.seed)
        self._change = transforms(config.augment, pictures.squares.shape[1])
        self._seed = config.seed
        self._length = optimiser.steps * optimiser.accumulate

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = self._batches.rows(number)
        pictures = torch.from_numpy(np.ascontiguousarray(self._squares[rows].transpose(0, 3, 1, 2)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed * 1_000_003 + number)
            changed = torch.stack([self._change(picture) for picture in pictures])
        return changed, torch.from_numpy(rows)


def changed_pictures(pictures: PictureSet, config: TrainConfig, normalise: Normalise, first: int) -> Iterator[Batch]:
    """Batches from number `first` on, prepared by other processes while the network works."""
    workers = config.data.workers
    loader = DataLoader(
        _Changed(pictures, config),
        batch_size=None,
        sampler=range(first, config.optimiser.steps * config.optimiser.accumulate),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
    )
    labels = torch.from_numpy(pictures.labels)
    for changed, rows in loader:
        yield Batch(normalise(changed), labels[rows], rows)


def cached_features(features: torch.Tensor, labels: Labels, config: TrainConfig, first: int) -> Iterator[Batch]:
    """The same from what the frozen stages gave once. features: (V, N, …), see `frozen_features`."""
    optimiser = config.optimiser
    batches = PKBatches(labels, optimiser.classes, optimiser.pictures, config.seed)
    of_rows = torch.from_numpy(labels)
    seen = [v for v in range(len(features)) if v != MIRRORED or config.augment.flip]
    for number in range(first, optimiser.steps * optimiser.accumulate):
        rows = torch.from_numpy(batches.rows(number))
        rng = np.random.default_rng([config.seed, 4, number])
        variant = torch.from_numpy(rng.choice(seen, size=len(rows)))
        yield Batch(_spread(features[variant, rows]), of_rows[rows], rows)


@torch.inference_mode()
def frozen_features(
    below: Callable[[torch.Tensor], torch.Tensor],
    pictures: PictureSet,
    normalise: Normalise,
    config: TrainConfig,
    variants: int,
    on_progress: Callable[[int, int], None],
) -> torch.Tensor:
    """(V, N, …) bfloat16 on the processor: what the frozen stages give, of pictures upright, mirrored, and changed.

    below: the frozen stages.
    """
    change = transforms(config.augment, pictures.squares.shape[1])
    found: torch.Tensor | None = None
    for start in range(0, len(pictures), CHUNK):
        end = min(start + CHUNK, len(pictures))
        chunk = torch.from_numpy(np.ascontiguousarray(pictures.squares[start:end].transpose(0, 3, 1, 2)))
        for variant in range(variants):
            torch.manual_seed(config.seed * 999_983 + start * 64 + variant)
            changed = (chunk, chunk.flip(3))[variant] if variant < 2 else torch.stack([change(one) for one in chunk])
            given = below(normalise(changed)).to(torch.bfloat16).cpu()
            if found is None:
                found = torch.empty((variants, len(pictures), *given.shape[1:]), dtype=torch.bfloat16)
            found[variant, start:end] = given
        on_progress(end, len(pictures))
    if found is None:
        raise InvalidInput("there are no pictures to compute the frozen stages of")
    return found


@torch.inference_mode()
def embed_pictures(
    network: EmbeddingNetwork,
    pictures: PictureSet,
    normalise: Normalise,
    features: torch.Tensor | None = None,
    *,
    mirrored: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of a whole set, upright and mirrored: (N, D) float32 each, on the processor.

    features: of `frozen_features`, which spare the frozen stages; without `mirrored` both are the upright ones.
    On a processor the service's own runtime computes them, unless they are so few that preparing it takes longer.
    """
    if not len(pictures):
        empty = torch.zeros(0, network.dimension)
        return empty, empty
    was, part = network.training, network if features is None else network.top
    network.eval()
    shape = (3, *pictures.squares.shape[1:3]) if features is None else tuple(features.shape[2:])
    device = next(network.parameters()).device
    numbers = len(pictures) * math.prod(shape) * (2 if mirrored else 1)
    quick = compiled(part, shape) if device.type == "cpu" and numbers >= WORTH_COMPILING else None
    found: list[list[torch.Tensor]] = [[], []]
    for start in range(0, len(pictures), CHUNK):
        chunk = slice(start, start + CHUNK)
        for side in range(2 if mirrored else 1):
            if features is not None:
                inputs = features[side, chunk].float().to(device)
            else:
                squares = pictures.squares[chunk]
                inputs = normalise.squares(squares[:, :, ::-1] if side else squares)
            raw = part(inputs) if quick is None else torch.from_numpy(quick(inputs.contiguous().numpy()))
            found[side].append(torch.nn.functional.normalize(raw.float()).cpu())
    network.train(was)
    vectors = [torch.cat(side) if side else torch.cat(found[0]) for side in found]
    return vectors[0], vectors[1]


def _spread(features: torch.Tensor) -> torch.Tensor:
    """As the learning stages take them."""
    wide = features.float()
    return wide.contiguous(memory_format=torch.channels_last) if wide.ndim == 4 else wide


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
