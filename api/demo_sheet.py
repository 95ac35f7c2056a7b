"""Draws the demo's contact sheet: who is enrolled, one picture with several faces, and each probe with its answer."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from api.annotate import INK, KNOWN, UNKNOWN, annotate, fitted_font, upright
from api.client_shapes import BoxJson, IdentificationJson
from api.demo_pictures import Cast, Probe

WIDTH: Final = 1320
MARGIN: Final = 24
PAPER: Final = (17, 24, 39)
LIGHT: Final = (243, 244, 246)
GREY: Final = (156, 163, 175)
WRONG: Final = (248, 113, 113)
COLUMNS: Final = 6
TILE: Final = (WIDTH - MARGIN * (COLUMNS + 1)) // COLUMNS
CAPTION: Final = 54
MOST_TILES: Final = 36
GROUP_HEIGHT: Final = 420


@dataclass(frozen=True, slots=True, repr=False)
class Answered:
    """A probe with the service's answer. similarity and fpir: the best candidate's; box: the face's."""

    probe: Probe
    answer: str | None
    similarity: float | None
    fpir: float | None
    ms: float
    box: BoxJson | None

    @property
    def right(self) -> bool:
        return self.answer == self.probe.truth

    @property
    def verdict(self) -> str:
        """What the answer was, seen by the truth."""
        if self.right:
            return "recognised" if self.answer else "stranger refused"
        if self.answer is None:
            return "missed"
        return "wrong person" if self.probe.truth else "false alarm"


def group_picture(answered: Sequence[Answered]) -> bytes:
    """Heads of several probes side by side in one new picture, as JPEG."""
    heads = [_head(upright(one.probe.image), one.box, 360, GROUP_HEIGHT) for one in answered]
    picture = Image.new("RGB", (sum(head.width for head in heads), GROUP_HEIGHT))
    x = 0
    for head in heads:
        picture.paste(head, (x, 0))
        x += head.width
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=92)
    return out.getvalue()


def draw_sheet(
    cast: Cast, answered: Sequence[Answered], group: bytes, group_answer: IdentificationJson, summary: str
) -> Image.Image:
    """The whole sheet, top to bottom."""
    together = annotate(group, group_answer)
    together.thumbnail((WIDTH - 2 * MARGIN, 2 * GROUP_HEIGHT))
    parts = [
        _heading("Lookalike", summary),
        _heading(f"Enrolled, one picture each: {len(cast.enrolled)} people", ""),
        _grid([(_square(pictures[0], None), [name, ""], GREY) for name, pictures in cast.enrolled.items()], 12),
        _heading("One picture, several faces, asked in one call", ""),
        _centred(together),
        _heading("Other pictures of them, and of strangers", ""),
        _grid([_tile(one) for one in answered[:MOST_TILES]], COLUMNS),
    ]
    sheet = Image.new("RGB", (WIDTH, sum(part.height for part in parts) + MARGIN), PAPER)
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height
    return sheet


def _tile(one: Answered) -> tuple[Image.Image, list[str], tuple[int, int, int]]:
    colour = (KNOWN if one.answer else UNKNOWN) if one.right else WRONG
    answer = one.answer or "unknown"
    similarity = "" if one.similarity is None else f"  {one.similarity:.2f}"
    return _square(one.probe.image, one.box), [answer, f"{one.verdict}{similarity}"], colour


def _square(image: bytes, box: BoxJson | None) -> Image.Image:
    return _head(upright(image), box, TILE, TILE)


def _head(picture: Image.Image, box: BoxJson | None, width: int, height: int) -> Image.Image:
    """The part of a picture around a face, or all that fits of it, at this size."""
    if box is None:
        side = min(picture.width, picture.height * width / height)
        centre_x, centre_y = picture.width / 2, side * height / width / 2
    else:
        side = min(2.4 * max(box["width"], box["height"]), picture.width, picture.height * width / height)
        centre_x, centre_y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tall = side * height / width
    left = min(max(centre_x - side / 2, 0), picture.width - side)
    top = min(max(centre_y - tall / 2, 0), picture.height - tall)
    return picture.resize((width, height), Image.Resampling.LANCZOS, (left, top, left + side, top + tall))


def _grid(tiles: Sequence[tuple[Image.Image, list[str], tuple[int, int, int]]], columns: int) -> Image.Image:
    """Tiles with two lines under each, in rows."""
    side = (WIDTH - MARGIN * 2 - (columns - 1) * 12) // columns
    rows = -(-len(tiles) // columns)
    caption = CAPTION if any(lines[1] for _, lines, _ in tiles) else CAPTION // 2
    grid = Image.new("RGB", (WIDTH, rows * (side + caption + 8)), PAPER)
    draw = ImageDraw.Draw(grid)
    for number, (tile, lines, colour) in enumerate(tiles):
        x, y = MARGIN + (number % columns) * (side + 12), (number // columns) * (side + caption + 8)
        grid.paste(tile.resize((side, side), Image.Resampling.LANCZOS), (x, y))
        draw.rectangle((x, y, x + side - 1, y + side - 1), outline=colour, width=4 if lines[1] else 1)
        size = 19 if lines[1] else 12
        _write(draw, (x, y + side + 5), lines[0], size, LIGHT, side)
        _write(draw, (x, y + side + 30), lines[1], 16, colour, side)
    return grid


def _heading(title: str, text: str) -> Image.Image:
    band = Image.new("RGB", (WIDTH, 84 if text else 56), PAPER)
    draw = ImageDraw.Draw(band)
    _write(draw, (MARGIN, 14), title, 30 if text else 22, LIGHT, WIDTH - 2 * MARGIN)
    _write(draw, (MARGIN, 54), text, 18, GREY, WIDTH - 2 * MARGIN)
    return band


def _centred(picture: Image.Image) -> Image.Image:
    band = Image.new("RGB", (WIDTH, picture.height), INK)
    band.paste(picture, ((WIDTH - picture.width) // 2, 0))
    return band


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: float, colour: tuple[int, int, int], width: int
) -> None:
    font, fitted = fitted_font(draw, text, size, width)
    draw.text(at, fitted, font=font, fill=colour)
