"""Each fault of a face has its word, ordinary photos have none, and the score falls as the fault grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from embedder.images import ImageLimits, decode_image, encode_jpeg
from embedder.pipeline import FaceEmbedder
from embedder.quality import REASONS, assess_picture, judge, outside_share, turn
from lookalike.domain import Box, Landmarks, Pixels
from tests.embedder.pictures import scene

GOOD = {
    "eye_distance_px": 60.0,
    "sharpness": 200.0,
    "highlight": 190.0,
    "brightness": 130.0,
    "turn": 0.1,
    "outside": 0.0,
}
FRONTAL: Landmarks = ((40.0, 50.0), (80.0, 50.0), (60.0, 72.0), (45.0, 90.0), (75.0, 90.0))


def test_a_good_face_has_no_reason_and_the_highest_score() -> None:
    assert judge(GOOD).reasons == ()
    assert judge(GOOD).score == 1.0


@pytest.mark.parametrize(
    ("measure", "values", "reason"),
    [
        ("eye_distance_px", (30.0, 14.5, 13.5, 5.0), "too_small"),
        ("sharpness", (50.0, 16.0, 14.0, 1.0), "blurred"),
        ("highlight", (100.0, 61.0, 59.0, 10.0), "too_dark"),
        ("brightness", (200.0, 221.0, 223.0, 255.0), "too_bright"),
        ("turn", (0.5, 0.95, 1.05, 3.0), "extreme_pose"),
        ("outside", (0.1, 0.19, 0.21, 0.9), "cut_off"),
    ],
)
def test_each_fault_has_its_word_and_lowers_the_score(
    measure: str, values: tuple[float, float, float, float], reason: str
) -> None:
    fine, near, over, far = (judge({**GOOD, measure: value}) for value in values)
    assert fine.reasons == near.reasons == ()
    assert over.reasons == far.reasons == (reason,)
    assert fine.score > near.score >= 0.5 > over.score > far.score >= 0.0


def test_reasons_are_the_documented_words() -> None:
    assert REASONS == ("too_small", "blurred", "too_dark", "too_bright", "extreme_pose", "cut_off")


def test_turn_is_small_from_the_front_and_grows_to_either_side_and_up_and_down() -> None:
    def with_nose(x: float, y: float) -> float:
        return turn((*FRONTAL[:2], (x, y), *FRONTAL[3:]))

    assert turn(FRONTAL) < 0.15
    assert with_nose(80, 72) == pytest.approx(1.0)
    assert with_nose(40, 72) == pytest.approx(1.0)
    assert with_nose(90, 72) > 1 > with_nose(70, 72) > with_nose(65, 72)
    assert with_nose(60, 52) > 1
    assert with_nose(60, 88) > 1


def test_turn_does_not_change_when_the_picture_is_rotated() -> None:
    angle = np.deg2rad(35)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    skewed = (*FRONTAL[:2], (70.0, 70.0), *FRONTAL[3:])
    turned = tuple((float(x), float(y)) for x, y in np.array(skewed) @ rotation.T)
    assert turn(turned) == pytest.approx(turn(skewed))


def test_the_share_outside_is_that_of_the_box() -> None:
    assert outside_share(Box(10, 10, 20, 20), 100, 100) == 0
    assert outside_share(Box(-10, 10, 20, 20), 100, 100) == pytest.approx(0.5)
    assert outside_share(Box(90, 95, 20, 20), 100, 100) == pytest.approx(1 - 0.5 * 0.25)
    assert outside_share(Box(200, 200, 20, 20), 100, 100) == 1
    assert outside_share(Box(10, 10, 0, 0), 100, 100) >= 0


FAULTS: dict[str, Callable[[Pixels], Pixels]] = {
    "blurred": lambda picture: cv2.GaussianBlur(picture, (0, 0), 5),
    "too_dark": lambda picture: (picture * 0.15).astype(np.uint8),
    "too_bright": lambda picture: (255 - (255 - picture) * 0.15).astype(np.uint8),
    "too_small": lambda picture: cv2.resize(picture, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_spoilt_photos_are_refused_for_what_was_done_to_them(
    encoder: FaceEmbedder, lfw: dict[str, list[bytes]], reason: str
) -> None:
    found = total = 0
    for pictures in list(lfw.values())[:25]:
        spoilt = FAULTS[reason](decode_image(pictures[0], ImageLimits()))
        faces = encoder.detect(encode_jpeg(spoilt))
        total += bool(faces)
        found += bool(faces) and reason in faces[0].quality.reasons
    assert total >= 20
    assert found >= 0.8 * total


def test_ordinary_photos_pass(encoder: FaceEmbedder, shared: Path) -> None:
    pictures = sorted((shared / "faces" / "train" / "celeba300").glob("*/*.jpg"))[::40]
    faces = [encoder.detect(path.read_bytes()) for path in pictures]
    refused = [found[0].quality.reasons for found in faces if found and found[0].quality.reasons]
    assert len(faces) > 100
    assert len(refused) <= 0.05 * len(faces)


def test_an_ordinary_picture_has_no_reason() -> None:
    assert assess_picture(scene(1)).reasons == ()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda picture: picture[:30], "too_small"),
        (lambda picture: cv2.GaussianBlur(picture, (0, 0), 12), "blurred"),
        (lambda picture: picture // 8, "too_dark"),
        (lambda picture: 255 - (255 - picture) // 8, "too_bright"),
    ],
)
def test_each_fault_of_a_picture_has_its_word(spoil: Callable[[Pixels], Pixels], reason: str) -> None:
    assert reason in assess_picture(np.ascontiguousarray(spoil(scene(1)))).reasons


def test_a_thing_on_a_white_ground_is_not_too_bright() -> None:
    shown = np.full((240, 320, 3), 255, np.uint8)
    shown[100:140, 140:180] = scene(2, 40, 40)
    assert assess_picture(shown).reasons == ()


def test_nothing_but_one_colour_is_not_enrolled() -> None:
    assert assess_picture(np.full((240, 320, 3), 128, np.uint8)).reasons == ("blurred",)


@pytest.mark.shared
def test_photos_of_things_have_no_reason(shared: Path) -> None:
    photos = sorted((shared / "items" / "train").glob("*/0[12].jpg"))
    faults = [q.reasons for q in (assess_picture(decode_image(p.read_bytes(), ImageLimits())) for p in photos)]
    assert len(faults) == 110 and not any(faults)
