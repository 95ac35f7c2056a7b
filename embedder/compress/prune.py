"""Takes channels out of a chain of convolutions and lets the layer behind make up for them: no gradient, minutes.

The output channels of a dense convolution run through a PReLU and a depthwise convolution into the next dense one. That
one is fitted anew, by least squares on real activations, to give what it gave in the whole network; the channel whose
loss then costs least goes first. Both follow from the inverse of one Gram matrix: removing channel c raises the squared
error by |w_c|² / (G⁻¹)_cc, and moves the other weights by -w_c · (G⁻¹)_c,: / (G⁻¹)_cc (Hassibi and Stork 1993, Optimal
Brain Surgeon; Frantar and Alistarh 2022, arXiv:2208.11580). Layers are done from the input on, each on what
the layers before it give by now, so that errors are mended and not passed on. Last, the matrix is fitted to the whole
network's own vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from embedder.network_chain import Chain, Doubles, Layer
from embedder.quantise import Range
from lookalike.domain import Floats, Labels, Pixels

RIDGE = 1e-4
"""Added to the Gram matrix's diagonal, as a share of its mean."""

PLACES = 48
"""Places of each picture's feature map that the least squares see."""

MULTIPLE = 16
"""Channels are kept in such numbers: kernels work on that many at once, and fewer would be no faster."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Step:
    """What was done to one layer's outputs. error: of the next layer, relative to its outputs' variance."""

    layer: str
    channels: int
    kept: int
    error: float


@torch.no_grad()
def prune(
    chain: Chain, crops: Pixels, tolerance: float, on_progress: Progress | None = None
) -> tuple[Chain, list[Step]]:
    """Drop channels of every dense layer but the last while the next layer's relative error stays below `tolerance`.

    crops: (N, 112, 112, 3) uint8 RGB, a few hundred.
    """
    layers = list(chain.layers)
    whole = now = _pixels(chain, crops)
    steps: list[Step] = []
    rng = np.random.default_rng(1)
    for k, original in enumerate(chain.layers):
        whole, before = _outputs(original, whole)
        now, _ = _outputs(layers[k], now) if original.depthwise or k == 0 else (now, None)
        if on_progress is not None:
            on_progress(k + 1, len(layers))
        if original.depthwise or k == 0:
            continue
        # `now` still is what goes into this dense layer; `before` what it gave before its PReLU in the whole network.
        inputs, wanted = _sampled(now, before, rng)
        weights, bias, kept, error = _fitted(layers[k], inputs, wanted, tolerance)
        layers[k - 2], layers[k - 1] = _narrowed(layers[k - 2], kept), _narrowed_depthwise(layers[k - 1], kept)
        steps.append(Step(layers[k - 2].name, len(inputs[0]), len(kept), error))
        layers[k] = replace(layers[k], weights=weights[:, kept, None, None], bias=bias)
        now, _ = _outputs(layers[k], now[:, torch.from_numpy(kept)])
    return replace(chain, layers=tuple(layers)), steps


def refit_matrix(chain: Chain, crops: Pixels, vectors: Floats, ridge: float = 1e-3) -> Chain:
    """The same chain with a last matrix that gives the whole network's vectors as nearly as it can.

    crops: (N, 112, 112, 3) uint8; vectors: (N, D) raw outputs wanted. What the pictures do not decide stays as it was.
    """
    features = last_features(chain, crops)
    flat = chain.matrix.reshape(len(chain.matrix), -1)
    missing = vectors - (features @ flat.T.astype(np.float32) + chain.offset.astype(np.float32))
    gram = (features @ features.T).astype(np.float64)
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    move = np.linalg.solve(gram, missing.astype(np.float64)).T.astype(np.float32) @ features
    return replace(chain, matrix=(flat + move).reshape(chain.matrix.shape))


@torch.no_grad()
def last_features(chain: Chain, crops: Pixels, chunk: int = 64) -> Floats:
    """What goes into the last matrix, flattened. -> (N, C · P) float32"""
    found = []
    for start in range(0, len(crops), chunk):
        now = _pixels(chain, crops[start : start + chunk])
        for layer in chain.layers:
            now, _ = _outputs(layer, now)
        found.append(now.flatten(1).numpy())
    return np.concatenate(found)


@torch.no_grad()
def learn_chain_ranges(chain: Chain, crops: Pixels, quantile: float = 0.99) -> dict[str, Range]:
    """The range of each channel behind each PReLU, as `embedder.learn_ranges` learns those of the whole SFace."""
    now, ranges = _pixels(chain, crops), {}
    for layer in chain.layers:
        now, _ = _outputs(layer, now)
        low, high = now.amin(dim=(2, 3)).numpy(), now.amax(dim=(2, 3)).numpy()
        ranges[layer.name] = Range(
            np.minimum(np.quantile(low, 1 - quantile, axis=0), 0).astype(np.float64),
            np.maximum(np.quantile(high, quantile, axis=0), 0).astype(np.float64),
        )
    return ranges


def multiplications(chain: Chain) -> int:
    """Of one picture."""
    side, total = chain.size[-1], chain.matrix.size
    for layer in chain.layers:
        side = -(-side // layer.strides[0])
        total += layer.weights.size * side * side
    return int(total)


def _fitted(layer: Layer, inputs: Doubles, wanted: Doubles, tolerance: float) -> tuple[Doubles, Doubles, Labels, float]:
    """(weights (O, C), bias, kept channels, relative error): least squares, then channels out one by one."""
    mean_in, mean_out = inputs.mean(axis=0), wanted.mean(axis=0)
    x, y = inputs - mean_in, wanted - mean_out
    gram = x.T @ x / len(x)
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    inverse = np.linalg.inv(gram)
    weights = (inverse @ (x.T @ y / len(x))).T
    scale = float((y**2).mean(axis=0).sum())
    error = float(((y - x @ weights.T) ** 2).mean(axis=0).sum())
    alive = np.ones(len(gram), bool)
    removed: list[int] = []
    while alive.sum() > MULTIPLE:
        diagonal = np.where(alive, np.diag(inverse), 1.0)
        costs = np.where(alive, (weights**2).sum(axis=0) / diagonal, np.inf)
        c = int(costs.argmin())
        if (error + costs[c]) / scale > tolerance:
            break
        error += float(costs[c])
        weights = weights - np.outer(weights[:, c], inverse[c]) / inverse[c, c]
        inverse = inverse - np.outer(inverse[:, c], inverse[c]) / inverse[c, c]
        alive[c] = False
        removed.append(c)
    spare = -int(alive.sum()) % MULTIPLE
    alive[removed[len(removed) - spare :]] = True  # the last ones come back until the number suits the kernels
    kept = np.flatnonzero(alive)
    sub = np.linalg.solve(gram[np.ix_(kept, kept)], (x[:, kept].T @ y) / len(x)).T
    error = float(((y - x[:, kept] @ sub.T) ** 2).mean(axis=0).sum())
    full = np.zeros((len(layer.weights), len(gram)))
    full[:, kept] = sub
    return full, mean_out - full @ mean_in, kept, error / scale


def _sampled(now: torch.Tensor, before: torch.Tensor, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Inputs and wanted outputs at the same places, drawn by chance. -> (M, C), (M, O)"""
    places = now.shape[2] * now.shape[3]
    drawn = torch.from_numpy(rng.permutation(places)[: min(PLACES, places)])
    inputs, wanted = (t.flatten(2)[:, :, drawn].permute(0, 2, 1).reshape(-1, t.shape[1]) for t in (now, before))
    return inputs.numpy().astype(np.float64), wanted.numpy().astype(np.float64)


def _narrowed(layer: Layer, kept: Labels) -> Layer:
    """Only these output channels."""
    return replace(layer, weights=layer.weights[kept], bias=layer.bias[kept], slopes=layer.slopes[kept])


def _narrowed_depthwise(layer: Layer, kept: Labels) -> Layer:
    return replace(_narrowed(layer, kept), groups=len(kept))


def _pixels(chain: Chain, crops: Pixels) -> torch.Tensor:
    pictures = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2))).float()
    return (pictures - chain.shift) * chain.factor


def _outputs(layer: Layer, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Behind the PReLU and before it."""
    weights, bias, slopes = (
        torch.from_numpy(np.array(v, np.float32)) for v in (layer.weights, layer.bias, layer.slopes)
    )
    before = torch.nn.functional.conv2d(inputs, weights, bias, layer.strides, layer.pads[:2], groups=layer.groups)
    return torch.nn.functional.prelu(before, slopes), before
