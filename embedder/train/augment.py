"""How training pictures are changed by chance: torchvision's v2 transforms, each behind its own switch.

All work on uint8 RGB squares, one picture at a time, so that each gets its own draw. MixUp and CutMix work on whole
batches of the network's input: a mixture of pictures i and j counts with weight λ as i's class and 1 - λ as j's, and
the loss is the sum of both so weighted. Under a triplet loss that asks a mixture to lie nearer to both its classes
than to others, as far as it shows them (Venkataramanan et al. 2022, https://arxiv.org/abs/2106.04990); the hardest
triplets are then often mixtures, which is why both are off by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedder.train.config import Augment

LOW_SIDES = (0.2, 0.6)
"""A low-resolution picture keeps this share of its side."""

MASK_TOP, MASK_LEFT = 0.60, 0.12
"""A mask covers a 112×112 face crop below this height (the nose's tip lies at .64) and between these sides."""


def transforms(augment: Augment, side: int) -> Any:
    """What changes a uint8 tensor (3, side, side); an empty list of changes gives it back."""
    import torch
    from torchvision.transforms import v2

    smooth = v2.InterpolationMode.BILINEAR
    steps: list[Any] = []
    if augment.mask:  # first, while the face lies where it was aligned
        steps.append(v2.RandomApply([_Mask(side)], augment.mask))
    if augment.flip:
        steps.append(v2.RandomHorizontalFlip(augment.flip))
    if augment.crop:
        steps.append(v2.RandomResizedCrop(side, (augment.crop, 1.0), (0.8, 1.25), smooth, antialias=True))
    if augment.rotation:
        steps.append(v2.RandomRotation(augment.rotation, smooth))
    if augment.colour:
        strength = augment.colour
        steps.append(v2.ColorJitter(strength, strength, strength, min(0.5, strength / 8)))
    if augment.grey:
        steps.append(v2.RandomGrayscale(augment.grey))
    if augment.blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 2.0))], augment.blur))
    if augment.low_resolution:
        steps.append(v2.RandomApply([_LowResolution(side)], augment.low_resolution))
    if augment.jpeg:
        steps.append(v2.RandomApply([v2.JPEG((20, 80))], augment.jpeg))
    if augment.occlusion:
        steps.append(v2.RandomErasing(augment.occlusion, (0.05, 0.25), value=[127, 127, 127]))
    return v2.Compose(steps) if steps else torch.nn.Identity()


class _LowResolution:
    """As seen from far away: shrunk, then enlarged again."""

    def __init__(self, side: int) -> None:
        self._side = side

    def __call__(self, picture: Any) -> Any:
        import torch
        from torchvision.transforms.v2 import functional

        share = float(torch.empty(1).uniform_(*LOW_SIDES))
        small = max(8, round(self._side * share))
        return functional.resize(functional.resize(picture, [small, small]), [self._side, self._side])


class _Mask:
    """A surgical mask, roughly: one colour over nose and mouth of an aligned face."""

    def __init__(self, side: int) -> None:
        self._top, self._left = round(side * MASK_TOP), round(side * MASK_LEFT)

    def __call__(self, picture: Any) -> Any:
        import torch

        masked = picture.clone()
        colour = torch.randint(0, 256, (3, 1, 1), dtype=picture.dtype)
        masked[:, self._top :, self._left : picture.shape[2] - self._left] = colour
        return masked


@dataclass(frozen=True, slots=True)
class Mixture:
    """How a batch was mixed. other: (N,) the row each picture was mixed with; share: λ, of the picture itself."""

    other: Any
    share: float


def mix(batch: Any, augment: Augment, rng: np.random.Generator) -> tuple[Any, Mixture | None]:
    """(N, 3, H, W) float -> the same mixed by MixUp or CutMix, and how; None where neither is on."""
    import torch

    strength = augment.mixup or augment.cutmix
    if not strength:
        return batch, None
    share = float(rng.beta(strength, strength))
    other = torch.from_numpy(rng.permutation(len(batch)))
    if augment.mixup:
        return share * batch + (1 - share) * batch[other], Mixture(other, share)
    height, width = batch.shape[2:]
    tall, wide = round(height * np.sqrt(1 - share)), round(width * np.sqrt(1 - share))
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    mixed = batch.clone()
    mixed[:, :, top : top + tall, left : left + wide] = batch[other][:, :, top : top + tall, left : left + wide]
    return mixed, Mixture(other, 1 - tall * wide / (height * width))
