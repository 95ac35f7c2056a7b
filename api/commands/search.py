"""`lookalike search`: what of a collection of pictures is like these ones."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.faces import PICTURE_PROBLEMS, Collection, Pictures, ThresholdOption, draw
from api.commands.output import JsonOption, complain, print_json, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.client_shapes import BoxJson, IdentificationJson

Region = tuple[float, float, float, float]


class Regions(enum.StrEnum):
    """How places in a picture are looked for."""

    AUTO = "auto"


def search(
    collection: Collection,
    images: Pictures,
    box: Annotated[str | None, typer.Option(metavar="X,Y,WIDTH,HEIGHT", help="Search this part, in pixels.")] = None,
    annotate: Annotated[
        Path | None, typer.Option(help="Write the picture with what was found here; a folder for several.")
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Only the same picture, encoded, resized or cropped differently.")
    ] = False,
    regions: Annotated[
        Regions | None, typer.Option(help="auto: look for places that show something enrolled, and search each.")
    ] = None,
    fpir: Annotated[float | None, typer.Option(help="Share of unknown things that may be taken for one.")] = None,
    threshold: ThresholdOption = None,
    limit: Annotated[int, typer.Option(help="Candidates a picture.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Say what of a collection of pictures is like these. That nothing is like one is an answer, not a failure."""
    part = None if box is None else _region(box)
    items: list[dict[str, object]] = []
    failed = 0
    with open_client() as client:

        def ask(image: Path) -> IdentificationJson:
            return client.search(
                collection,
                image,
                box=part,
                limit=limit,
                threshold=threshold,
                fpir=fpir,
                near_duplicates=duplicates,
                regions=None if regions is None else regions.value,
            )

        for image in images:
            item, ok = _search(ask, image)
            items.append(item)
            failed += not ok
            if ok and annotate is not None:
                item["annotated"] = str(draw(image, item, annotate, "searched", several=len(images) > 1))
    if as_json:
        print_json({"items": items})
    else:
        _print(items)
    if failed:
        raise typer.Exit(1)


def _region(text: str) -> Region:
    try:
        x, y, width, height = (float(value) for value in text.split(","))
    except ValueError:
        raise typer.BadParameter("four numbers are allowed: X,Y,WIDTH,HEIGHT", param_hint="--box") from None
    return x, y, width, height


def _search(ask: Callable[[Path], IdentificationJson], image: Path) -> tuple[dict[str, object], bool]:
    """The answer about one picture, or the refusal; what concerns all pictures alike is raised."""
    from api.client import ClientError

    try:
        return {"image": str(image), **ask(image)}, True
    except ClientError as error:
        if error.code not in PICTURE_PROBLEMS:
            raise
        complain(f"{image}: {error}")
        return {"image": str(image), "error": {"code": error.code, "detail": error.detail}}, False


def _print(items: Sequence[dict[str, object]]) -> None:
    from typing import cast

    answered = [cast("IdentificationJson", item) for item in items if "error" not in item]
    rows: list[tuple[object, ...]] = []
    for item, answer in zip((item for item in items if "error" not in item), answered, strict=True):
        found = [(face, candidate) for face in answer["faces"] for candidate in face["candidates"]]
        if not found:
            rows.append((item["image"], "nothing like it", None, None, None))
        for face, candidate in found:
            rate, likeness = candidate["fpir"], candidate.get("likeness")
            score = candidate["similarity"] if likeness is None else likeness
            place = _corner_and_size(face["box"])
            rows.append((item["image"], candidate["subject"], score, None if rate is None else f"{rate:.2g}", place))
    duplicates = bool(answered) and answered[0]["threshold"]["source"] == "near_duplicates"
    print_table(("image", "subject", "likeness" if duplicates else "similarity", "fpir", "box"), rows)
    for item in items:
        if "annotated" in item:
            print(f"annotated {item['annotated']}")
    if answered:
        print(_explained(answered[0]))


def _corner_and_size(box: BoxJson) -> str:
    """As --box takes it."""
    return ",".join(f"{box[side]:.0f}" for side in ("x", "y", "width", "height"))


def _explained(answer: IdentificationJson) -> str:
    """One line on what decided."""
    bar = answer["threshold"]
    among = f"a collection of {bar.get('gallery_size')}"
    if bar["source"] == "uncalibrated":
        return f"the nearest of {among}, whatever they are: it is not calibrated, and no threshold was given"
    if bar["source"] == "near_duplicates":
        return f"near duplicates in {among}"
    if (regions := answer.get("regions")) is not None:
        among += f", in {regions} parts of a picture"
    return f"threshold {bar['similarity']:.3f} ({bar['source']}) for {among}"
