"""Reads SFace's ONNX graph as a chain of convolutions with every batch normalisation folded into the weights. Pure.

A chain is: shift and scale the pixels, then convolution and PReLU again and again, then one matrix. Folding is exact
but for rounding: a batch normalisation behind a convolution scales and shifts its output channels, one before the
matrix scales and shifts the matrix's columns. Everything here is float64, so that the order of folding costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from lookalike.errors import BadModel

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution and the PReLU behind it. name: of the PReLU's output.

    weights: (O, I / groups, K, K); bias: (O,); slopes: (O,), what a negative value is multiplied with.
    """

    name: str
    weights: Doubles
    bias: Doubles
    slopes: Doubles
    groups: int
    strides: tuple[int, ...]
    pads: tuple[int, ...]

    @property
    def depthwise(self) -> bool:
        return self.groups > 1


@dataclass(frozen=True, slots=True)
class Chain:
    """The whole network: (pixels − shift) · factor, the layers, then `matrix` and `offset`.

    size: of the input, (3, H, W). matrix: (D, C, P) for C channels of P positions; offset: (D,).
    """

    input: str
    output: str
    size: tuple[int, ...]
    shift: float
    factor: float
    layers: tuple[Layer, ...]
    matrix: Doubles
    offset: Doubles


def read_chain(model: bytes) -> Chain:
    """The chain that this graph is. Raises: BadModel if it is any other kind of graph."""
    try:
        graph = onnx.load_model_from_string(model).graph
        constants = {tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in graph.initializer}
        return _Reader(graph, constants).chain()
    except BadModel:
        raise
    except Exception as error:  # protobuf's own tree of errors, and what numpy says of shapes that do not fit
        raise BadModel("the model is not a chain of convolutions that can be quantised") from error


class _Reader:
    """Walks the nodes in order; every node must read what the one before it wrote."""

    def __init__(self, graph: onnx.GraphProto, constants: Mapping[str, Doubles]) -> None:
        self._constants = constants
        self._input, self._output = graph.input[0].name, graph.output[0].name
        self._size = tuple(axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim[1:])
        self._nodes = [node for node in graph.node if node.op_type != "Constant"]
        before = [self._input, *(node.output[0] for node in self._nodes)]
        if any(node.input[0] != name for node, name in zip(self._nodes, before, strict=False)):
            raise BadModel("the model branches: only a chain can be quantised")

    def chain(self) -> Chain:
        nodes = iter(self._nodes)
        shift = float(self._parameter(_expect(next(nodes), "Sub"), 1).item())
        factor = float(self._parameter(_expect(next(nodes), "Mul"), 1).item())
        layers = []
        node = next(nodes)
        while node.op_type == "Conv":
            layers.append(self._layer(node, next(nodes), next(nodes)))
            node = next(nodes)
        scale, move = self._normalisation(node)
        _expect(next(nodes), "Dropout")
        _expect(next(nodes), "Flatten")
        matrix, offset = self._matrix(next(nodes), len(scale))
        offset = offset + matrix.sum(2) @ move
        last_scale, last_move = self._normalisation(next(nodes))
        if next(nodes, None) is not None:
            raise BadModel("the model goes on behind its last normalisation")
        matrix = matrix * scale[None, :, None] * last_scale[:, None, None]
        return Chain(
            self._input, self._output, self._size, shift, factor, tuple(layers), matrix, offset * last_scale + last_move
        )

    def _layer(self, conv: onnx.NodeProto, normalisation: onnx.NodeProto, prelu: onnx.NodeProto) -> Layer:
        scale, move = self._normalisation(normalisation)
        weights = self._parameter(conv, 1)
        bias = self._parameter(conv, 2) if len(conv.input) > 2 else np.zeros(len(weights))
        slopes = self._parameter(_expect(prelu, "PRelu"), 1).reshape(-1)
        attributes = {attribute.name: attribute for attribute in conv.attribute}
        groups = attributes["group"].i
        if groups not in (1, len(weights)) or any(value != 1 for value in attributes["dilations"].ints):
            raise BadModel("only whole and depthwise convolutions without dilation can be quantised")
        return Layer(
            prelu.output[0],
            weights * scale[:, None, None, None],
            bias * scale + move,
            np.broadcast_to(slopes, scale.shape),
            groups,
            tuple(attributes["strides"].ints),
            tuple(attributes["pads"].ints),
        )

    def _matrix(self, node: onnx.NodeProto, channels: int) -> tuple[Doubles, Doubles]:
        settings = {a.name: a.i if a.type == onnx.AttributeProto.INT else a.f for a in _expect(node, "Gemm").attribute}
        if {"alpha": 1, "beta": 1, "transA": 0, **settings} != {"alpha": 1, "beta": 1, "transA": 0, "transB": 1}:
            raise BadModel("the last matrix must be transposed and unscaled")
        matrix = self._parameter(node, 1)
        return matrix.reshape(len(matrix), channels, -1), self._parameter(node, 2)

    def _normalisation(self, node: onnx.NodeProto) -> tuple[Doubles, Doubles]:
        """What a batch normalisation multiplies each channel with, and then adds."""
        gamma, beta, mean, variance = (self._parameter(_expect(node, "BatchNormalization"), i) for i in range(1, 5))
        epsilon = next(attribute.f for attribute in node.attribute if attribute.name == "epsilon")
        scale = gamma / np.sqrt(variance + epsilon)
        return scale, beta - mean * scale

    def _parameter(self, node: onnx.NodeProto, place: int) -> Doubles:
        return self._constants[node.input[place]]


def _expect(node: onnx.NodeProto, kind: str) -> onnx.NodeProto:
    if node.op_type != kind:
        raise BadModel(f"the model has a {node.op_type} where a {kind} must be")
    return node
