"""A bundle's manifest is checked entry by entry, and its parts byte for byte, before a model is made of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from embedder.bundles import (
    canonical,
    check_parts,
    face_model,
    image_model,
    read_export,
    read_manifest,
    write_export,
)
from embedder.runtime import OnnxRuntime
from lookalike.errors import BadModel

SIDE, DIMENSION = 32, 8

Fields = dict[str, Any]


def fields(**changed: object) -> Fields:
    return {
        "format": 1,
        "name": "things",
        "kind": "image",
        "dimension": DIMENSION,
        "preprocessing": {"side": SIDE, "channels": "rgb", "mean": [0, 0, 0], "scale": [1, 1, 1], "fit": "letterbox"},
        "flip": "always",
        "centre": None,
        "licence": {"id": "MIT", "commercial": True, "note": ""},
        "data": "Drawn by a test.",
        "metrics": {},
        "provenance": {},
    } | changed


def network(dimension: int = DIMENSION, side: int = SIDE) -> bytes:
    """Pixels flattened, times a matrix drawn by chance."""
    matrix = np.random.default_rng(0).normal(size=(3 * side * side, dimension)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "m"], ["y"])],
        "things",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", dimension])],
        [numpy_helper.from_array(matrix, "m")],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


def test_an_export_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write_export(tmp_path, fields(centre=[0.5] * DIMENSION), {"network.onnx": network(), "card.md": b"# it"})
    manifest, parts = read_export(tmp_path)
    assert manifest == written
    assert parts["card.md"] == b"# it"
    assert manifest.centre == (0.5,) * DIMENSION


def test_two_models_of_one_name_have_different_names_in_a_space() -> None:
    one, other = (
        read_manifest(canonical(fields(data=text, parts={"network.onnx": {"bytes": 1, "sha256": "0" * 64}})))
        for text in ("this", "that")
    )
    assert one.name == other.name
    assert one.model != other.model


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: f.update(format=2),
        lambda f: f.update(name="../etc"),
        lambda f: f.update(kind="voice"),
        lambda f: f.update(dimension=True),
        lambda f: f.update(dimension=10**9),
        lambda f: f["preprocessing"].update(side=5),
        lambda f: f["preprocessing"].update(fit="crop"),
        lambda f: f["preprocessing"].update(mean=[1, 2]),
        lambda f: f.update(flip="sometimes"),
        lambda f: f.update(centre=[1.0]),
        lambda f: f["licence"].update(commercial="yes"),
        lambda f: f.pop("data"),
        lambda f: f.update(parts={}),
        lambda f: f.update(parts={"network.pkl": {"bytes": 1, "sha256": "0" * 64}}),
        lambda f: f["parts"].update({"../x": {"bytes": 1, "sha256": "0" * 64}}),
        lambda f: f["parts"]["network.onnx"].update(sha256="0" * 63),
        lambda f: f["parts"]["network.onnx"].update(bytes=-1),
    ],
)
def test_a_wrong_entry_is_named_and_refused(spoil: Callable[[Fields], object]) -> None:
    entries = json.loads(json.dumps(fields(parts={"network.onnx": {"bytes": 1, "sha256": "0" * 64}})))
    read_manifest(canonical(entries))
    spoil(entries)
    with pytest.raises(BadModel, match="manifest"):
        read_manifest(canonical(entries))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b'{"format": NaN}', b"[" * 100_000, b"\xff", b"{}" + b" " * (1 << 20)]
)
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(BadModel):
        read_manifest(text)


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(BadModel):
        canonical({"centre": [float("nan")]})


@pytest.mark.parametrize("name", ["network.onnx", "card.md"])
def test_a_part_with_one_other_bit_is_refused(tmp_path: Path, name: str) -> None:
    write_export(tmp_path, fields(), {"network.onnx": network(), "card.md": b"# it"})
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadModel, match=name):
        read_export(tmp_path)


def test_a_missing_or_further_part_is_refused(tmp_path: Path) -> None:
    manifest = write_export(tmp_path, fields(), {"network.onnx": network()})
    with pytest.raises(BadModel):
        check_parts(manifest, {})
    with pytest.raises(BadModel):
        check_parts(manifest, {"network.onnx": network(), "card.md": b""})
    (tmp_path / "network.onnx").unlink()
    with pytest.raises(BadModel):
        read_export(tmp_path)


def test_models_of_faces_and_of_pictures_give_what_the_network_gives(tmp_path: Path) -> None:
    manifest, parts = read_export_of(tmp_path, fields(preprocessing=square()))
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    graph = onnx.load_model_from_string(parts["network.onnx"])
    matrix = numpy_helper.to_array(graph.graph.initializer[0])
    wanted = picture.transpose(2, 0, 1).reshape(1, -1).astype(np.float32) @ matrix
    for model in (image_model(manifest, parts, OnnxRuntime()), face_model(manifest, parts, OnnxRuntime())):
        assert np.allclose(model.embed(picture[None]), wanted, rtol=1e-4)
        assert model.name == manifest.model and model.dimension == DIMENSION
        assert "resize=32;rgb" in model.preprocessing


@pytest.mark.parametrize("graph", [network(dimension=9), network(side=40), b"\x80\x04K\x01.", b"PK\x03\x04"])
def test_a_network_that_is_not_what_the_manifest_says_is_refused(tmp_path: Path, graph: bytes) -> None:
    manifest, parts = read_export_of(tmp_path, fields(), graph)
    with pytest.raises(BadModel):
        image_model(manifest, parts, OnnxRuntime())


def square() -> Fields:
    return {"side": SIDE, "channels": "rgb", "mean": [0, 0, 0], "scale": [1, 1, 1], "fit": "stretch"}


def read_export_of(folder: Path, entries: Fields, graph: bytes | None = None) -> Any:
    write_export(folder, entries, {"network.onnx": network() if graph is None else graph})
    return read_export(folder)
