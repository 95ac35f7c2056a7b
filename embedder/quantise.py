"""Makes SFace an int8 network from its float32 graph and the ranges that its activations take; bytes in, bytes out.

Weights are signed with one scale for each output channel, activations unsigned with one scale and zero point for a
layer, written as QuantizeLinear and DequantizeLinear pairs, which OpenVINO turns into int8 kernels and any other ONNX
runtime computes as they stand. Two things make that accurate and fast without training:

* Batch normalisations are folded first. One left between a convolution and its PReLU keeps the convolution in float.
* Channels are equalised (Nagel et al. 2019, https://arxiv.org/abs/1906.04721): PReLU commutes with a positive factor,
  so each channel may be scaled before a layer and back behind it. Before a depthwise convolution that is free, since
  its weights have a scale for each channel; before a dense one it trades against the weights, as in SmoothQuant
  (Xiao et al. 2023, https://arxiv.org/abs/2211.10438).

The first convolution stays float32: it reads pixels, costs 3 % of the time, and its input has no such range.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from embedder.network_chain import Chain, Doubles, Layer, read_chain
from lookalike.errors import BadModel

SMOOTHING = 0.7
"""How much of the difference between channels goes into a dense layer's weights; chosen in docs/adr/0009."""

SPREAD = 1e-4
"""The smallest factor of a channel, so that one which is always zero does not become noise."""


@dataclass(frozen=True, slots=True)
class Range:
    """The values that each channel takes behind a PReLU. low, high: (C,), low ≤ 0 ≤ high."""

    low: Doubles
    high: Doubles

    @property
    def reach(self) -> Doubles:
        return np.maximum(self.high, -self.low)

    def divided(self, factors: Doubles) -> Range:
        return Range(self.low / factors, self.high / factors)


