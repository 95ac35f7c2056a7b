"""Rewrites an ONNX graph into the plain float32 form that every runtime here accepts; bytes in, bytes out.

Block-quantised weights (DequantizeLinear with `block_size`, opset 21) are folded to float32: OpenVINO cannot read
them and ONNX Runtime would unpack them at every start. Graph inputs that no node reads, or that only repeat an
initializer, are dropped, and chosen dimensions of the input are made symbolic.

Source: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lookalike.domain import Floats
from lookalike.errors import BadModel

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
READS_FILES = frozenset({"EPContext"})
"""Of those domains, operators whose attributes name a file: a compiled engine, which runs as machine code."""


def dequantize_blocks(
    quantised: NDArray[Any], scale: Floats, zero_point: NDArray[Any], axis: int, block: int
) -> Floats:
    """Float32 weights of a block-quantised tensor: every `block` entries along `axis` share a scale and zero point.

    block 0: one scale for the whole tensor, or one for each index of `axis`.
    """
    axis %= max(quantised.ndim, 1)
    if block:
        keep = [slice(None)] * quantised.ndim
        keep[axis] = slice(quantised.shape[axis])
        scale = np.repeat(scale, block, axis)[tuple(keep)]
        zero_point = np.repeat(zero_point, block, axis)[tuple(keep)]
    elif scale.ndim == 1:
        shape = [-1 if i == axis else 1 for i in range(quantised.ndim)]
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    centred = quantised.astype(np.float32) - zero_point.astype(np.float32)
    return (centred * scale).astype(np.float32)


def simplify(model: bytes, free_dimensions: Mapping[int, str]) -> bytes:
    """The same network with folded weights, its one true input and symbolic dimensions.

    free_dimensions: axis of the input → name, such as {0: "N"}. The shapes inferred for inner tensors are dropped.
    Raises: BadModel if the bytes are no ONNX graph with exactly one input, or need files of their own.
    """
    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's own tree of errors, which has no typed import
        raise BadModel("the model file is not a readable ONNX graph") from error
    refuse_foreign_code(proto)
    refuse_external_data(proto.graph)
    for function in proto.functions:
        refuse_external_data(function)
    try:
        return _rebuilt(proto, free_dimensions)
    except BadModel:
        raise
    except Exception as error:  # whatever numpy and onnx raise for weights that do not fit what they are said to be
        raise BadModel("the model file is damaged: its weights and its graph do not fit each other") from error


def _rebuilt(proto: onnx.ModelProto, free_dimensions: Mapping[int, str]) -> bytes:
    """Raises: BadModel if the graph has not exactly one input."""
    graph = proto.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if not _fold(node, constants)]
    read = {name for node in nodes for name in node.input}
    inputs = [value for value in graph.input if value.name in read and value.name not in constants]
    if len(inputs) != 1:
        raise BadModel(f"the model must have one input, not {len(inputs)}")
    for axis, name in free_dimensions.items():
        for value in (inputs[0], *graph.output):
            if axis == 0 or value is inputs[0]:
                value.type.tensor_type.shape.dim[axis].dim_param = name
    if any(axis > 0 for axis in free_dimensions):  # the outputs' sizes follow the input's, and the stated ones do not
        for value in graph.output:
            for i, dimension in enumerate(value.type.tensor_type.shape.dim):
                dimension.dim_param = f"{value.name}_{i}"
    plain = helper.make_graph(
        nodes,
        graph.name,
        inputs,
        list(graph.output),
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in read],
    )
    rebuilt = helper.make_model(
        plain, opset_imports=list(proto.opset_import), ir_version=proto.ir_version, functions=list(proto.functions)
    )
    return bytes(rebuilt.SerializeToString())


def refuse_foreign_code(proto: onnx.ModelProto) -> None:
    """Raises: BadModel for an operator that does more than compute: reads files, or comes from a plug-in."""
    for node in _all_nodes([*proto.graph.node, *(node for function in proto.functions for node in function.node)]):
        own = any((f.domain, f.name) == (node.domain, node.op_type) for f in proto.functions)
        if node.op_type in READS_FILES or not (own or node.domain in KNOWN_DOMAINS):
            raise BadModel(f"the model has the operator {node.domain or 'onnx'}:{node.op_type}, which is refused")


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """These and those of the graphs within them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_nodes(inner.node)


def refuse_external_data(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Raises: BadModel if a tensor lives outside the file, whose hash then says nothing about it."""
    tensors = []
    if isinstance(graph, onnx.GraphProto):
        sparse = [tensor for held in graph.sparse_initializer for tensor in (held.values, held.indices)]
        tensors = [*graph.initializer, *sparse]
    for node in graph.node:
        for attribute in node.attribute:
            tensors += [
                attribute.t,
                *attribute.tensors,
                attribute.sparse_tensor.values,
                attribute.sparse_tensor.indices,
            ]
            for inner in (attribute.g, *attribute.graphs):
                refuse_external_data(inner)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        raise BadModel("models with external data are refused: the pinned hash would not cover it")


def _fold(node: onnx.NodeProto, constants: dict[str, NDArray[Any]]) -> bool:
    """Compute this node now if it only unpacks constants; whether it did."""
    if not all(name in constants for name in node.input):
        return False
    if node.op_type == "DequantizeLinear":
        attributes = {a.name: a.i for a in node.attribute}
        quantised, scale = constants[node.input[0]], constants[node.input[1]]
        zero_point = constants[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale, np.int8)
        constants[node.output[0]] = dequantize_blocks(
            quantised, scale, zero_point, attributes.get("axis", 1), attributes.get("block_size", 0)
        )
        return True
    if node.op_type == "Reshape":
        data, shape = (constants[name] for name in node.input)
        constants[node.output[0]] = data.reshape([int(size) for size in shape])
        return True
    return False
