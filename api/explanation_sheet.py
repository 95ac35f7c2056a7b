"""Draws an explanation: both crops under their maps, what each part of a face is worth, a legend, and one HTML page.

The crops lose their colours under the maps, so that only the map has any: blue and orange, which every kind of colour
blindness tells apart (Okabe and Ito, Color Universal Design, 2008). Both maps have one scale.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from api.annotate import fitted_font
from api.client_shapes import VerificationJson
from embedder.explain import MARKED, Explanation, Side
from lookalike.domain import Pixels

WIDTH: Final = 1120
MARGIN: Final = 36
FACE: Final = (WIDTH - 3 * MARGIN) // 2
PLAIN: Final = 190
ROW: Final = 30
PAPER: Final = (250, 250, 248)
TEXT: Final = (24, 28, 34)
SOFT: Final = (98, 106, 116)
FAINT: Final = (222, 225, 229)
FOR: Final = (0, 114, 178)
AGAINST: Final = (213, 94, 0)
STRONGEST: Final = 0.8
"""How much of a crop its map covers where it is strongest."""

CAVEAT: Final = "It shows what this model compared. It is not evidence of who somebody is."

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True, repr=False)
class Sheet:
    """What is drawn. names: of the two pictures; crops: (112, 112, 3) uint8 each; answer: as `compare` gives it."""

    names: tuple[str, str]
    crops: tuple[Pixels, Pixels]
    explanation: Explanation
    answer: VerificationJson
    model: str

    @property
    def verdict(self) -> str:
        return "match" if self.answer["match"] else "no match"

    @property
    def bar(self) -> str:
        """The threshold, where it comes from, and how often strangers score as high."""
        threshold = self.answer["threshold"]
        return (
            f"threshold {threshold['similarity']:.3f} ({threshold['source']}), "
            f"false match rate {self.answer['fmr']:.2g}, model {self.model}"
        )


def draw(sheet: Sheet) -> Image.Image:
    """The sheet as one RGB picture, 1,120 pixels wide."""
    below = max(PLAIN, len(sheet.explanation.sides[0].parts) * ROW) + 34
    top = MARGIN + 96
    height = top + 34 + FACE + 18 + below + 128
    canvas = Image.new("RGB", (WIDTH, height), PAPER)
    pen = ImageDraw.Draw(canvas)
    _text(pen, (MARGIN, MARGIN - 8), f"{sheet.verdict}: similarity {sheet.answer['similarity']:.3f}", 38, TEXT)
    _text(pen, (MARGIN, MARGIN + 46), sheet.bar, 19, SOFT)
    sides = sheet.explanation.sides
    scale = max(float(np.abs(side.heat).max()) for side in sides)
    longest = max((max(part.weight, part.area) for side in sides for part in side.parts), default=1.0)
    for place, side in enumerate(sides):
        left = MARGIN + place * (FACE + MARGIN)
        _text(pen, (left, top), f"{'AB'[place]}  {sheet.names[place]}", 21, TEXT, FACE)
        canvas.paste(overlaid(sheet.crops[place], side, scale, FACE), (left, top + 34))
        under = top + 34 + FACE + 18
        plain = Image.fromarray(sheet.crops[place]).resize((PLAIN, PLAIN), Image.Resampling.LANCZOS)
        canvas.paste(plain, (left, under))
        _bars(pen, (left + PLAIN + 18, under), FACE - PLAIN - 18, side, longest)
        said = f"hiding the outlined fifth leaves {side.marked:.2f}, a random fifth {side.random:.2f}"
        _text(pen, (left, under + below - 28), said, 17, TEXT if side.holds else AGAINST, FACE)
    _legend(canvas, height - 112, scale, "orange" if sides[0].against else "blue")
    return canvas


def overlaid(crop: Pixels, side: Side, scale: float, pixels: int) -> Image.Image:
    """A crop in grey under its map, the marked fifth outlined. scale: the heat that has the full colour."""
    size = (pixels, pixels)
    grey = Image.fromarray(crop).convert("L").resize(size, Image.Resampling.LANCZOS)
    base = np.asarray(grey, np.float32)[..., None] * 0.85 + 30
    fine = np.asarray(Image.fromarray(side.heat).resize(size, Image.Resampling.BICUBIC))
    strength = np.clip(np.abs(fine) / max(scale, 1e-9), 0, 1)[..., None] * STRONGEST
    colour = np.where(fine[..., None] > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    picture = Image.fromarray((base * (1 - strength) + colour * strength).clip(0, 255).astype(np.uint8))
    asked = -fine if side.against else fine
    marked = Image.fromarray(((asked >= np.quantile(asked, 1 - MARKED)) * 255).astype(np.uint8))
    for width, ink in ((7, TEXT), (3, (255, 255, 255))):
        edge = np.asarray(marked.filter(ImageFilter.MaxFilter(width))) != np.asarray(
            marked.filter(ImageFilter.MinFilter(width))
        )
        picture.paste(Image.new("RGB", size, ink), mask=Image.fromarray((edge * 255).astype(np.uint8)))
    return picture


def _bars(pen: ImageDraw.ImageDraw, at: tuple[int, int], width: int, side: Side, longest: float) -> None:
    """Each part's share of the blue or the orange, with a tick where its share of the area is. longest: a full bar."""
    left, top = at
    start = left + 158
    room = width - 158 - 52
    for place, part in enumerate(side.parts):
        y = top + place * ROW
        _text(pen, (left, y + 2), part.name, 17, TEXT)
        pen.rectangle((start, y + 4, start + room, y + 22), fill=FAINT)
        pen.rectangle(
            (start, y + 4, start + room * part.weight / longest, y + 22), fill=AGAINST if side.against else FOR
        )
        tick = start + room * part.area / longest
        pen.line((tick, y + 1, tick, y + 25), fill=TEXT, width=3)
        _text(pen, (start + room + 10, y + 2), f"{100 * part.weight:.0f} %", 17, TEXT)