def read_ranges(text: str) -> dict[str, Range]:
    """Layer name → range, from what `python -m embedder.learn_ranges` wrote. Raises: BadModel."""
    try:
        layers = json.loads(text)["layers"]
        ranges = {
            name: Range(np.array(layer["low"], np.float64), np.array(layer["high"], np.float64))
            for name, layer in layers.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModel("the file of activation ranges cannot be read") from error
    for name, found in ranges.items():
        finite = np.isfinite(found.low).all() and np.isfinite(found.high).all()
        if found.low.shape != found.high.shape or found.low.ndim != 1 or not finite:
            raise BadModel(f"the activation ranges of {name!r} are not pairs of finite numbers")
        if (found.low > 0).any() or (found.high < 0).any() or not found.reach.any():
            raise BadModel(f"the activation ranges of {name!r} do not span zero")
    return ranges


def quantise(model: bytes, ranges: Mapping[str, Range]) -> bytes:
    """The int8 form of a graph that is a chain of convolutions. Raises: BadModel if it is not; as `quantise_chain`."""
    return quantise_chain(read_chain(model), ranges)


def quantise_chain(chain: Chain, ranges: Mapping[str, Range]) -> bytes:
    """The int8 form of a chain of convolutions. ranges: for the name of every PReLU's output.

    Raises: BadModel if a range is missing or of another number of channels.
    """
    try:
        found = [ranges[layer.name] for layer in chain.layers]
    except KeyError as error:
        raise BadModel(f"no activation range for the layer {error.args[0]!r}") from error
    for layer, span in zip(chain.layers, found, strict=True):
        if span.low.shape != layer.bias.shape:
            raise BadModel(f"the activation range of {layer.name!r} has {span.low.size} channels")
    return _Writer().network(*equalise(chain, found))


def equalise(chain: Chain, ranges: list[Range]) -> tuple[Chain, list[Range]]:
    """The same function with channels scaled so that one step size suits all of a layer, and the ranges they have."""
    layers, matrix, scaled = list(chain.layers), chain.matrix, []
    for k, span in enumerate(ranges):
        following = layers[k + 1] if k + 1 < len(layers) else None
        factors = _channel_factors(span.reach, following, matrix)
        here = layers[k]
        layers[k] = replace(here, weights=here.weights / factors[:, None, None, None], bias=here.bias / factors)
        scaled.append(span.divided(factors))
        if following is None:
            matrix = matrix * factors[None, :, None]
        else:
            shape = (-1, 1, 1, 1) if following.depthwise else (1, -1, 1, 1)
            layers[k + 1] = replace(following, weights=following.weights * factors.reshape(shape))
    return replace(chain, layers=tuple(layers), matrix=matrix), scaled


def _channel_factors(reach: Doubles, following: Layer | None, matrix: Doubles) -> Doubles:
    """What each channel is divided by: its reach, or that weighed against the largest weight that reads it. (C,)"""
    reach = np.maximum(reach, reach.max() * 1e-6)
    if following is not None and following.depthwise:
        factors = reach
    else:
        read = np.abs(matrix).max(axis=(0, 2)) if following is None else np.abs(following.weights).max(axis=(0, 2, 3))
        factors = reach**SMOOTHING / np.maximum(read, 1e-9) ** (1 - SMOOTHING)
    return np.asarray(np.maximum(factors / factors.max(), SPREAD), np.float64)


class _Writer:
    """Collects the nodes and constants of the int8 graph."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def network(self, chain: Chain, ranges: list[Range]) -> bytes:
        self._add("Sub", [chain.input, self._floats("shift", np.array([chain.shift]))], "shifted")
        x = self._add("Mul", ["shifted", self._floats("factor", np.array([chain.factor]))], "pixels")
        for k, layer in enumerate(chain.layers):
            if k == 0:
                weights = self._floats(f"{layer.name}_weights", layer.weights)
            else:
                x = self._activations(x, ranges[k - 1])
                weights = self._weights(f"{layer.name}_weights", layer.weights)
            x = self._layer(layer, x, weights)
        x = self._add("Flatten", [self._activations(x, ranges[-1])], "flat", axis=1)
        matrix = self._weights("matrix", chain.matrix.reshape(len(chain.matrix), -1))
        self._add("Gemm", [x, matrix, self._floats("offset", chain.offset)], chain.output, transB=1)
        values = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)), shape)
            for name, shape in ((chain.input, ["N", *chain.size]), (chain.output, ["N", len(chain.matrix)]))
        ]
        graph = helper.make_graph(self._nodes, "int8", values[:1], values[1:], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return bytes(model.SerializeToString())

    def _layer(self, layer: Layer, x: str, weights: str) -> str:
        bias = self._floats(f"{layer.name}_bias", layer.bias)
        settings = {"group": layer.groups, "strides": layer.strides, "pads": layer.pads}
        self._add("Conv", [x, weights, bias], f"{layer.name}_conv", kernel_shape=layer.weights.shape[2:], **settings)
        slopes = self._floats(f"{layer.name}_slopes", layer.slopes.reshape(-1, 1, 1))
        return self._add("PRelu", [f"{layer.name}_conv", slopes], layer.name)

    def _activations(self, x: str, span: Range) -> str:
        """x rounded to 256 steps between the layer's lowest and highest value."""
        low, high = float(span.low.min()), float(span.high.max())
        scale = (high - low) / 255
        step = self._constant(f"{x}_scale", np.float32(scale))
        zero = self._constant(f"{x}_zero", np.uint8(np.clip(np.rint(-low / scale), 0, 255)))
        self._add("QuantizeLinear", [x, step, zero], f"{x}_int8")
        return self._add("DequantizeLinear", [f"{x}_int8", step, zero], f"{x}_rounded")

    def _weights(self, name: str, weights: Doubles) -> str:
        """Weights in −127 … 127 with one scale for each output channel."""
        rows = weights.reshape(len(weights), -1)
        scales = (np.maximum(np.abs(rows).max(axis=1), 1e-12) / 127).astype(np.float32)
        steps = np.clip(np.rint(rows / scales[:, None]), -127, 127).astype(np.int8).reshape(weights.shape)
        inputs = [self._constant(f"{name}_int8", steps), self._constant(f"{name}_scales", scales)]
        inputs.append(self._constant(f"{name}_zeros", np.zeros(len(scales), np.int8)))
        return self._add("DequantizeLinear", inputs, name, axis=0)

    def _floats(self, name: str, values: Doubles) -> str:
        return self._constant(name, values.astype(np.float32))

    def _constant(self, name: str, values: NDArray[Any] | np.generic) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output
