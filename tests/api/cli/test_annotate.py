from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from api.annotate import KNOWN, SMALLEST_SIDE, UNKNOWN, annotate, label, upright
from lookalike.errors import UnsupportedImage


def picture(size: tuple[int, int] = (800, 600), colour: str = "white", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", **options)
    return out.getvalue()


def face(x: float, y: float, side: float, subject: str | None) -> dict:
    found = (
        []
        if subject is None
        else [{"subject": subject, "sample": "s", "similarity": 0.71, "fpir": 2e-4, "metadata": {}}]
    )
    marks = [[x + side * u, y + side * v] for u, v in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))]
    box = {"x": x, "y": y, "width": side, "height": side}
    return {"box": box, "landmarks": marks, "quality": {"score": 1.0, "reasons": []}, "candidates": found}


def answer(*faces: dict) -> dict:
    threshold = {"similarity": 0.4, "source": "model"}
    return {"faces": list(faces), "threshold": threshold, "model": "m", "request_id": "r"}


def where(image: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int] | None:
    """The bounding box of a colour: left, top, right, bottom."""
    rows, columns = np.nonzero((np.asarray(image) == colour).all(axis=2))
    return None if not len(rows) else (columns.min(), rows.min(), columns.max(), rows.max())


def test_the_box_is_drawn_where_the_face_is_in_the_colour_of_the_answer() -> None:
    drawn = annotate(picture(), answer(face(100, 120, 200, "alice")))

    left, top, right, _ = where(drawn, KNOWN)
    assert (left, top) == (100, 120)
    assert right >= 299
    assert where(drawn, UNKNOWN) is None


def test_an_unknown_person_has_another_colour() -> None:
    drawn = annotate(picture(), answer(face(50, 50, 150, "alice"), face(500, 50, 150, None)))

    assert where(drawn, KNOWN)[2] < 500 <= where(drawn, UNKNOWN)[0]
    assert label(face(0, 0, 10, None))[0] == "unknown"


def test_a_turned_photo_is_drawn_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side

    assert upright(picture((800, 600), exif=exif)).size == (600, 800)


def test_a_small_picture_is_enlarged_with_its_boxes() -> None:
    drawn = annotate(picture((120, 96)), answer(face(30, 24, 60, "alice")))

    assert max(drawn.size) == SMALLEST_SIDE
    assert where(drawn, KNOWN)[0] == 120


@pytest.mark.parametrize("colour", ["white", "black", "green", "#808080"])
@pytest.mark.parametrize("at", [(-40, -30), (760, 580), (300, 200)])
def test_the_label_stays_inside_and_can_be_told_from_any_background(colour: str, at: tuple[int, int]) -> None:
    drawn = annotate(picture(colour=colour), answer(face(*at, 90, "Wilhelmina van der Somewhere-Longname")))

    pixels = np.asarray(drawn)
    plate = (pixels == KNOWN).all(axis=2)
    ink = pixels.astype(int).sum(axis=2) < 60
    rows, columns = np.nonzero(plate)
    inside = ink[rows.min() : rows.max(), columns.min() : columns.max()]
    assert plate.sum() > 2_000
    assert inside.sum() > 100


@pytest.mark.parametrize("name", ["Zoë Müller", "李明 🙂", "Ελένη", "a" * 256, "\u202eabc", "👩‍👩‍👧", " "])
def test_any_name_is_drawn_without_failing(name: str) -> None:
    drawn = annotate(picture((320, 240)), answer(face(100, 60, 80, name)))

    assert where(drawn, KNOWN) is not None


def test_transparency_becomes_white_and_what_is_no_picture_is_refused() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(out, "PNG")

    assert upright(out.getvalue()).getpixel((5, 5)) == (255, 255, 255)
    with pytest.raises(UnsupportedImage):
        upright(b"GIF89a nothing")