def _legend(canvas: Image.Image, top: int, scale: float, asked: str) -> None:
    pen = ImageDraw.Draw(canvas)
    pen.line((MARGIN, top - 8, WIDTH - MARGIN, top - 8), fill=FAINT, width=2)
    steps = 300
    for step in range(steps):
        value = 2 * step / (steps - 1) - 1
        strength = abs(value)
        colour = FOR if value > 0 else AGAINST
        mixed = tuple(round(235 * (1 - strength) + c * strength) for c in colour)
        pen.line((MARGIN + step, top + 10, MARGIN + step, top + 30), fill=mixed)
    _text(pen, (MARGIN, top + 36), f"−{scale:.3f}", 16, SOFT)
    _text(pen, (MARGIN + steps // 2 - 4, top + 36), "0", 16, SOFT)
    _text(pen, (MARGIN + steps - 46, top + 36), f"+{scale:.3f}", 16, SOFT)
    _text(pen, (MARGIN, top + 60), "similarity lost for each 1 % hidden", 16, SOFT)
    lines = (
        f"Blue speaks for a match, orange against it. White line: the fifth with the most {asked}.",
        f"Bars: a part's share of all {asked}; the tick is its share of the area, where chance would be.",
        CAVEAT,
    )
    for place, line in enumerate(lines):
        _text(pen, (MARGIN + steps + 34, top + 6 + 26 * place), line, 16, TEXT, WIDTH - 2 * MARGIN - steps - 34)


def _text(
    pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: float, ink: Colour, width: float = WIDTH
) -> None:
    font, fitted = fitted_font(pen, text, size, width)
    pen.text(at, fitted, font=font, fill=ink)


# ---------------------------------------------------------------------------------------------- the page

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#181c22}
table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #d8dee4;text-align:right}
td:first-child,th:first-child{text-align:left}td{font-variant-numeric:tabular-nums}img{max-width:100%}
"""


def page(sheet: Sheet, picture: bytes) -> str:
    """One HTML page that needs nothing else. picture: the drawn sheet as PNG."""
    title = html.escape(f"{sheet.verdict}: similarity {sheet.answer['similarity']:.3f}")
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in columns(sheet.explanation))
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in part_rows(sheet)
    )
    notes = "\n".join(f"<p>{html.escape(line)}</p>" for line in check_lines(sheet.explanation))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>{_STYLE}</style></head>
<body><h1>{title}</h1>
<p>A: {html.escape(sheet.names[0])}, B: {html.escape(sheet.names[1])}; {html.escape(sheet.bar)}.</p>
<p><img alt="both faces under their maps" src="data:image/png;base64,{base64.b64encode(picture).decode()}"></p>
<table><tr>{head}</tr>
{body}
</table>
{notes}
<p>{html.escape(CAVEAT)}</p>
</body></html>
"""


def columns(explanation: Explanation) -> tuple[str, ...]:
    """The heads over `part_rows`."""
    share = "against" if explanation.sides[0].against else "for"
    return ("part", "of the area", f"of what is {share}, A", "B", "similarity with it hidden in A", "in B")


def part_rows(sheet: Sheet) -> list[tuple[str, ...]]:
    """A row a part under `columns`: its share of the area and of each map; the similarity when it is hidden."""
    first, second = sheet.explanation.sides
    return [
        (
            a.name,
            *(f"{100 * share:.0f} %" for share in (a.area, a.weight, b.weight)),
            f"{a.without:.3f}",
            f"{b.without:.3f}",
        )
        for a, b in zip(first.parts, second.parts, strict=True)
    ]


def check_lines(explanation: Explanation) -> Sequence[str]:
    """What hiding the fifth that each map marks does, beside a random fifth; a warning where it does no more."""
    lines = []
    for name, side in zip("AB", explanation.sides, strict=True):
        line = f"hiding the fifth that {name}'s map marks leaves {side.marked:.3f}, a random fifth {side.random:.3f}"
        lines.append(line if side.holds else f"{line}: do not believe this map")
    return lines


def as_png(picture: Image.Image) -> bytes:
    """PNG bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
