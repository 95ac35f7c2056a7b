"""A whole picture, or a part of it, becomes one unit vector; what is kept of it becomes nearly the same one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.factory import build_image_embedder
from embedder.images import ImageLimits, decode_image
from embedder.pipeline import unit_rows
from embedder.whole_pictures import CROP_SIDE, ImageEmbedder, ImageModel
from lookalike.domain import Box
from lookalike.errors import ImageTooLarge, ImageTooSmall, InvalidInput, UnsupportedImage
from lookalike.ports import FaceEncoder, ImageEncoder
from tests.embedder.pictures import encoded, scene
from tests.embedder.small_models import write_image_model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> ImageEmbedder:
    folder = tmp_path_factory.mktemp("image-model")
    return build_image_embedder(folder, write_image_model(folder))


def left_and_right(**options: object) -> ImageEmbedder:
    """Embeds a picture as how bright its left and its right half are."""

    def embed(found):
        halves = [(p[:, : p.shape[1] // 2].mean(), p[:, p.shape[1] // 2 :].mean()) for p in found]
        return np.array(halves, np.float32)

    return ImageEmbedder(ImageModel("halves", 2, "none", embed, "python"), **options)


HALF_WHITE = encoded(
    np.repeat(np.array([[0, 200]], np.uint8), 32, axis=0).repeat(32, axis=1)[..., None].repeat(3, 2), "PNG"
)


def test_it_stands_in_for_a_face_without_landmarks(pictures: ImageEmbedder) -> None:
    (found,) = pictures.encode(encoded(scene(1), "PNG"))
    assert found.face.box == Box(0, 0, 320, 240)
    assert found.face.landmarks == () and found.face.confidence == 1.0
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-5)
    assert pictures.detect(encoded(scene(1), "PNG")) == [found.face]


def test_it_is_told_from_an_encoder_of_faces(pictures: ImageEmbedder, encoder: FaceEncoder) -> None:
    assert isinstance(pictures, ImageEncoder)
    assert not isinstance(encoder, ImageEncoder)


def test_a_part_is_embedded_as_if_it_were_the_picture(pictures: ImageEmbedder) -> None:
    whole = scene(2)
    part = pictures.encode_part(encoded(whole, "PNG"), Box(40.0, 30.0, 120.0, 90.0))
    (alone,) = pictures.encode(encoded(whole[30:120, 40:160], "PNG"))
    assert np.allclose(part.vector, alone.vector, atol=1e-6)
    assert part.face.box == Box(40, 30, 120, 90)


def test_a_part_is_counted_in_the_upright_picture(pictures: ImageEmbedder) -> None:
    upright = scene(3)
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(stored, "PNG", exif=exif)
    box = Box(200, 10, 100, 100)
    found, expected = pictures.encode_part(turned, box), pictures.encode_part(encoded(upright, "PNG"), box)
    assert np.allclose(found.vector, expected.vector, atol=1e-6)


def test_what_of_a_box_lies_beyond_the_picture_is_ignored(pictures: ImageEmbedder) -> None:
    found = pictures.encode_part(encoded(scene(2), "PNG"), Box(-50.0, 200.0, 100.5, 1000.0))
    assert found.face.box == Box(0, 200, 51, 40)


def test_parts_of_an_opened_picture_are_embedded_as_they_are_one_by_one(pictures: ImageEmbedder) -> None:
    data = encoded(scene(2, 900, 700), "PNG")
    boxes = [Box(10.0 * n, 5.0 * n, 150.0, 120.0) for n in range(40)]
    opened = pictures.opened(data)
    assert opened.size == (900, 700)
    alone = np.stack([pictures.encode_part(data, box).vector for box in boxes])
    assert np.allclose(opened.embed(boxes).vectors, alone, atol=1e-5)


def test_a_large_picture_s_parts_are_cut_from_a_smaller_copy_and_boxed_in_the_large_one(
    pictures: ImageEmbedder,
) -> None:
    data, box = encoded(scene(2, 3200, 2400), "PNG"), Box(400.3, 300.0, 1500.0, 1200.0)
    opened = pictures.opened(data)
    (vector,) = opened.embed([box]).vectors
    assert vector @ pictures.encode_part(data, box).vector > 0.99
    assert opened.face(box).box == Box(400, 300, 1501, 1200)


@pytest.mark.parametrize(
    ("box", "error"),
    [
        (Box(400, 0, 10, 10), InvalidInput),
        (Box(0, 0, -10, 10), InvalidInput),
        (Box(float("nan"), 0, 10, 10), InvalidInput),
        (Box(0, 0, float("inf"), 10), InvalidInput),
        (Box(315, 0, 100, 100), ImageTooSmall),
    ],
)
def test_a_box_without_enough_of_the_picture_is_refused(
    pictures: ImageEmbedder, box: Box, error: type[Exception]
) -> None:
    with pytest.raises(error, match="box"):
        pictures.encode_part(encoded(scene(2), "PNG"), box)


def test_the_template_is_of_the_picture_and_its_mirror_image() -> None:
    halves = left_and_right()
    (probe,) = halves.encode(HALF_WHITE)
    (template,) = halves.encode(HALF_WHITE, enrolment=True)
    assert np.allclose(probe.vector, [0, 1], atol=1e-6)
    assert np.allclose(template.vector, [np.sqrt(0.5)] * 2, atol=1e-6)


@pytest.mark.parametrize(("flip", "mirrored"), [("never", (False, False)), ("always", (True, True))])
def test_mirroring_follows_the_model(flip: str, mirrored: tuple[bool, bool]) -> None:
    halves = left_and_right(flip=flip)
    for enrolment, expected in zip((False, True), mirrored, strict=True):
        (found,) = halves.encode(HALF_WHITE, enrolment=enrolment)
        assert bool(np.allclose(found.vector, [np.sqrt(0.5)] * 2, atol=1e-6)) is expected
    assert f"flip={flip}" in halves.space.preprocessing


def test_the_centre_is_subtracted_and_makes_another_space() -> None:
    centre = np.array([0.5, 0.5], np.float32)
    (found,) = left_and_right(centre=centre).encode(HALF_WHITE)
    assert np.allclose(found.vector, unit_rows(np.array([[0.0, 1.0]]) - centre)[0], atol=1e-6)
    assert left_and_right(centre=centre).space != left_and_right().space


def test_what_is_kept_is_the_picture_made_smaller(pictures: ImageEmbedder) -> None:
    _, kept = pictures.enrollable(encoded(scene(4, 1600, 1000), "PNG"))
    assert kept is not None and kept.crop is not None
    assert decode_image(kept.crop, ImageLimits()).shape == (320, CROP_SIDE, 3)


def test_a_small_picture_is_kept_as_large_as_it_is(pictures: ImageEmbedder) -> None:
    _, kept = pictures.enrollable(encoded(scene(4), "PNG"))
    assert kept is not None and kept.crop is not None
    assert decode_image(kept.crop, ImageLimits()).shape == (240, 320, 3)


def test_what_is_kept_gives_the_same_template_again(pictures: ImageEmbedder) -> None:
    for size in ((1600, 1000), (320, 240), (40, 900)):
        _, kept = pictures.enrollable(encoded(scene(5, *size), "PNG"))
        assert kept is not None and kept.crop is not None
        again = pictures.encode_crops([kept.crop], enrolment=True).vectors[0]
        assert kept.vector @ again > 0.995


def test_a_picture_of_too_little_quality_has_a_reason_and_no_template(pictures: ImageEmbedder) -> None:
    faces, template = pictures.enrollable(encoded(scene(6) // 10, "PNG"))
    assert template is None
    assert faces[0].quality.reasons == ("too_dark",)


def test_pictures_are_decoded_within_limits(tmp_path: Path) -> None:
    encoder = build_image_embedder(tmp_path, write_image_model(tmp_path), limits=ImageLimits(max_pixels=10_000))
    with pytest.raises(ImageTooLarge):
        encoder.encode(encoded(scene(1), "PNG"))
    with pytest.raises(UnsupportedImage):
        encoder.encode_part(b"no picture", Box(0, 0, 100, 100))


def test_no_crops_give_no_vectors(pictures: ImageEmbedder) -> None:
    assert pictures.encode_crops([]).vectors.shape == (0, 128)
