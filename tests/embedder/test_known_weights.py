"""Well-known weights become export parts only when the file is the one that was pinned."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from embedder import known_weights
from embedder.bundles import face_model, parts_named, read_manifest
from embedder.known_weights import KNOWN, make_export
from embedder.runtime import OnnxRuntime
from lookalike.errors import BadModel, InvalidInput


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_each_says_enough_for_a_manifest(name: str) -> None:
    fields = {**KNOWN[name].fields, "centre": None}
    manifest = read_manifest(parts_named(fields, {"network.onnx": b"x"}))
    assert manifest.licence.id and len(manifest.data) > 40
    assert manifest.licence.commercial == (name == "sface")


@pytest.mark.parametrize("name", ["facenet-vggface2", "arcface-w600k-r50"])
def test_another_file_than_the_pinned_one_is_refused_before_it_is_parsed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(BadModel, match="pinned"):
        make_export(name, tmp_path / "file")
    with pytest.raises(InvalidInput, match="pinned to another"):
        make_export(name, tmp_path / "file", hashlib.sha256(b"\x80\x04K\x01.").hexdigest())


def test_without_a_pinned_hash_the_user_gives_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InvalidInput, match="--sha256"):
        make_export("facenet-casia", tmp_path / "file")
    with pytest.raises(BadModel, match="pinned"):
        make_export("facenet-casia", tmp_path / "file", "0" * 64)


def test_unknown_weights_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="facenet-vggface2"):
        make_export("facenet", tmp_path)
    with pytest.raises(InvalidInput, match="--from"):
        make_export("facenet-vggface2", None)


def test_sface_becomes_a_bundle_with_its_centre_and_calibration() -> None:
    fields, parts = make_export("sface", None)
    manifest = read_manifest(parts_named(fields, parts))
    assert len(manifest.centre) == manifest.dimension == 128
    assert set(parts) == {"network.onnx", "calibration.json"}


def test_published_weights_of_facenet_become_the_same_network_as_onnx(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    facenet = pytest.importorskip("facenet_pytorch")
    torch.manual_seed(0)
    network = facenet.InceptionResnetV1(classify=True, num_classes=10).eval()
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    fields, parts = make_export("facenet-casia", path, hashlib.sha256(path.read_bytes()).hexdigest())
    manifest = read_manifest(parts_named(fields, parts))
    crop = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), np.uint8)
    network.classify = False
    prepared = torch.from_numpy(manifest.preprocessing(list(crop)))
    with torch.inference_mode():
        wanted = network(prepared).numpy()[0]
    (found,) = face_model(manifest, parts, OnnxRuntime()).embed(crop)
    assert float(found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)) > 0.999


class Payload:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_that_runs_code_runs_none_even_if_its_hash_was_given(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("facenet_pytorch")
    path, trace = tmp_path / "weights.pt", tmp_path / "trace"
    torch.save({"conv2d_1a.conv.weight": Payload(trace)}, path)
    assert zipfile.is_zipfile(io.BytesIO(path.read_bytes()))
    with pytest.raises(BadModel, match="no weights"):
        make_export("facenet-casia", path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert not trace.exists()


def test_nothing_here_can_download() -> None:
    source = Path(known_weights.__file__).read_text("utf-8")
    assert not any(word in source for word in ("urllib", "http", "pretrained=", "load_state_dict_from_url"))
