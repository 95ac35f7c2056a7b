"""Pixels become a network's input the same way in training and in serving."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.preprocessing import Preprocessing, letterbox

MEAN, SCALE = (10.0, 20.0, 30.0), (0.5, 0.25, 0.125)


def test_a_wide_picture_keeps_its_aspect_ratio_between_bands_of_the_filling() -> None:
    wide = np.full((50, 100, 3), 200, np.uint8)
    boxed = letterbox(wide, 80, (1.0, 2.0, 3.0))
    assert boxed.shape == (80, 80, 3)
    assert (boxed[20:60] == 200).all()
    assert (boxed[:20] == (1, 2, 3)).all() and (boxed[60:] == (1, 2, 3)).all()


@pytest.mark.parametrize("shape", [(1, 700, 3), (700, 1, 3), (64, 64, 3), (3, 2, 3)])
def test_any_shape_fits(shape: tuple[int, int, int]) -> None:
    assert letterbox(np.zeros(shape, np.uint8), 64, (0.0, 0.0, 0.0)).shape == (64, 64, 3)


def test_padding_is_nothing_to_the_network() -> None:
    made = Preprocessing(40, MEAN, SCALE)([np.full((10, 40, 3), 255, np.uint8)])
    assert made.shape == (1, 3, 40, 40) and made.dtype == np.float32
    assert (made[0, :, 0, :] == 0).all()


def test_values_are_shifted_then_scaled_in_the_order_of_the_channels() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = 110, 120, 130
    rgb = Preprocessing(8, MEAN, SCALE)([picture])[0, :, 0, 0]
    bgr = Preprocessing(8, MEAN, SCALE, channels="bgr")([picture])[0, :, 0, 0]
    assert rgb.tolist() == [50.0, 25.0, 12.5]
    assert bgr.tolist() == [60.0, 25.0, 10.0]


def test_the_filling_of_a_bgr_network_is_its_mean_in_rgb() -> None:
    assert Preprocessing(8, MEAN, SCALE, channels="bgr").filling == (30.0, 20.0, 10.0)


def test_two_ways_of_preparing_pictures_describe_themselves_differently() -> None:
    described = {
        Preprocessing(8, MEAN, SCALE, channels=channels, fit=fit).describe()
        for channels in ("rgb", "bgr")
        for fit in ("letterbox", "stretch")
    }
    assert len(described) == 4
