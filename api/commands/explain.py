"""`lookalike explain`: which parts of two faces made, or unmade, the match."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.faces import Picture, ThresholdOption
from api.commands.output import JsonOption, print_json, print_table
from api.commands.session import open_client, require_local

if TYPE_CHECKING:
    from api.explanation_sheet import Sheet
    from embedder.explain import Explanation


def explain(
    image_a: Picture,
    image_b: Picture,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Write explain.png and explain.html, which show both faces, here."),
    ] = None,
    threshold: ThresholdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which parts of two faces made them similar, by hiding them. Nothing is written without --out."""
    from api.explanation_sheet import Sheet, check_lines, columns, part_rows
    from api.models import load_face_encoder
    from embedder.explain_faces import explain_faces

    settings = require_local("explain")
    data_a, data_b = image_a.read_bytes(), image_b.read_bytes()
    with open_client() as client:  # the answer is `compare`'s own, so it is decided and put on record as that is
        answer = client.compare(data_a, data_b, threshold=threshold)
    encoder = load_face_encoder(settings)
    found = explain_faces(encoder, data_a, data_b, against=not answer["match"])
    sheet = Sheet((image_a.name, image_b.name), found.crops, found.explanation, answer, encoder.space.model)
    files = _write(sheet, out) if out is not None else []
    notes = [SAME_PICTURE] if data_a == data_b else []
    if as_json:
        print_json({**answer, **_as_json(found.explanation), "model": sheet.model, "notes": notes, "files": files})
        return
    print(f"{sheet.verdict}: similarity {answer['similarity']:.3f}, {sheet.bar}")
    print_table(columns(found.explanation), part_rows(sheet))
    for line in (*check_lines(found.explanation), *notes, *(f"wrote {file}" for file in files)):
        print(line)


SAME_PICTURE = "both are the same picture: this is what the model looks at in it, not what two pictures share"


def _as_json(explanation: Explanation) -> dict[str, object]:
    a, b = explanation.sides
    parts = [
        {
            "part": first.name,
            "area": first.area,
            "a": {"share": first.weight, "similarity_without": first.without},
            "b": {"share": second.weight, "similarity_without": second.without},
        }
        for first, second in zip(a.parts, b.parts, strict=True)
    ]
    check = {
        name: {"without_marked_fifth": side.marked, "without_random_fifth": side.random, "holds": side.holds}
        for name, side in (("a", a), ("b", b))
    }
    return {"shares_of": "against" if a.against else "for", "parts": parts, "check": check}


def _write(sheet: Sheet, out: Path) -> Sequence[str]:
    """The picture and the page, which show faces: for the owner's eyes only."""
    from api.explanation_sheet import as_png, draw, page

    out.mkdir(parents=True, exist_ok=True)
    picture = as_png(draw(sheet))
    written = []
    for name, content in (("explain.png", picture), ("explain.html", page(sheet, picture).encode())):
        target = out / name
        target.unlink(missing_ok=True)  # an older file may have been opened to others
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        written.append(str(target))
    return written
