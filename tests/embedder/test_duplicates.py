"""A copy is known however it was encoded, resized or cropped; another picture of the same kind is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from embedder.duplicates import likeness
from embedder.images import ImageLimits, decode_image, encode_jpeg
from lookalike.domain import Pixels
from lookalike.searching import NEAR_DUPLICATE
from tests.embedder.pictures import scene


def jpeg(picture: Pixels, quality: int) -> Pixels:
    return decode_image(encode_jpeg(picture, quality), ImageLimits())


def resized(picture: Pixels, across: float, down: float) -> Pixels:
    return cv2.resize(picture, None, fx=across, fy=down, interpolation=cv2.INTER_AREA)


def cropped(picture: Pixels, left: float, top: float, right: float, bottom: float) -> Pixels:
    height, width = picture.shape[:2]
    rows = slice(round(top * height), round((1 - bottom) * height))
    return np.ascontiguousarray(picture[rows, round(left * width) : round((1 - right) * width)])


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "itself": lambda picture: picture,
    "badly encoded": lambda picture: jpeg(picture, 30),
    "a third of its size": lambda picture: resized(picture, 0.33, 0.33),
    "squashed": lambda picture: resized(picture, 0.7, 1.0),
    "cropped all round": lambda picture: cropped(picture, 0.05, 0.05, 0.05, 0.05),
    "cropped at a corner": lambda picture: cropped(picture, 0.15, 0.1, 0.0, 0.0),
    "cropped, shrunk and encoded": lambda picture: jpeg(resized(cropped(picture, 0.0, 0.0, 0.1, 0.1), 0.5, 0.5), 50),
    "lighter": lambda picture: np.clip(picture * 1.1, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_known_whichever_way_round_it_is_asked(how: str) -> None:
    for seed in range(5):
        whole, copy = scene(seed), COPIES[how](scene(seed))
        assert likeness(copy, [whole])[0] >= NEAR_DUPLICATE
        assert likeness(whole, [copy])[0] >= NEAR_DUPLICATE


def test_other_pictures_are_not_copies() -> None:
    assert max(likeness(scene(1), [scene(seed) for seed in range(2, 20)])) < NEAR_DUPLICATE


def test_a_mirrored_or_turned_picture_is_another_one() -> None:
    picture = scene(3)
    others = [np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(picture[::-1])]
    assert max(likeness(picture, others)) < NEAR_DUPLICATE


def test_pictures_of_one_colour_give_an_answer_too() -> None:
    grey = np.full((50, 50, 3), 128, np.uint8)
    found = likeness(grey, [grey, scene(1)])
    assert all(-1 <= value <= 1 for value in found) and found[1] < NEAR_DUPLICATE
    assert likeness(scene(1), [grey])[0] < NEAR_DUPLICATE


@pytest.mark.shared
def test_photos_of_one_product_are_told_from_copies_of_one_photo(shared: Path) -> None:
    folder = shared / "items" / "train" / "Packages_Juice_Tropicana-Golden-Grapefruit"
    photos = [decode_image(path.read_bytes(), ImageLimits()) for path in sorted(folder.glob("*.jpg"))]
    assert len(photos) == 20
    for photo in photos[:5]:
        copy = jpeg(resized(cropped(photo, 0.1, 0.0, 0.0, 0.1), 0.5, 0.5), 50)
        found = likeness(copy, photos)
        assert [value >= NEAR_DUPLICATE for value in found] == [other is photo for other in photos]
