"""The int8 SFace agrees with the float32 one, is made the same way each time, and damaged ranges are refused."""

from __future__ import annotations

import importlib.resources
import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from embedder.factory import build_face_embedder
from embedder.learn_ranges import learn_ranges
from embedder.models import SFACE, load_bundled
from embedder.network_chain import Chain, Layer, read_chain
from embedder.pipeline import FaceEmbedder
from embedder.quantise import Range, equalise, quantise, read_ranges
from embedder.runtime import open_runtime
from embedder.sface_int8 import load_sface_int8
from lookalike.domain import Floats, Pixels
from lookalike.errors import BadModel


@pytest.fixture(scope="module")
def encoder(model_cache: Path) -> FaceEmbedder:
    """SFace in float32."""
    return build_face_embedder(model_cache, embedder="sface")


@pytest.fixture(scope="module")
def encoder_int8(model_cache: Path) -> FaceEmbedder:
    return build_face_embedder(model_cache, embedder="sface-int8")


def small_network(*, transposed: bool = True, branch: bool = False) -> bytes:
    """A chain like SFace's on (N, 3, 8, 8): a dense, a depthwise and a dense convolution, then 5 outputs."""
    rng = np.random.default_rng(3)
    constants: dict[str, Floats] = {"shift": np.array([127.5], np.float32), "factor": np.array([1 / 128], np.float32)}
    nodes = [helper.make_node("Sub", ["data", "shift"], ["shifted"])]
    nodes.append(helper.make_node("Mul", ["shifted", "factor"], ["x0"]))

    def normalise(x: str, output: str, channels: int) -> None:
        names = [f"{output}_{part}" for part in ("gamma", "beta", "mean", "variance")]
        for name in names:
            constants[name] = rng.uniform(0.2, 2, channels).astype(np.float32)
        nodes.append(helper.make_node("BatchNormalization", [x, *names], [output], epsilon=1e-3))

    for k, (inner, outer, group, size) in enumerate([(3, 8, 1, 3), (8, 8, 8, 3), (8, 16, 1, 1)], 1):
        constants[f"w{k}"] = rng.normal(size=(outer, inner // group, size, size)).astype(np.float32) * 0.4
        pads = [size // 2] * 4
        nodes.append(
            helper.make_node(
                "Conv", [f"x{k - 1}", f"w{k}"], [f"c{k}"], group=group, pads=pads, strides=[1, 1], dilations=[1, 1]
            )
        )
        normalise(f"c{k}", f"n{k}", outer)
        constants[f"slopes{k}"] = rng.uniform(0, 0.5, (outer, 1, 1)).astype(np.float32)
        nodes.append(helper.make_node("PRelu", ["x0" if branch and k == 3 else f"n{k}", f"slopes{k}"], [f"x{k}"]))
    normalise("x3", "n4", 16)
    constants["matrix"] = rng.normal(size=(5, 16 * 64) if transposed else (16 * 64, 5)).astype(np.float32)
    constants["offset"] = rng.normal(size=5).astype(np.float32)
    nodes.append(helper.make_node("Dropout", ["n4"], ["dropped"]))
    nodes.append(helper.make_node("Flatten", ["dropped"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "matrix", "offset"], ["raw"], transB=int(transposed)))
    normalise("raw", "vector", 5)
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("vector", onnx.TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


def slow_convolution(x: np.ndarray, layer: Layer) -> np.ndarray:
    """One picture (C, H, W) through a layer of stride 1, by loops."""
    edge = layer.pads[0]
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge)))
    size = layer.weights.shape[2]
    out = np.zeros((len(layer.weights), *x.shape[1:]))
    for o in range(len(layer.weights)):
        source = padded[o : o + 1] if layer.depthwise else padded
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                out[o, i, j] = np.sum(source[:, i : i + size, j : j + size] * layer.weights[o]) + layer.bias[o]
    return np.where(out < 0, out * layer.slopes[:, None, None], out)


def slow_vector(chain: Chain, pixels: np.ndarray) -> np.ndarray:
    x = (pixels.astype(np.float64) - chain.shift) * chain.factor
    for layer in chain.layers:
        x = slow_convolution(x, layer)
    return np.einsum("dcp,cp->d", chain.matrix, x.reshape(len(x), -1)) + chain.offset


def pictures(count: int = 6) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def run(model: bytes, crops: Pixels) -> Floats:
    network = open_runtime("onnxruntime").load(model, "small")
    return next(iter(network(np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)).values()))


def test_folding_the_normalisations_leaves_the_function_as_it_was() -> None:
    model, crops = small_network(), pictures(2)
    chain = read_chain(model)
    expected = run(model, crops)
    for crop, vector in zip(crops, expected, strict=True):
        assert slow_vector(chain, crop.transpose(2, 0, 1)) == pytest.approx(vector, rel=1e-4, abs=1e-4)


def test_equalising_channels_leaves_the_function_as_it_was_and_gives_them_like_ranges() -> None:
    model, crop = small_network(), pictures(1)
    chain, ranges = read_chain(model), learn_ranges(model, pictures())
    equalised, scaled = equalise(chain, [ranges[layer.name] for layer in chain.layers])
    pixels = crop[0].transpose(2, 0, 1)
    assert slow_vector(equalised, pixels) == pytest.approx(slow_vector(chain, pixels), rel=1e-9)
    before_depthwise = scaled[0].reach
    assert before_depthwise.min() == pytest.approx(before_depthwise.max())


