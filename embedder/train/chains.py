"""A chain of convolutions as torch stages that can learn, and as named weights, and back from either.

The names are those under which a run keeps its weights: the stage's number, the module's, and the tensor's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from embedder.network_chain import Chain, Doubles
from lookalike.errors import BadModel


def chain_stages(chain: Chain) -> tuple[Any, ...]:
    """A chain of convolutions as torch modules: one stage for each pair of a depthwise and a dense one."""
    import torch

    class Scaled(torch.nn.Module):
        """Pixels shifted and scaled, as the network's first two nodes do."""

        def forward(self, pixels: Any) -> Any:
            return (pixels - chain.shift) * chain.factor

    class PReLU(torch.nn.Module):
        """x where it is positive, slope · x where it is not."""

        def __init__(self, slopes: Any) -> None:
            super().__init__()
            self.slopes = torch.nn.Parameter(torch.tensor(np.array(slopes), dtype=torch.float32)[:, None, None])

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.prelu(x, self.slopes.flatten().to(x.dtype))

    stages: list[list[Any]] = [[Scaled()]]
    for layer in chain.layers:
        if layer.depthwise:
            stages.append([])
        outputs, inputs = layer.weights.shape[:2]
        convolution = torch.nn.Conv2d(
            inputs * layer.groups, outputs, layer.weights.shape[2:], layer.strides, layer.pads[:2], groups=layer.groups
        )
        with torch.no_grad():
            convolution.weight.copy_(torch.from_numpy(layer.weights))
            convolution.bias.copy_(torch.from_numpy(layer.bias))
        stages[-1] += [convolution, PReLU(layer.slopes)]
    rows, channels, places = chain.matrix.shape
    matrix = torch.nn.Linear(channels * places, rows)
    with torch.no_grad():
        matrix.weight.copy_(torch.from_numpy(chain.matrix.reshape(rows, -1)))
        matrix.bias.copy_(torch.from_numpy(chain.offset))
    stages.append([torch.nn.Flatten(1), matrix])
    return tuple(torch.nn.Sequential(*stage) for stage in stages)


def chain_weights(chain: Chain) -> dict[str, Doubles]:
    """The chain's numbers by name, as `chain_stages` and a trained run have them."""
    found = {}
    for layer, (convolution, prelu) in zip(chain.layers, _places(chain), strict=True):
        found[f"{convolution}.weight"], found[f"{convolution}.bias"] = layer.weights, layer.bias
        found[f"{prelu}.slopes"] = layer.slopes[:, None, None]
    last = _last(chain)
    found[f"{last}.weight"], found[f"{last}.bias"] = chain.matrix.reshape(len(chain.matrix), -1), chain.offset
    return found


def chain_from_weights(chain: Chain, weights: Mapping[str, Any]) -> Chain:
    """The chain with these numbers in place of its own, also with fewer channels. Raises: BadModel."""
    try:
        numbers = {name: np.asarray(weights[name].float().numpy(), np.float64) for name in chain_weights(chain)}
    except KeyError as error:
        raise BadModel(f"the weights to start from do not fit the backbone: {error.args[0]} is missing") from error
    layers = []
    for layer, (convolution, prelu) in zip(chain.layers, _places(chain), strict=True):
        kernel, bias, slopes = (numbers[n] for n in (f"{convolution}.weight", f"{convolution}.bias", f"{prelu}.slopes"))
        groups = len(kernel) if layer.depthwise else layer.groups
        layers.append(replace(layer, weights=kernel, bias=bias, slopes=slopes.reshape(-1), groups=groups))
    last = _last(chain)
    rows, _, places = chain.matrix.shape
    matrix, offset = numbers[f"{last}.weight"], numbers[f"{last}.bias"]
    if (
        matrix.ndim != 2
        or matrix.shape[1] % places
        or not _fit(chain, layers, matrix.reshape(rows, -1, places), offset)
    ):
        raise BadModel("the weights to start from do not fit the backbone")
    return replace(chain, layers=tuple(layers), matrix=matrix.reshape(rows, -1, places), offset=offset)


def _fit(chain: Chain, layers: list[Any], matrix: Doubles, offset: Doubles) -> bool:
    """Whether each layer takes what the one before it gives."""
    channels = chain.size[0]
    for now, then in zip(layers, chain.layers, strict=True):
        takes = channels if not now.depthwise else 1
        shapes = (now.weights.shape[1:], now.bias.shape, now.slopes.shape)
        if shapes != ((takes, *then.weights.shape[2:]), (len(now.weights),), (len(now.weights),)):
            return False
        if now.depthwise and len(now.weights) != channels:
            return False
        channels = len(now.weights)
    return matrix.shape[1] == channels and offset.shape == chain.offset.shape


def _places(chain: Chain) -> Iterator[tuple[str, str]]:
    """The names of each layer's convolution and PReLU: the first stage begins with the scaling of pixels."""
    stage, module = 0, 1
    for layer in chain.layers:
        if layer.depthwise:
            stage, module = stage + 1, 0
        yield f"{stage}.{module}", f"{stage}.{module + 1}"
        module += 2


def _last(chain: Chain) -> str:
    return f"{1 + sum(layer.depthwise for layer in chain.layers)}.1"
