"""The centre that comes with a model."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.centring import bundled_centre
from embedder.factory import build_face_embedder
from tests.embedder.pictures import encoded, gradient


def test_sface_has_a_centre_much_shorter_than_a_unit_vector() -> None:
    centre = bundled_centre("sface")

    assert centre is not None
    assert centre.shape == (128,)
    assert 0.1 < float(np.linalg.norm(centre)) < 0.6


@pytest.mark.parametrize("model", ["no-such-model", "../centres/sface", "", "a/b"])
def test_other_models_have_none(model: str) -> None:
    assert bundled_centre(model) is None


def test_centred_vectors_are_another_space(model_cache) -> None:
    centred = build_face_embedder(model_cache)
    raw = build_face_embedder(model_cache, centre=None)
    crop = encoded(gradient(112, 112), "JPEG")

    assert centred.space != raw.space
    a, b = centred.encode_crops([crop]).vectors[0], raw.encode_crops([crop]).vectors[0]
    expected = b - bundled_centre(raw.space.model)
    assert a == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
