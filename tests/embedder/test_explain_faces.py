"""Maps of real faces through the default model, and the sanity checks of Adebayo et al. (NeurIPS 2018)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from embedder.explain import explain
from embedder.explain_faces import ExplainedFaces, explain_faces
from embedder.models import SFACE, load_bundled
from embedder.pipeline import FaceEmbedder, unit_rows
from embedder.runtime import open_runtime
from lookalike.domain import Floats, Pixels
from lookalike.errors import FaceNotFound, UnsupportedImage
from tests.embedder.pictures import encoded, gradient


@pytest.fixture(scope="module")
def explained(encoder: FaceEmbedder, portraits: dict[str, bytes]) -> ExplainedFaces:
    return explain_faces(encoder, portraits["obama.jpg"], portraits["obama2.jpg"])


def rank_correlation(a: Floats, b: Floats) -> float:
    first, second = (np.argsort(np.argsort(heat.ravel())) for heat in (a, b))
    return float(np.corrcoef(first, second)[0, 1])


def test_hiding_what_the_map_marks_does_more_than_hiding_as_much_by_chance(
    explained: ExplainedFaces, encoder: FaceEmbedder, portraits: dict[str, bytes]
) -> None:
    vectors = [encoder.encode(portraits[name])[0].vector for name in ("obama.jpg", "obama2.jpg")]

    assert explained.explanation.similarity == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    for side in explained.explanation.sides:
        assert side.marked < side.random < explained.explanation.similarity


def test_for_a_face_the_eyes_count_more_than_their_area(explained: ExplainedFaces) -> None:
    for side in explained.explanation.sides:
        eyes = next(part for part in side.parts if part.name == "eyes and brows")
        assert eyes.weight > 1.5 * eyes.area
        assert eyes.without < side.random


def test_of_two_people_the_map_says_what_keeps_them_apart(encoder: FaceEmbedder, portraits: dict[str, bytes]) -> None:
    found = explain_faces(encoder, portraits["obama.jpg"], portraits["biden.jpg"], against=True).explanation

    assert all(side.marked > side.random for side in found.sides)


def test_the_map_changes_with_the_other_face_and_with_shuffled_weights(
    explained: ExplainedFaces, encoder: FaceEmbedder, portraits: dict[str, bytes], model_cache: Path
) -> None:
    first, second = explained.crops
    heat = explained.explanation.sides[0].heat
    stranger = encoder.aligned(portraits["biden.jpg"], largest_only=True)[0]

    again = explain(encoder.embed_aligned, first, second, seed=2).sides[0].heat
    unrelated = explain(encoder.embed_aligned, first, stranger).sides[0].heat
    shuffled = explain(sface_with_shuffled_weights(model_cache), first, second, masks=60).sides[0].heat

    like = rank_correlation(heat, again)
    assert rank_correlation(heat, unrelated) < like - 0.2
    assert rank_correlation(heat, shuffled) < like - 0.2


def sface_with_shuffled_weights(cache: Path) -> Callable[[Pixels], Floats]:
    rng = np.random.default_rng(1)
    model = onnx.load_model_from_string(load_bundled(SFACE, cache))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(rng.permutation(values.ravel()).reshape(values.shape), tensor.name))
    network = open_runtime("auto").load(model.SerializeToString(), "shuffled")

    def embed(crops: Pixels) -> Floats:
        return unit_rows(next(iter(network(crops.transpose(0, 3, 1, 2).astype(np.float32)).values())).copy())

    return embed


def test_a_picture_without_a_face_is_named(encoder: FaceEmbedder, portraits: dict[str, bytes]) -> None:
    empty = encoded(gradient(200, 160), "PNG")

    with pytest.raises(FaceNotFound, match="image_b"):
        explain_faces(encoder, portraits["obama.jpg"], empty)
    with pytest.raises(UnsupportedImage):
        explain_faces(encoder, b"no picture", portraits["obama.jpg"])


def test_a_face_s_aligned_crop_has_the_vector_that_it_is_compared_by(
    encoder: FaceEmbedder, portraits: dict[str, bytes]
) -> None:
    crops = encoder.aligned(portraits["obama.jpg"])

    assert encoder.embed_aligned(crops) == pytest.approx(
        encoder.encode(portraits["obama.jpg"])[0].vector[None], abs=1e-5
    )
    assert encoder.aligned(encoded(gradient(200, 160), "PNG")).shape == (0, 112, 112, 3)
