"""`lookalike curate`: find what is wrong with a set of pictures before training on it, and make a clean copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from api.commands.output import JsonOption, complain, print_json, print_table, progress
from api.commands.session import require_local

_BOXES_HELP = "Crop these boxes out of FOLDER's pictures first: labelme, voc, yolo or coco, a colon and a path."


def curate(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A folder per class; with --boxes, the pictures.")
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="Where report and lists go; they show faces.")] = Path(
        "curation"
    ),
    kind: Annotated[str, typer.Option(help="face, or image for things.")] = "face",
    model: Annotated[str | None, typer.Option(help="The face model, by name; the settings' own by default.")] = None,
    against: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A set that must share no person or picture.")
    ] = None,
    fewest: Annotated[int, typer.Option(min=1, help="Report folders with fewer usable pictures.")] = 2,
    apply: Annotated[
        Path | None, typer.Option(help="Make a clean copy there, as findings.csv in --out says; look at nothing anew.")
    ] = None,
    hardlink: Annotated[bool, typer.Option(help="With --apply: link files instead of copying them.")] = False,
    boxes: Annotated[str | None, typer.Option(metavar="FORMAT:PATH", help=_BOXES_HELP)] = None,
    crops: Annotated[Path | None, typer.Option(help="With --boxes: the class-per-folder set to make.")] = None,
    padding: Annotated[float, typer.Option(min=0, max=1, help="With --boxes: this share of a box around it.")] = 0.1,
    as_json: JsonOption = False,
) -> None:
    """Find duplicates, wrong labels, bad pictures and what train and test share; change nothing."""
    if kind not in ("face", "image"):
        raise typer.BadParameter("face or image", param_hint="--kind")
    if (boxes is None) != (crops is None):
        raise typer.BadParameter("--boxes and --crops go together", param_hint="--boxes")
    if apply is not None:
        _apply(folder, out, apply, hardlink, as_json)
        return
    if boxes is not None and crops is not None:
        _crop(folder, boxes, crops, padding)
        folder = crops
    _find(folder, out, "face" if kind == "face" else "image", model, against, fewest, as_json)


def _find(
    folder: Path,
    out: Path,
    kind: Literal["face", "image"],
    model: str | None,
    against: Path | None,
    fewest: int,
    as_json: bool,
) -> None:
    from api.models import load_face_encoder, shipped_calibration
    from api.wiring import prepare_folder
    from embedder.curate.curation import curate as find
    from embedder.curate.lists import make_private, summary, write_lists, write_private
    from embedder.curate.page import draw_page
    from embedder.images import ImageLimits
    from lookalike.errors import InvalidInput, ModelNotAvailable

    settings = require_local("curate")
    limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    if kind == "image" and model is not None:
        raise ModelNotAvailable("with --kind image no model is used: hashes, pixels and quality are compared")
    encoder = None
    if kind == "face":
        prepare_folder(settings.data)
        encoder = load_face_encoder(settings, model)
    if folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise InvalidInput("--out lies inside the set, where it would be taken for a class; name another folder")
    make_private(out)  # refused now rather than after the work
    with progress("looking") as show:
        found = find(
            folder,
            encoder=encoder,
            calibration=None if encoder is None else shipped_calibration(encoder.space.model),
            limits=limits,
            against=against,
            fewest=fewest,
            on_progress=show,
        )
    page = out / "report.html"
    write_private(page, draw_page(found, limits))
    files = [page, *write_lists(found, out)]
    if as_json:
        findings = [each.to_dict() for each in found.findings]
        print_json(summary(found) | {"findings": findings, "files": [str(file) for file in files]})
        return
    print(f"{found.pictures} pictures in {found.folders} folders, {len(found.findings)} findings")
    print_table(("fault", "findings"), list(found.counts().items()))
    for note in found.notes:
        complain(note)
    for file in files:
        print(f"wrote {file}")
    print("The report shows pictures of the set: only you can read it; keep it so.")


def _apply(folder: Path, out: Path, destination: Path, hardlink: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from embedder.curate.clean_copy import make_clean_copy
    from embedder.curate.lists import read_decisions

    decisions = read_decisions(out / "findings.csv")
    with progress("copying") as show:
        done = make_clean_copy(folder, decisions, destination, hardlink=hardlink, on_progress=show)
    if as_json:
        print_json(asdict(done) | {"copy": str(destination)})
        return
    print(f"{done.kept} kept, {done.moved} moved, {done.removed} removed; {folder} is as it was")
    print(f"wrote {destination}")


def _crop(pictures: Path, boxes: str, destination: Path, padding: float) -> None:
    from embedder.curate.box_files import read_boxes
    from embedder.curate.crops import cut_crops

    with progress("cropping") as show:
        made = cut_crops(pictures, read_boxes(boxes), destination, padding=padding, on_progress=show)
    for box, reason in made.refused:
        complain(f"left out {box}: {reason}")
    complain(f"cropped {made.crops} boxes of {made.pictures} pictures into {destination}")
