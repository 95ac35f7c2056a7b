"""Writes a torch network as an ONNX graph with half-precision weights, and refuses one that computes anything else.

Weights are stored as float16 and widened by the runtime when it loads the graph: half the size, and vectors that agree
to better than the parity that is asked for. Parity is measured on real pictures, against the torch network in float32.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from embedder.onnx_files import simplify
from embedder.runtime import open_runtime
from lookalike.domain import Floats
from lookalike.errors import BadModel

PARITY = 0.999
"""The least cosine between a vector of the exported graph and the network's own."""

OPSET = 17
SMALL = 256
"""Tensors of fewer numbers stay float32."""


def export_onnx(network: torch.nn.Module, side: int, probe: Floats) -> bytes:
    """(N, 3, side, side) → (N, D) as ONNX. probe: real inputs to check it with. Raises: BadModel where it differs."""
    network = copy.deepcopy(network).eval().to("cpu", memory_format=torch.contiguous_format)
    graph = _halved(_graph(network, (3, side, side)))
    with torch.inference_mode():
        wanted = torch.nn.functional.normalize(network(torch.from_numpy(probe)).float()).numpy()
    _require_parity(graph, probe, wanted)
    return graph


def compiled(network: torch.nn.Module, shape: tuple[int, ...]) -> Callable[[Floats], Floats]:
    """The same function run by the service's runtime, several times faster on a processor than torch is.

    shape: of one input. The network is left as it is.
    """
    plain = copy.deepcopy(network).eval().to("cpu", memory_format=torch.contiguous_format)
    run = open_runtime().load(_graph(plain, shape), "stages")
    return lambda inputs: next(iter(run(inputs).values()))


def _graph(network: torch.nn.Module, shape: tuple[int, ...]) -> bytes:
    """Traced, with the number of inputs left open."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: shapes are fixed but for N, which is what is wanted
        torch.onnx.export(
            network,
            (torch.zeros(1, *shape),),
            file,
            input_names=["pixels"],
            output_names=["embedding"],
            dynamic_axes={"pixels": {0: "N"}, "embedding": {0: "N"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return simplify(file.getvalue(), {0: "N"})


def _halved(model: bytes) -> bytes:
    """The same graph with large float32 constants kept as float16 behind a Cast."""
    proto = onnx.load_model_from_string(model)
    kept, casts = [], []
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALL or np.abs(values).max() > 6e4:
            kept.append(tensor)
            continue
        kept.append(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.half"))
        casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.initializer.extend(kept)
    proto.graph.node.extend(nodes)
    return bytes(proto.SerializeToString())


def _require_parity(graph: bytes, probe: Floats, wanted: Floats) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"pixels": probe})[0]
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    least = float((found * wanted).sum(axis=1).min())
    if not least >= PARITY:
        raise BadModel(f"the exported graph's vectors agree to a cosine of {least:.5f} only; {PARITY} is asked for")
