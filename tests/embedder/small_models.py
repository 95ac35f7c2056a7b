"""Builds tiny ONNX networks by hand, for tests of what reads them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def channel_means(dimension: int = 8, *, extra_input: bool = False) -> onnx.ModelProto:
    """(1, 3, 32, 32) → (1, dimension): the three channel means times a fixed matrix. The batch is stated as 1."""
    weights = np.arange(3 * dimension, dtype=np.float32).reshape(3, dimension)
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 32, 32])]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, dimension]))
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["raw"]),
        helper.make_node("Add", ["raw", "mask"], ["vector"])
        if extra_input
        else helper.make_node("Identity", ["raw"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        inputs,
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, dimension])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_manifest(folder: Path, model: bytes, **changes: object) -> Path:
    (folder / "means.onnx").write_bytes(model)
    entries = {
        "name": "means",
        "file": "means.onnx",
        "sha256": hashlib.sha256(model).hexdigest(),
        "licence": "CC0-1.0",
        "dimension": 8,
        "side": 32,
        "channels": "rgb",
        "mean": [0, 0, 0],
        "scale": [1, 1, 1],
        **changes,
    }
    path = folder / "means.json"
    path.write_text(json.dumps({key: value for key, value in entries.items() if value is not None}))
    return path
