"""The parts of the train extra work behind the same port, and say what to install or give where they cannot."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import embedder.torch_models as torch_models
from embedder.factory import build_face_embedder, build_image_embedder
from embedder.images import ImageLimits, decode_image, encode_jpeg
from embedder.pipeline import FaceEmbedder
from lookalike.errors import BadModel, ModelNotAvailable
from tests.embedder.pictures import encoded, gradient, scene


@pytest.fixture
def torch() -> object:
    return pytest.importorskip("torch", reason="left out: the train extra is not installed")


def test_without_the_extra_the_answer_is_what_to_install(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        torch_models.importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else real(name, *rest)
    )
    for names in ({"detector": "mtcnn"}, {"embedder": "inception_resnet_v1:x"}, {"embedder": "timm:resnet18:x"}):
        with pytest.raises(ModelNotAvailable, match=r"lookalike\[train\]"):
            build_face_embedder(model_cache, **names)  # type: ignore[arg-type]
    with pytest.raises(ModelNotAvailable, match=r"lookalike\[train\]"):
        build_image_embedder(model_cache, "timm:resnet18:x")


@pytest.mark.train
def test_a_timm_backbone_embeds_whole_pictures(torch: object, model_cache: Path, tmp_path: Path) -> None:
    import timm
    import torch as t

    network = timm.create_model("resnet10t", pretrained=False).eval()
    weights = saved(tmp_path / "resnet.safetensors", network)
    encoder = build_image_embedder(model_cache, f"timm:resnet10t:{weights}")
    config = timm.data.resolve_data_config({}, model=network)
    side = config["input_size"][-1]
    square = scene(1, side, side)
    (found,) = encoder.encode(encoded(square, "PNG"))
    scaled = t.tensor((square / 255 - config["mean"]) / config["std"], dtype=t.float32).permute(2, 0, 1)[None]
    with t.inference_mode():
        features = network.forward_head(network.forward_features(scaled), pre_logits=True)[0].numpy()
    assert np.allclose(found.vector, features / np.linalg.norm(features), atol=1e-3)
    assert encoder.runtime == "torch f32"


@pytest.mark.train
def test_mtcnn_finds_the_faces_that_yunet_finds(
    torch: object, encoder: FaceEmbedder, model_cache: Path, face_photo: bytes
) -> None:
    mtcnn = build_face_embedder(model_cache, detector="mtcnn")
    ours, theirs = (one.encode(face_photo, largest_only=True)[0] for one in (encoder, mtcnn))
    eyes = ours.face.landmarks[1][0] - ours.face.landmarks[0][0]
    assert np.abs(np.array(ours.face.landmarks) - np.array(theirs.face.landmarks)).max() < 0.35 * eyes
    assert ours.vector @ theirs.vector > 0.7


@pytest.mark.train
def test_mtcnn_survives_small_and_empty_pictures(torch: object, model_cache: Path) -> None:
    mtcnn = build_face_embedder(model_cache, detector="mtcnn", limits=ImageLimits(min_side=1))
    for width, height in ((1, 1), (15, 15), (16, 300), (640, 480)):
        assert mtcnn.detect(encoded(gradient(width, height), "PNG")) == []


def saved(path: Path, network: object) -> Path:
    from safetensors.torch import save_file

    save_file(network.state_dict(), path)  # type: ignore[attr-defined]
    return path


@pytest.mark.train
def test_inception_resnet_takes_weights_of_a_local_file(torch: object, model_cache: Path, tmp_path: Path) -> None:
    from facenet_pytorch import InceptionResnetV1

    weights = saved(tmp_path / "weights.safetensors", InceptionResnetV1(classify=True, num_classes=10))
    encoder = build_face_embedder(model_cache, embedder=f"inception_resnet_v1:{weights}")
    crops = [encode_jpeg(gradient(112, 112)), encode_jpeg(255 - gradient(112, 112))]
    vectors = encoder.encode_crops(crops).vectors
    assert vectors.shape == (2, 512)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.runtime == "torch f32"
    again = build_face_embedder(model_cache, embedder=f"inception_resnet_v1:{weights}")
    assert again.space == encoder.space
    assert np.allclose(again.encode_crops(crops).vectors, vectors, atol=1e-5)


@pytest.mark.train
def test_a_timm_backbone_gives_its_features(torch: object, model_cache: Path, tmp_path: Path) -> None:
    import timm
    import torch as t

    network = timm.create_model("resnet10t", pretrained=False).eval()
    weights = saved(tmp_path / "resnet.safetensors", network)
    encoder = build_face_embedder(model_cache, embedder=f"timm:resnet10t:{weights}")
    crop = encode_jpeg(gradient(112, 112))
    (vector,) = encoder.encode_crops([crop]).vectors
    assert encoder.space.dimension == network.num_features
    config = timm.data.resolve_data_config({}, model=network)
    side = config["input_size"][-1]
    import cv2

    pixels = cv2.resize(decode_image(crop, ImageLimits()), (side, side)) / 255
    scaled = t.tensor((pixels - config["mean"]) / config["std"], dtype=t.float32).permute(2, 0, 1)[None]
    with t.inference_mode():
        features = network.forward_head(network.forward_features(scaled), pre_logits=True)[0].numpy()
    assert np.allclose(vector, features / np.linalg.norm(features), atol=1e-3)


@pytest.mark.train
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("inception_resnet_v1", BadModel),
        ("inception_resnet_v1:weights.pt", BadModel),
        ("inception_resnet_v1:absent.safetensors", BadModel),
        ("timm:resnet10t", BadModel),
        ("timm:resnet10t:absent.safetensors", BadModel),
        ("timm:no_such_network:w.safetensors", ModelNotAvailable),
    ],
)
def test_weights_that_are_missing_or_pickled_are_refused(
    torch: object, model_cache: Path, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        build_face_embedder(model_cache, embedder=name)


@pytest.mark.train
def test_weights_of_another_network_are_refused(torch: object, model_cache: Path, tmp_path: Path) -> None:
    import timm

    weights = saved(tmp_path / "w.safetensors", timm.create_model("resnet10t", pretrained=False))
    with pytest.raises(BadModel, match="do not fit"):
        build_face_embedder(model_cache, embedder=f"inception_resnet_v1:{weights}")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BadModel, match="not a readable"):
        build_face_embedder(model_cache, embedder=f"inception_resnet_v1:{tmp_path / 'bad.safetensors'}")
