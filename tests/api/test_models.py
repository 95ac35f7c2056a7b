"""Each kind of collection has models of its own, found by their names or by the space that they embed into."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from api.models import InstalledModels
from embedder.images import encode_jpeg
from lookalike.domain import Kind
from lookalike.errors import BadModel, ModelNotAvailable, SpaceMismatch
from lookalike.ports import ImageEncoder
from lookalike.settings import Settings
from tests.embedder.small_models import write_image_model


@pytest.fixture
def names(tmp_path: Path) -> tuple[str, str]:
    return write_image_model(tmp_path / "first", 1), write_image_model(tmp_path / "second", 2)


@pytest.fixture
def models(tmp_path: Path, names: tuple[str, str]) -> InstalledModels:
    return InstalledModels(Settings(data=tmp_path / "data", image_models=names))


def test_each_kind_has_its_own_the_default_first(models: InstalledModels, names: tuple[str, str]) -> None:
    assert models.names(Kind.FACE) == ["sface-int8", "sface"]
    assert models.names(Kind.IMAGE) == [*names, "bundle:items-1"]
    assert models.default(Kind.IMAGE).model.startswith("projection1-")


def test_a_model_is_found_by_its_own_name_and_by_its_space(models: InstalledModels, names: tuple[str, str]) -> None:
    space = models.space(Kind.IMAGE, names[1])
    assert models.space(Kind.IMAGE, space.model) == space
    encoder = models.encoder(space)
    assert encoder.space == space and isinstance(encoder, ImageEncoder)
    assert models.calibration(space) is None


def test_a_model_for_pictures_is_none_for_faces(models: InstalledModels, names: tuple[str, str]) -> None:
    with pytest.raises(ModelNotAvailable, match="sface-int8, sface"):
        models.space(Kind.FACE, names[0])
    with pytest.raises(ModelNotAvailable, match="there are onnx:"):
        models.space(Kind.IMAGE, "sface")


def test_the_shipped_model_for_pictures_is_the_default_and_gives_unit_vectors(tmp_path: Path) -> None:
    models = InstalledModels(Settings(data=tmp_path))
    encoder = models.encoder(models.default(Kind.IMAGE))
    drawn = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    vector = encoder.encode(encode_jpeg(drawn))[0].vector
    assert encoder.space.model.startswith("items-1-")
    assert vector.shape == (1280,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)


def test_where_there_is_none_the_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.models.shipped_names", lambda kind: [])
    without = InstalledModels(Settings(data=tmp_path))
    for ask in (lambda: without.default(Kind.IMAGE), lambda: without.space(Kind.IMAGE, "items")):
        with pytest.raises(ModelNotAvailable, match="LOOKALIKE_IMAGE_MODELS"):
            ask()


def test_a_model_that_prepares_pictures_otherwise_is_not_taken_for_it(models: InstalledModels) -> None:
    space = models.default(Kind.IMAGE)
    with pytest.raises(SpaceMismatch):
        models.encoder(replace(space, preprocessing="another"))
    with pytest.raises(ModelNotAvailable):
        models.encoder(replace(space, model="gone"))


def test_a_loaded_model_is_found_without_loading_another(tmp_path: Path, names: tuple[str, str]) -> None:
    broken = tmp_path / "broken" / "manifest.json"
    models = InstalledModels(Settings(data=tmp_path / "data", models=(f"onnx:{broken}",), image_models=names))
    space = models.default(Kind.IMAGE)
    assert models.encoder(space).space == space
    with pytest.raises(ModelNotAvailable):
        models.encoder(replace(space, model="gone"))


def test_a_bad_model_does_not_stand_in_the_way_of_a_good_one(tmp_path: Path, names: tuple[str, str]) -> None:
    bad = tmp_path / "bad.lkb"
    bad.write_bytes(b"LKB1" + bytes(200))
    good = InstalledModels(Settings(data=tmp_path / "data", image_models=names)).default(Kind.IMAGE)
    models = InstalledModels(Settings(data=tmp_path / "data", image_models=(f"bundle:{bad}", names[0])))
    assert models.encoder(good).space == good
    assert models.space(Kind.IMAGE, good.model) == good
    with pytest.raises(BadModel):
        models.default(Kind.IMAGE)
