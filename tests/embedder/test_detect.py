"""YuNet's outputs are decoded as written, and faces are found in small, large, crowded and hostile pictures."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from embedder.detect import (
    COARSE_SIDE,
    FINE_SIDE,
    SIDES,
    YuNetDetector,
    decode_outputs,
    resized,
    suppress_overlaps,
    to_detection,
    working_side,
)
from embedder.images import ImageLimits, decode_image
from embedder.models import YUNET, load_bundled
from embedder.pipeline import FaceEmbedder
from embedder.runtime import open_runtime
from lookalike.domain import Floats, Pixels


def blank_outputs(height: int, width: int) -> dict[str, Floats]:
    outputs = {}
    for stride in (8, 16, 32):
        cells = (height // stride) * (width // stride)
        for name, columns in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{name}_{stride}"] = np.zeros((1, cells, columns), np.float32)
    return outputs


def test_a_cell_is_decoded_as_the_paper_says() -> None:
    outputs = blank_outputs(64, 96)
    cell = 1 * (96 // 16) + 4  # second row, fifth column of the grid of 16 pixels
    outputs["cls_16"][0, cell] = 0.81
    outputs["obj_16"][0, cell] = 1.0
    outputs["bbox_16"][0, cell] = (0.5, -0.25, np.log(2), np.log(3))
    outputs["kps_16"][0, cell] = np.arange(10) / 10
    (row,) = decode_outputs(outputs, 96, 0.7)
    width, height = 2 * 16, 3 * 16
    centre_x, centre_y = (4 + 0.5) * 16, (1 - 0.25) * 16
    expected = [centre_x - width / 2, centre_y - height / 2, width, height]
    for i in range(5):
        expected += [(4 + 2 * i / 10) * 16, (1 + (2 * i + 1) / 10) * 16]
    assert np.allclose(row, [*expected, 0.9], atol=1e-4)


def test_cells_below_the_score_and_senseless_numbers_are_left_out() -> None:
    outputs = blank_outputs(64, 64)
    outputs["cls_8"][0, :3] = outputs["obj_8"][0, :3] = 0.9
    outputs["bbox_8"][0, 1] = (0, 0, np.nan, 0)
    outputs["bbox_8"][0, 2] = (0, 0, 1000, 0)
    with np.errstate(over="ignore"):
        assert len(decode_outputs(outputs, 64, 0.7)) == 1
        assert len(decode_outputs(outputs, 64, 0.95)) == 0


def test_suppression_agrees_with_a_slow_loop() -> None:
    random = np.random.default_rng(4)
    rows = np.zeros((80, 15), np.float32)
    rows[:, :2] = random.uniform(0, 100, (80, 2))
    rows[:, 2:4] = random.uniform(10, 40, (80, 2))
    rows[:, 14] = random.permutation(80) / 80
    kept: list[Floats] = []
    for row in sorted(rows, key=lambda row: -row[14]):
        if all(overlap(row, other) <= 0.3 for other in kept):
            kept.append(row)
    assert np.array_equal(suppress_overlaps(rows, 0.3), np.array(kept))


def overlap(a: Floats, b: Floats) -> float:
    across = max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    return float(across * down / (a[2] * a[3] + b[2] * b[3] - across * down))


def test_confidence_never_exceeds_one() -> None:
    assert to_detection(np.array([0, 0, 1, 1, *range(10), 1.0000001], np.float32)).confidence == 1.0


class Counting:
    """A network that finds nothing and notes the shapes that it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: Floats) -> Mapping[str, Floats]:
        self.shapes.append(batch.shape)
        return blank_outputs(batch.shape[2], batch.shape[3])


def test_hostile_sizes_and_aspect_ratios_meet_few_working_shapes() -> None:
    network = Counting()
    detector = YuNetDetector(network)
    sizes = [1, 16, 17, 100, 333, 640, 641, 1280, 4999]
    for height in sizes:
        for width in sizes:
            assert detector(np.zeros((height, width, 3), np.uint8)) == []
    detector(np.zeros((16, 1_000_000, 3), np.uint8))
    for _, channels, height, width in network.shapes:
        assert channels == 3
        assert height in SIDES
        assert width in SIDES
    assert max(max(shape) for shape in network.shapes) == FINE_SIDE


def test_the_working_side_holds_the_picture() -> None:
    assert all(side % 32 == 0 for side in SIDES)
    for pixels in range(1, FINE_SIDE + 1):
        assert working_side(pixels) >= pixels


