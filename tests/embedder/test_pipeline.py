"""From a photo's bytes to unit vectors: people resemble themselves, strangers do not, and options do what they say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embedder.detect import Detection
from embedder.images import ImageLimits, decode_image, encode_jpeg
from embedder.pipeline import FaceEmbedder, FaceModel
from lookalike.domain import Embeddings, Floats, Pixels
from lookalike.errors import ImageTooSmall, InvalidInput, SpaceMismatch
from tests.embedder.pictures import encoded, gradient


def test_people_resemble_themselves_more_than_others(encoder: FaceEmbedder, lfw: dict[str, list[bytes]]) -> None:
    first = np.stack([encoder.encode(pictures[0], largest_only=True)[0].vector for pictures in lfw.values()])
    second = np.stack([encoder.encode(pictures[1], largest_only=True)[0].vector for pictures in lfw.values()])
    similarities = first @ second.T
    assert (similarities.argmax(axis=1) == np.arange(len(lfw))).mean() >= 0.95
    assert np.diag(similarities).mean() > 0.6
    assert np.abs(similarities[~np.eye(len(lfw), dtype=bool)]).mean() < 0.2


def test_vectors_are_unit_float32_of_the_space(encoder: FaceEmbedder, face_photo: bytes) -> None:
    (face,) = encoder.encode(face_photo, largest_only=True)
    assert face.vector.dtype == np.float32
    assert face.vector.shape == (encoder.space.dimension,)
    assert np.linalg.norm(face.vector) == pytest.approx(1, abs=1e-5)
    assert face.crop is None


def test_encode_and_detect_find_the_same_faces(encoder: FaceEmbedder, face_photo: bytes) -> None:
    assert [face.face for face in encoder.encode(face_photo)] == encoder.detect(face_photo)


def collage(lfw: dict[str, list[bytes]], count: int) -> bytes:
    photos = [decode_image(pictures[0], ImageLimits()) for pictures in list(lfw.values())[:count]]
    return encode_jpeg(np.hstack(photos))


def test_every_face_of_a_collage_gets_its_own_vector(encoder: FaceEmbedder, lfw: dict[str, list[bytes]]) -> None:
    alone = np.stack([encoder.encode(pictures[0], largest_only=True)[0].vector for pictures in list(lfw.values())[:6]])
    faces = encoder.encode(collage(lfw, 6))
    for face in faces:
        if face.face.box.width > 60:  # bystanders are smaller
            tile = int((face.face.box.x + face.face.box.width / 2) // 250)
            assert (alone @ face.vector).argmax() == tile
    areas = [face.face.box.area for face in faces]
    assert areas == sorted(areas, reverse=True)


def test_largest_only_gives_the_first_of_all(encoder: FaceEmbedder, lfw: dict[str, list[bytes]]) -> None:
    data = collage(lfw, 4)
    every, largest = encoder.encode(data), encoder.encode(data, largest_only=True)
    assert len(every) >= 4
    assert len(largest) == 1
    assert largest[0].face == every[0].face
    assert largest[0].vector @ every[0].vector > 0.999


def test_enrolment_looks_at_the_mirrored_face_too(encoder: FaceEmbedder, face_photo: bytes) -> None:
    mirrored = encode_jpeg(decode_image(face_photo, ImageLimits())[:, ::-1], 100)
    plain, enrolled = (encoder.encode(face_photo, largest_only=True, enrolment=e)[0].vector for e in (False, True))
    other, other_enrolled = (encoder.encode(mirrored, largest_only=True, enrolment=e)[0].vector for e in (False, True))
    assert np.linalg.norm(enrolled) == pytest.approx(1, abs=1e-5)
    assert enrolled @ other_enrolled > plain @ other
    assert not np.allclose(enrolled, plain)


@pytest.mark.parametrize("enrolment", [False, True])
def test_a_kept_crop_gives_the_vector_again(
    encoder: FaceEmbedder, lfw: dict[str, list[bytes]], enrolment: bool
) -> None:
    faces = [
        encoder.encode(pictures[0], largest_only=True, crops=True, enrolment=enrolment)[0]
        for pictures in list(lfw.values())[:12]
    ]
    again = encoder.encode_crops([face.crop for face in faces if face.crop], enrolment=enrolment)
    assert isinstance(again, Embeddings)
    assert again.space == encoder.space
    similarities = (again.vectors * np.stack([face.vector for face in faces])).sum(axis=1)
    assert similarities.min() > 0.98


def test_no_crops_give_no_embeddings(encoder: FaceEmbedder) -> None:
    assert len(encoder.encode_crops([])) == 0


def test_a_crop_of_another_size_is_refused(encoder: FaceEmbedder) -> None:
    with pytest.raises(InvalidInput, match="112"):
        encoder.encode_crops([encoded(gradient(100, 112), "PNG")])


def test_a_picture_without_a_face_gives_an_empty_list(encoder: FaceEmbedder) -> None:
    data = encoded(gradient(640, 480), "JPEG")
    assert encoder.encode(data) == []
    assert encoder.detect(data) == []


def test_a_picture_of_fifteen_pixels_is_too_small(encoder: FaceEmbedder) -> None:
    with pytest.raises(ImageTooSmall):
        encoder.encode(encoded(gradient(15, 15), "PNG"))


def test_threads_get_the_answers_that_they_would_get_alone(encoder: FaceEmbedder, lfw: dict[str, list[bytes]]) -> None:
    photos = [pictures[0] for pictures in list(lfw.values())[:10]]
    alone = [encoder.encode(photo, largest_only=True)[0] for photo in photos]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda photo: encoder.encode(photo, largest_only=True)[0], photos * 3))
    for i, face in enumerate(together):
        assert face.face == alone[i % 10].face
        assert face.vector @ alone[i % 10].vector > 0.999


def test_centring_subtracts_the_mean_and_is_another_space() -> None:
    def embed(crops: np.ndarray) -> np.ndarray:
        return np.tile(np.array([[3.0, 4.0]], np.float32), (len(crops), 1))

    def built(centre: np.ndarray | None) -> FaceEmbedder:
        return FaceEmbedder(lambda image: [], FaceModel("toy", 2, "none", embed, "toy f32"), centre=centre)

    crop = encode_jpeg(gradient(112, 112))
    plain, centred = built(None), built(np.array([0.6, 0.0], np.float32))
    assert np.allclose(plain.encode_crops([crop]).vectors, [[0.6, 0.8]])
    assert np.allclose(centred.encode_crops([crop]).vectors, [[0.0, 1.0]])
    assert np.allclose(centred.encode_crops([crop], enrolment=True).vectors, [[0.0, 1.0]])
    with pytest.raises(SpaceMismatch):
        plain.space.require(centred.space)
    assert built(np.array([0.5, 0.0], np.float32)).space != centred.space


def test_enrolling_gives_what_detect_and_encode_give_in_one_pass(encoder: FaceEmbedder, face_photo: bytes) -> None:
    faces, template = encoder.enrollable(face_photo)
    (encoded_alone,) = encoder.encode(face_photo, largest_only=True, enrolment=True, crops=True)
    assert faces == encoder.detect(face_photo)
    assert template is not None
    assert template.crop == encoded_alone.crop
    np.testing.assert_allclose(template.vector, encoded_alone.vector, atol=1e-5)


def test_a_face_of_poor_quality_gets_no_template(encoder: FaceEmbedder, face_photo: bytes) -> None:
    dark = encode_jpeg((decode_image(face_photo, ImageLimits()) * 0.15).astype(np.uint8))
    faces, template = encoder.enrollable(dark)
    assert template is None
    assert not faces or faces[0].quality.reasons


def nobody(pixels: Pixels) -> list[Detection]:
    return []


def left_and_right(crops: Pixels) -> Floats:
    """(N, 112, 112, 3) -> (N, 2): mean brightness of the two halves, which mirroring swaps."""
    return np.stack([crops[:, :, :56].mean(axis=(1, 2, 3)), crops[:, :, 56:].mean(axis=(1, 2, 3))], axis=1) + 1


@pytest.mark.parametrize(("flip", "averaged"), [("never", set()), ("enrolment", {True}), ("always", {True, False})])
def test_a_model_is_averaged_with_the_mirrored_crop_when_it_says_so(flip: str, averaged: set[bool]) -> None:
    model = FaceModel("halves", 2, "none", left_and_right, "numpy")
    embedder = FaceEmbedder(nobody, model, flip=flip)
    crop = encode_jpeg(gradient(112, 112))
    for enrolment in (True, False):
        (vector,) = embedder.encode_crops([crop], enrolment=enrolment).vectors
        assert (abs(vector[0] - vector[1]) < 1e-3) == (enrolment in averaged)


def test_two_ways_of_mirroring_are_two_spaces() -> None:
    model = FaceModel("halves", 2, "none", left_and_right, "numpy")
    spaces = {FaceEmbedder(nobody, model, flip=flip).space for flip in ("never", "enrolment", "always")}
    assert len(spaces) == 3
    assert FaceEmbedder(nobody, model).space == FaceEmbedder(nobody, model, flip="enrolment").space