def test_a_quantised_network_stays_near_its_float_form() -> None:
    model, crops = small_network(), pictures()
    exact, rounded = run(model, crops), run(quantise(model, learn_ranges(model, crops, quantile=1.0)), crops)
    between_pictures = np.linalg.norm(exact - exact.mean(axis=0))
    assert np.linalg.norm(rounded - exact) < 0.1 * between_pictures


def test_every_convolution_but_the_first_and_the_last_matrix_reads_int8_weights() -> None:
    graph = onnx.load_model_from_string(quantise(small_network(), learn_ranges(small_network(), pictures()))).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    unpacked = {node.output[0]: stored[node.input[0]].dtype for node in graph.node if node.input[0] in stored}
    readers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert [unpacked.get(node.input[1]) for node in readers] == [None, np.int8, np.int8, np.int8]


def test_quantising_twice_gives_the_same_bytes() -> None:
    model = small_network()
    ranges = learn_ranges(model, pictures())
    assert quantise(model, ranges) == quantise(model, ranges)


@pytest.mark.parametrize(
    "model",
    [b"", b"not a model", small_network(transposed=False), small_network(branch=True)],
    ids=["empty", "text", "another matrix", "a branch"],
)
def test_a_graph_of_another_form_is_refused(model: bytes) -> None:
    with pytest.raises(BadModel):
        quantise(model, {})


def test_the_detector_is_no_chain_and_is_refused(model_cache: Path) -> None:
    from embedder.models import YUNET

    with pytest.raises(BadModel):
        read_chain(load_bundled(YUNET, model_cache))


def test_a_missing_range_or_one_of_other_channels_is_refused() -> None:
    model = small_network()
    ranges = learn_ranges(model, pictures())
    with pytest.raises(BadModel, match="no activation range"):
        quantise(model, {name: span for name, span in ranges.items() if name != "x2"})
    with pytest.raises(BadModel, match="channels"):
        quantise(model, {**ranges, "x2": Range(np.zeros(7), np.ones(7))})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"layers": {"a": {"low": [0]}}}',
        '{"layers": {"a": {"low": [0], "high": [1, 2]}}}',
        '{"layers": {"a": {"low": [0], "high": [NaN]}}}',
        '{"layers": {"a": {"low": [0], "high": [Infinity]}}}',
        '{"layers": {"a": {"low": [0.5], "high": [1]}}}',
        '{"layers": {"a": {"low": [0], "high": [0]}}}',
        '{"layers": {"a": {"low": ["x"], "high": [1]}}}',
    ],
)
def test_damaged_ranges_are_refused(text: str) -> None:
    with pytest.raises(BadModel):
        read_ranges(text)


def test_the_shipped_ranges_were_learned_for_the_pinned_model() -> None:
    text = importlib.resources.files("embedder").joinpath("data/sface-int8-ranges.json").read_text("utf-8")
    assert json.loads(text)["model"] == SFACE.sha256
    assert len(read_ranges(text)) == 27


def test_the_int8_sface_is_made_once_and_then_read(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, version = load_sface_int8(model_cache)

    def never(*arguments: object) -> bytes:
        raise AssertionError("quantised a second time")

    monkeypatch.setattr("embedder.quantise.quantise", never)
    assert load_sface_int8(model_cache) == (first, version)


def test_its_vectors_have_a_space_of_their_own(encoder: FaceEmbedder, encoder_int8: FaceEmbedder) -> None:
    assert encoder_int8.space != encoder.space
    assert encoder_int8.space.dimension == 128
    assert encoder_int8.runtime.endswith("int8")


def test_int8_and_float_vectors_of_a_photo_nearly_agree(
    encoder: FaceEmbedder, encoder_int8: FaceEmbedder, face_photo: bytes
) -> None:
    (exact,), (rounded,) = (model.encode(face_photo, largest_only=True) for model in (encoder, encoder_int8))
    assert 0.985 < float(exact.vector @ rounded.vector) < 0.99999


def test_both_runtimes_give_nearly_the_same_int8_vectors(
    encoder_int8: FaceEmbedder, model_cache: Path, face_photo: bytes
) -> None:
    other = build_face_embedder(model_cache, runtime="onnxruntime", embedder="sface-int8")
    (here,), (there,) = (model.encode(face_photo, largest_only=True) for model in (encoder_int8, other))
    assert float(here.vector @ there.vector) > 0.995


@pytest.mark.skipif(
    "avx512_vnni" not in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else True,
    reason="the processor has no int8 instructions (avx512_vnni)",
)
def test_openvino_runs_the_convolutions_and_the_matrix_in_int8(model_cache: Path) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True}
    compiled = core.compile_model(core.read_model(io.BytesIO(load_sface_int8(model_cache)[0])), "CPU", settings)
    request = compiled.create_infer_request()
    request.infer([np.zeros((1, 3, 112, 112), np.float32)])
    kinds = ("Convolution", "GroupConvolution", "FullyConnected")
    kernels = [step.exec_type.lower() for step in request.get_profiling_info() if step.node_type.startswith(kinds)]
    assert len(kernels) == 28
    assert sum("i8" in kernel for kernel in kernels) == 27
