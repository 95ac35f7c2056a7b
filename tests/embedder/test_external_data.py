"""A model's weights lie in its own file, which its hash covers: real files that would read others are refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import onnx
import pytest

from embedder.factory import build_image_embedder
from lookalike.errors import BadModel
from tests.embedder.small_models import channel_means

SECRET = b"\x00\x00\x80?" * 4096


def outside(folder: Path, location: str) -> Path:
    """A manifest of an ONNX file, hashed as it should be, whose weights lie elsewhere."""
    model = channel_means()
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights", size_threshold=0)
    for tensor in model.graph.initializer:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        length = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.ClearField("external_data")
        for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
    data = model.SerializeToString()
    (folder / "model.onnx").write_bytes(data)
    manifest = {
        "name": "means", "kind": "image", "file": "model.onnx", "sha256": hashlib.sha256(data).hexdigest(),
        "licence": "MIT", "dimension": 8, "side": 32, "channels": "rgb", "mean": [0, 0, 0], "scale": [1, 1, 1],
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder / "model.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a model, beside a secret file: in it a file, a hard link, a symbolic link and a pipe."""
    found = tmp_path / "models"
    found.mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    (found / "beside").write_bytes(SECRET)
    os.link(tmp_path / "secret", found / "hard")
    (found / "soft").symlink_to(tmp_path / "secret")
    os.mkfifo(found / "pipe")  # whoever opened it would wait for ever
    return found


@pytest.mark.parametrize(
    "location",
    ["beside", "hard", "soft", "pipe", "../secret", "./../secret", "/etc/passwd", "/proc/self/environ", "missing", ""],
)
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_model_whose_weights_lie_elsewhere_is_refused_before_anything_is_opened(
    folder: Path, location: str, runtime: str
) -> None:
    manifest = outside(folder, location)
    with pytest.raises(BadModel, match="external data"):
        build_image_embedder(folder / "cache", f"onnx:{manifest}", runtime)
    assert not list((folder / "cache").glob("**/*"))


def test_a_model_file_swapped_after_it_was_pinned_is_refused_before_it_is_parsed(folder: Path) -> None:
    manifest = outside(folder, "beside")
    (folder / "model.onnx").write_bytes(b"not what was pinned")
    with pytest.raises(BadModel, match="SHA-256"):
        build_image_embedder(folder / "cache", f"onnx:{manifest}")


@pytest.mark.parametrize("file", ["../model.onnx", "/etc/model.onnx", "a/../../model.onnx", "..\\model.onnx"])
def test_a_manifest_names_a_file_beside_it_and_no_other(folder: Path, file: str) -> None:
    manifest = outside(folder, "beside")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "file": file}))
    with pytest.raises(BadModel, match="file"):
        build_image_embedder(folder / "cache", f"onnx:{manifest}")