@pytest.fixture(scope="module")
def detector(model_cache: object) -> YuNetDetector:
    return YuNetDetector(open_runtime().load(load_bundled(YUNET, model_cache), "yunet"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def photos(lfw: dict[str, list[bytes]]) -> list[Pixels]:
    return [decode_image(pictures[0], ImageLimits()) for pictures in lfw.values()]


def test_every_photo_shows_its_face_near_the_middle_with_points_in_order(
    detector: YuNetDetector, photos: list[Pixels]
) -> None:
    for photo in photos:
        face = detector(photo)[0]
        assert 60 < face.box.x + face.box.width / 2 < 190
        left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
        assert left_eye[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize("scale", [0.5, 1.9, 3.0, 6.0])
def test_boxes_follow_the_scale_of_the_picture(detector: YuNetDetector, photos: list[Pixels], scale: float) -> None:
    moved = []
    for photo in photos[:20]:
        plain = detector(photo)[0]
        scaled = detector(cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))[0]
        eyes = np.hypot(*np.subtract(plain.landmarks[1], plain.landmarks[0]))
        moved.append(np.abs(np.array(scaled.landmarks) / scale - np.array(plain.landmarks)).max() / eyes)
        assert abs(scaled.box.x / scale - plain.box.x) < 0.3 * plain.box.width
        assert abs(scaled.box.height / scale - plain.box.height) < 0.3 * plain.box.height
    assert np.median(moved) < 0.2


def test_a_small_face_of_a_large_picture_gets_points_from_its_own_pixels(
    detector: YuNetDetector, photos: list[Pixels]
) -> None:
    coarse_error, error = [], []
    for photo in photos[:20]:
        wall = np.full((1620, 2160, 3), 90, np.uint8)
        wall[500:750, 900:1150] = photo
        expected = np.add(detector(photo)[0].landmarks, (900, 500))
        coarse = max(detector._look(wall, COARSE_SIDE / 2160), key=lambda row: row[2] * row[3])
        error.append(np.abs(np.array(detector(wall)[0].landmarks) - expected).mean())
        coarse_error.append(np.abs(coarse[4:14].reshape(5, 2) - expected).mean())
    assert np.median(error) < 0.7 * np.median(coarse_error)


def test_a_collage_of_sixty_gives_sixty_faces_largest_first(detector: YuNetDetector, photos: list[Pixels]) -> None:
    tiles = [cv2.resize(photos[i % len(photos)][40:210, 40:210], (128, 128)) for i in range(60)]
    collage = np.vstack([np.hstack(tiles[row * 10 : row * 10 + 10]) for row in range(6)])
    faces = detector(collage)
    cells = {(int((f.box.y + f.box.height / 2) // 128), int((f.box.x + f.box.width / 2) // 128)) for f in faces}
    assert len(cells) == 60
    assert [f.box.area for f in faces] == sorted((f.box.area for f in faces), reverse=True)


def test_no_more_faces_than_the_limit_are_given(model_cache: object, photos: list[Pixels]) -> None:
    network = open_runtime().load(load_bundled(YUNET, model_cache), "yunet")  # type: ignore[arg-type]
    collage = np.hstack([photos[0], photos[1], photos[2]])
    assert len(YuNetDetector(network, max_faces=2)(collage)) == 2


def test_a_tight_crop_still_shows_its_face(encoder: FaceEmbedder, lfw: dict[str, list[bytes]]) -> None:
    found = 0
    for pictures in lfw.values():
        crop = encoder.encode(pictures[0], largest_only=True, crops=True)[0].crop
        assert crop is not None
        found += bool(encoder.detect(crop))
    assert found >= len(lfw) - 1


@pytest.mark.parametrize("darkness", [0.15, 0.06])
def test_a_very_dark_photo_still_shows_its_face(detector: YuNetDetector, photos: list[Pixels], darkness: float) -> None:
    found = sum(bool(detector((photo * darkness).astype(np.uint8))) for photo in photos)
    assert found >= 0.95 * len(photos)


def test_pictures_without_a_face_give_none(detector: YuNetDetector) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    for picture in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
        assert detector(picture) == []


def test_a_picture_is_shrunk_to_the_asked_size_without_losing_its_mean() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (721, 1279, 3), dtype=np.uint8)
    for size in ((512, 288), (640, 360), (1279, 721), (100, 56), (1279, 56)):
        small = resized(picture, size)
        assert small.shape == (size[1], size[0], 3)
        assert abs(float(small.mean()) - float(picture.mean())) < 2
