"""The similarity transform is the least-squares one, and crops show what the template says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.align import CROP_SIDE, TEMPLATE, align_face, similarity_transform
from lookalike.domain import Floats, Landmarks, Pixels

COORDINATE = st.floats(-500, 500, width=32)


def moved_template(scale: float, degrees: float, x: float, y: float) -> Floats:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (TEMPLATE @ turn.T * scale + [x, y]).astype(np.float32)


def umeyama(source: Floats, target: Floats) -> Floats:
    """Umeyama (1991) as it is written there, by singular values, for comparison."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_mean
    u, d, vt = np.linalg.svd((target - target_mean).T @ centred / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / centred.var(axis=0).sum()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def as_landmarks(points: Floats) -> Landmarks:
    return tuple((float(x), float(y)) for x, y in points)


@given(st.floats(0.1, 20), st.floats(-180, 180), COORDINATE, COORDINATE)
def test_a_moved_template_is_brought_back(scale: float, degrees: float, x: float, y: float) -> None:
    points = moved_template(scale, degrees, x, y)
    transform = similarity_transform(points, TEMPLATE)
    assert np.allclose(points @ transform[:, :2].T + transform[:, 2], TEMPLATE, atol=0.05)


def test_noisy_points_give_umeyamas_answer() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        points = moved_template(3, random.uniform(-90, 90), 100, 50) + random.normal(0, 8, (5, 2)).astype(np.float32)
        assert np.allclose(similarity_transform(points, TEMPLATE), umeyama(points, TEMPLATE), atol=1e-3)


def test_points_that_coincide_are_refused() -> None:
    with pytest.raises(ValueError, match="one point"):
        similarity_transform(np.ones((5, 2), np.float32), TEMPLATE)


def spots(size: int, points: Floats, radius: int) -> Pixels:
    picture = np.full((size, size, 3), 30, np.uint8)
    for x, y in points:
        cv2.circle(picture, (round(float(x) * 8), round(float(y) * 8)), radius * 8, (250, 250, 250), -1, cv2.LINE_AA, 3)
    return picture


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0), (1.7, 20), (2.3, -30), (6.0, 15), (9.4, 80)])
def test_spots_at_the_landmarks_land_on_the_template(scale: float, degrees: float) -> None:
    points = moved_template(scale, degrees, 1100, 600)
    crop = align_face(spots(2400, points, round(4 * scale)), as_landmarks(points))
    assert crop.shape == (CROP_SIDE, CROP_SIDE, 3)
    _, _, _, centres = cv2.connectedComponentsWithStats((crop[..., 0] > 140).astype(np.uint8))
    found = centres[1:]
    assert len(found) == 5
    distances = np.linalg.norm(found[:, None] - TEMPLATE[None], axis=2).min(axis=1)
    assert distances.max() < 0.35


def test_a_large_face_is_averaged_rather_than_sampled() -> None:
    chequered = np.indices((1200, 1200)).sum(axis=0) % 2 * 255
    picture = np.repeat(chequered[:, :, None], 3, axis=2).astype(np.uint8)
    crop = align_face(picture, as_landmarks(moved_template(8.5, 3, 100, 100)))
    assert np.abs(crop[8:-8, 8:-8].astype(int) - 127).max() <= 8


@pytest.mark.parametrize(("x", "y"), [(-200, -150), (500, 560), (-3000, 0)])
def test_what_lies_beyond_the_picture_is_black(x: float, y: float) -> None:
    white = np.full((640, 640, 3), 255, np.uint8)
    crop = align_face(white, as_landmarks(moved_template(4, 0, x, y)))
    assert crop.shape == (CROP_SIDE, CROP_SIDE, 3)
    assert (crop == 0).any()
