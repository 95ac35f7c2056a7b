"""An exported graph has half the bytes, computes the same in every runtime, and is refused where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.runtime import open_runtime  # noqa: E402
from embedder.train import onnx_export  # noqa: E402
from embedder.train.config import Model  # noqa: E402
from embedder.train.finishing import FinishedNetwork, learn_finish  # noqa: E402
from embedder.train.network import open_network  # noqa: E402
from lookalike.domain import Floats  # noqa: E402
from lookalike.errors import BadModel  # noqa: E402
from tests.embedder.train.drawing import stripes  # noqa: E402

pytestmark = pytest.mark.train

SIDE = 32


@pytest.fixture(scope="module")
def finished() -> Any:
    opened = open_network(Model("timm:test_resnet", side=SIDE, freeze=2), 1)
    network = opened.network.eval()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, network.dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    finish = learn_finish(vectors, np.repeat(np.arange(8), 5), centred=True, whiten=12)
    return FinishedNetwork(network.base, [(network.top, finish)])


@pytest.fixture(scope="module")
def probe() -> Floats:
    prepare = open_network(Model("timm:test_resnet", side=SIDE), 1).backbone.prepare
    return prepare([stripes(kind, 0, SIDE) for kind in range(5)])


def test_every_runtime_computes_what_torch_computes(finished: Any, probe: Floats) -> None:
    graph = onnx_export.export_onnx(finished, SIDE, probe)
    with torch.inference_mode():
        wanted = finished.eval()(torch.from_numpy(probe)).numpy()
    for runtime in ("openvino", "onnxruntime"):
        run = open_runtime(runtime).load(graph, "trained")
        (found,) = run(probe).values()
        assert found.shape == (5, 12)
        assert ((found * wanted).sum(1) > 0.999).all(), runtime
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=0.01)  # OpenVINO may choose bfloat16
        (one,) = run(probe[:1]).values()
        assert (one * found[:1]).sum() > 0.999


def test_large_weights_are_kept_in_half_the_bits(finished: Any, probe: Floats) -> None:
    graph = onnx_export.export_onnx(finished, SIDE, probe)
    whole = onnx_export._graph(finished.eval(), (3, SIDE, SIDE))
    assert len(graph) < 0.6 * len(whole)
    large = [
        tensor
        for tensor in onnx.load_model_from_string(graph).graph.initializer
        if np.prod(tensor.dims) >= onnx_export.SMALL and tensor.data_type != onnx.TensorProto.INT64
    ]
    assert large
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}
    onnx.checker.check_model(onnx.load_model_from_string(graph))


def test_a_weight_that_half_the_bits_cannot_hold_stays_whole() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(3 * 8 * 8, 4, bias=False))
    with torch.no_grad():
        network[1].weight.mul_(1e6)
    probe = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    graph = onnx.load_model_from_string(onnx_export.export_onnx(network, 8, probe))
    assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in graph.graph.initializer}


def test_a_graph_that_computes_anything_else_is_refused(
    finished: Any, probe: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    halved = onnx_export._halved

    def spoiled(model: bytes) -> bytes:
        proto = onnx.load_model_from_string(halved(model))
        for tensor in proto.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT16:
                turned = np.ascontiguousarray(onnx.numpy_helper.to_array(tensor)[::-1])
                tensor.CopyFrom(onnx.numpy_helper.from_array(turned, tensor.name))
        return bytes(proto.SerializeToString())

    monkeypatch.setattr(onnx_export, "_halved", spoiled)
    with pytest.raises(BadModel, match="agree to a cosine of"):
        onnx_export.export_onnx(finished, SIDE, probe)


def test_a_graph_whose_vectors_are_no_numbers_is_refused(probe: Floats) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(1), torch.nn.Linear(3 * SIDE * SIDE, 4))
    with torch.no_grad():
        network[1].weight.fill_(float("nan"))
    with pytest.raises(BadModel, match="agree to a cosine of nan"):
        onnx_export.export_onnx(network, SIDE, probe)


def test_exporting_leaves_the_network_as_it_was(finished: Any, probe: Floats, tmp_path: Path) -> None:
    before = {key: value.clone() for key, value in finished.state_dict().items()}
    onnx_export.export_onnx(finished, SIDE, probe)
    onnx_export.compiled(finished, (3, SIDE, SIDE))
    assert all(torch.equal(before[key], value) for key, value in finished.state_dict().items())


def test_the_service_s_runtime_measures_a_run_as_torch_would(finished: Any, probe: Floats) -> None:
    quick = onnx_export.compiled(finished, (3, SIDE, SIDE))(probe)
    with torch.inference_mode():
        slow = finished.eval()(torch.from_numpy(probe)).numpy()
    assert ((quick * slow).sum(1) > 0.999).all()
