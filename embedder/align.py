"""Maps a face's five landmarks onto the 112×112 template that SFace and ArcFace were trained on. Pure.

The template is InsightFace's (https://github.com/deepinsight/insightface, `arcface_torch`), which OpenCV's
FaceRecognizerSF shares. In the plane the least-squares similarity of Umeyama (1991) without reflection has a closed
form over complex numbers, so no decomposition is needed.
"""

from __future__ import annotations

import cv2
import numpy as np

from lookalike.domain import Floats, Landmarks, Pixels

CROP_SIDE = 112
TEMPLATE: Floats = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)


def similarity_transform(points: Floats, template: Floats) -> Floats:
    """The rotation, scale and shift that take `points` nearest to `template`. (N, 2), (N, 2) -> (2, 3) float32.

    Raises: ValueError if all points are one.
    """
    source = points[:, 0].astype(np.complex128) + 1j * points[:, 1]
    target = template[:, 0].astype(np.complex128) + 1j * template[:, 1]
    centred = source - source.mean()
    spread = float(np.sum(np.abs(centred) ** 2))
    if not spread > 1e-9:
        raise ValueError("landmarks that fall into one point have no orientation")
    factor = complex(np.sum(np.conj(centred) * (target - target.mean())) / spread)
    shift = complex(target.mean() - factor * source.mean())
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]], np.float32)


def align_face(image: Pixels, landmarks: Landmarks, side: int = CROP_SIDE) -> Pixels:
    """The face turned upright and scaled: (H, W, 3) uint8 -> (side, side, 3) uint8, black beyond the picture.

    A face much larger than the crop is first reduced by area averaging, since a warp alone would skip pixels.
    """
    template = TEMPLATE * (side / CROP_SIDE)
    transform = similarity_transform(np.asarray(landmarks, np.float32), template)
    shrink = 1.0 / float(np.hypot(transform[0, 0], transform[1, 0]))
    if shrink >= 2.0:
        image, transform = _reduced(image, transform, side, int(shrink))
    return np.asarray(cv2.warpAffine(image, transform, (side, side), flags=cv2.INTER_LINEAR), np.uint8)


def _reduced(image: Pixels, transform: Floats, side: int, factor: int) -> tuple[Pixels, Floats]:
    """The part of the picture that the crop shows, made smaller by a whole factor, and the transform from it."""
    inverse = cv2.invertAffineTransform(transform)
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]], np.float32) @ inverse.T
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - factor, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + factor, (image.shape[1], image.shape[0]))
    size = np.maximum((high - low) // factor, 1)
    high = low + size * factor
    part = image[low[1] : high[1], low[0] : high[0]]
    small = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    # A pixel's centre x of the reduced part lies at low + factor * x + (factor - 1) / 2 of the picture.
    moved = transform.copy()
    moved[:, :2] *= factor
    moved[:, 2] += transform[:, :2] @ (low + (factor - 1) / 2)
    return np.asarray(small, np.uint8), moved
