from __future__ import annotations

import numpy as np

from embedder.align import TEMPLATE
from embedder.face_parts import face_parts


def test_every_pixel_lies_in_exactly_one_part() -> None:
    parts = face_parts()

    assert (np.sum(list(parts.values()), axis=0) == 1).all()
    assert all(part.any() for part in parts.values())


def test_the_template_s_landmarks_lie_in_the_parts_of_their_names() -> None:
    parts = face_parts()
    names = ("eyes and brows", "eyes and brows", "nose", "mouth", "mouth")

    found = [next(name for name, part in parts.items() if part[round(y), round(x)]) for x, y in TEMPLATE.tolist()]

    assert found == list(names)
