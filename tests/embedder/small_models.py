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


def projection(dimension: int = 128, seed: int = 1) -> onnx.ModelProto:
    """(N, 3, 32, 32) → (N, dimension): each pixel counts where it stands, so a mirrored picture is another one."""
    weights = np.random.default_rng(seed).standard_normal((dimension, 3, 32, 32)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pixels", "weights"], ["map"]), helper.make_node("Flatten", ["map"], ["vector"])],
        "projection",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", dimension])],
        [numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_image_model(folder: Path, seed: int = 1) -> str:
    """Writes a real, if simple, model for pictures. Returns its name for the settings: onnx:MANIFEST."""
    folder.mkdir(parents=True, exist_ok=True)
    model = projection(seed=seed).SerializeToString()
    mean, scale = [127.0] * 3, [1 / 128] * 3
    path = write_manifest(folder, model, name=f"projection{seed}", kind="image", dimension=128, mean=mean, scale=scale)
    return f"onnx:{path}"


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
