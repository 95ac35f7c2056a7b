"""Folding changes no value, drops what no node reads, and refuses graphs that are not self-contained."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from embedder.models import SFACE, read_source
from embedder.onnx_files import dequantize_blocks, simplify
from lookalike.errors import BadModel
from tests.embedder.small_models import channel_means


@pytest.mark.parametrize(("axis", "block"), [(0, 4), (1, 4), (1, 5), (-1, 16), (0, 0), (1, 0)])
def test_blocks_unpack_as_a_slow_loop_does(axis: int, block: int) -> None:
    random = np.random.default_rng(0)
    quantised = random.integers(-128, 127, (12, 10)).astype(np.int8)
    size = quantised.shape[axis]
    shape = list(quantised.shape)
    shape[axis] = -(-size // block) if block else size
    kept = tuple(shape) if block else (size,)
    scale = random.uniform(0.01, 1, kept).astype(np.float32)
    zero = random.integers(-5, 5, kept).astype(np.int8)
    expected = np.zeros(quantised.shape, np.float32)
    for i, j in np.ndindex(*quantised.shape):
        along = (i, j)[axis]
        if block:
            where = [i, j]
            where[axis] = along // block
            s, z = scale[tuple(where)], zero[tuple(where)]
        else:
            s, z = scale[along], zero[along]
        expected[i, j] = (np.float32(quantised[i, j]) - np.float32(z)) * s
    assert np.allclose(dequantize_blocks(quantised, scale, zero, axis, block), expected)


def test_a_quantised_graph_gives_the_values_of_its_source() -> None:
    random = np.random.default_rng(1)
    constants = {
        "q": random.integers(-128, 127, (8, 27)).astype(np.int8),
        "s": random.uniform(0.01, 0.1, (8, 3)).astype(np.float32),
        "z": np.zeros((8, 3), np.int8),
        "shape": np.array([8, 3, 3, 3]),
    }
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["flat"], axis=1, block_size=9),
            helper.make_node("Reshape", ["flat", "shape"], ["w"]),
            helper.make_node("Conv", ["x", "w"], ["y"]),
        ],
        "conv",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9]),
            helper.make_tensor_value_info("w_phantom", TensorProto.FLOAT, [8, 3, 3, 3]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 7, 7])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    plain = onnx.load_model_from_string(simplify(source.SerializeToString(), {0: "N"}))
    onnx.checker.check_model(plain)
    picture = random.normal(size=(1, 3, 9, 9)).astype(np.float32)
    (expected,) = ReferenceEvaluator(source).run(None, {"x": picture, "w_phantom": np.zeros((8, 3, 3, 3), np.float32)})
    (found,) = ReferenceEvaluator(plain).run(None, {"x": picture})
    assert np.allclose(found, expected, atol=1e-5)
    assert [value.name for value in plain.graph.input] == ["x"]
    assert {node.op_type for node in plain.graph.node} == {"Conv"}


def test_sface_keeps_its_one_true_input() -> None:
    plain = onnx.load_model_from_string(simplify(read_source(SFACE), {0: "N"}))
    assert [value.name for value in plain.graph.input] == ["data"]
    assert not {"DequantizeLinear", "Reshape"} & {node.op_type for node in plain.graph.node}


@pytest.mark.parametrize("data", [b"", b"not a model", bytes(1000)])
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    with pytest.raises(BadModel):
        simplify(data, {})


def test_weights_that_do_not_fill_their_shape_are_refused() -> None:
    model = channel_means()
    model.graph.initializer[0].dims[1] += 32
    with pytest.raises(BadModel, match="do not fit"):
        simplify(model.SerializeToString(), {})


def test_a_graph_of_two_inputs_is_refused() -> None:
    with pytest.raises(BadModel, match="one input, not 2"):
        simplify(channel_means(extra_input=True).SerializeToString(), {})


def test_external_data_is_refused_in_weights_and_in_nodes() -> None:
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    in_weights, in_node = channel_means(), channel_means()
    in_weights.graph.initializer.append(outside)
    in_node.graph.node.append(helper.make_node("Constant", [], ["c"]))
    in_node.graph.node[-1].attribute.append(
        onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=outside)
    )
    for model in (in_weights, in_node):
        with pytest.raises(BadModel, match="external data"):
            simplify(model.SerializeToString(), {})


def test_external_data_is_refused_in_sparse_weights_and_in_functions() -> None:
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    sparse, function = channel_means(), channel_means()
    sparse.graph.sparse_initializer.append(onnx.SparseTensorProto(values=outside, dims=[1]))
    body = helper.make_node("Constant", [], ["c"])
    body.attribute.append(onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=outside))
    function.functions.append(helper.make_function("ours", "F", [], ["c"], [body], [helper.make_opsetid("", 17)]))
    for model in (sparse, function):
        with pytest.raises(BadModel, match="external data"):
            simplify(model.SerializeToString(), {})


def test_operators_that_read_files_or_come_from_a_plug_in_are_refused_however_deep() -> None:
    for domain, name in (("com.microsoft", "EPContext"), ("ai.onnx.contrib", "PyOp"), ("my.plugin", "Anything")):
        plain, nested, hidden = channel_means(), channel_means(), channel_means()
        node = helper.make_node(name, ["raw"], ["x"], domain=domain)
        plain.graph.node.append(node)
        branch = helper.make_graph([node], "branch", [], [])
        nested.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
        hidden.functions.append(helper.make_function("ours", "F", [], ["x"], [node], [helper.make_opsetid("", 17)]))
        for model in (plain, nested, hidden):
            with pytest.raises(BadModel, match=name):
                simplify(model.SerializeToString(), {})
