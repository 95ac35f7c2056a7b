"""The network that is trained: frozen stages below, learning stages above, a head where one is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from embedder.train.backbones import Backbone, open_backbone
from embedder.train.config import Model, Optimiser
from lookalike.errors import InvalidInput


class EmbeddingNetwork(torch.nn.Module):
    """base: the frozen stages; top: those that learn, with the head. (N, 3, side, side) → (N, D) of any length."""

    def __init__(self, backbone: Backbone, model: Model) -> None:
        super().__init__()
        if model.freeze >= len(backbone.stages) + bool(model.dimension):
            raise InvalidInput(f"model.freeze: {backbone.name} has {len(backbone.stages)} stages, and one must learn")
        self.base = torch.nn.Sequential(*backbone.stages[: model.freeze])
        learning = list(backbone.stages[model.freeze :])
        with torch.no_grad():
            empty = torch.zeros(1, 3, backbone.prepare.side, backbone.prepare.side)
            features = torch.nn.Sequential(*backbone.stages).eval()(empty).shape[1]
        self.head = bool(model.dimension)
        if model.dropout:
            learning.append(torch.nn.Dropout(model.dropout))
        if model.dimension:
            learning.append(torch.nn.Linear(features, model.dimension))
        self.top = torch.nn.Sequential(*learning)
        if not any(True for _ in self.top.parameters()):
            raise InvalidInput(f"model.freeze: nothing of {backbone.name} is left to learn; freeze fewer stages")
        self.dimension = model.dimension or features
        self._norms_learn = model.norms
        self.base_precision = torch.float32
        for parameter in self.base.parameters():
            parameter.requires_grad_(False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        raw: torch.Tensor = self.top(self.below(pixels))
        return raw

    def below(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the frozen stages give. (N, 3, side, side) → (N, …) float32."""
        # A traced graph states no precision: the runtime that it is made for chooses its own.
        reduced = self.base_precision is not torch.float32 and not torch.jit.is_tracing()
        with torch.no_grad(), torch.autocast(pixels.device.type, self.base_precision, enabled=reduced):
            found: torch.Tensor = self.base(pixels)
        return found.float() if reduced else found

    def train(self, mode: bool = True) -> EmbeddingNetwork:
        """As torch has it, but what is frozen stays as it is, and so do batch normalisations unless they may learn."""
        super().train(mode)
        self.base.eval()
        if not self._norms_learn:
            for module in self.top.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def groups(self, optimiser: Optimiser) -> Iterator[dict[str, Any]]:
        """Parameters for the optimiser, bottom to top, each stage with its own rate; biases and norms do not decay."""
        stages = [stage for stage in self.top.children() if any(True for _ in stage.parameters())]
        for place, stage in enumerate(stages):
            rate = optimiser.rate * optimiser.depth_decay ** (len(stages) - 1 - place)
            if self.head and place == len(stages) - 1:
                rate = optimiser.head_rate or rate
            matrices = [p for p in stage.parameters() if p.requires_grad and p.ndim > 1]
            others = [p for p in stage.parameters() if p.requires_grad and p.ndim <= 1]
            for parameters, decay in ((matrices, optimiser.weight_decay), (others, 0.0)):
                if parameters:
                    yield {"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay}


@dataclass(frozen=True, slots=True)
class Opened:
    """A network to train, with the backbone that it came from."""

    network: EmbeddingNetwork
    backbone: Backbone


def open_network(model: Model, seed: int) -> Opened:
    """Raises: InvalidInput, ModelNotAvailable, BadModel."""
    torch.manual_seed(seed)
    backbone = open_backbone(model.backbone, model.weights, model.side)
    return Opened(EmbeddingNetwork(backbone, model), backbone)
