"""`lookalike identify`, `verify`, `compare` and `erase`: questions about a face, and forgetting one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.output import JsonOption, complain, print_json, print_receipt, print_table
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client import Client
    from api.client_pending import PendingJson
    from api.client_shapes import IdentificationJson, VerificationJson

Picture = Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="IMAGE")]
Pictures = Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, metavar="IMAGE")]
Collection = Annotated[str, typer.Argument(metavar="COLLECTION")]
Subject = Annotated[str, typer.Argument(metavar="SUBJECT")]
ThresholdOption = Annotated[float | None, typer.Option(help="A similarity from 0 to 1 to decide by.")]


def identify(
    collection: Collection,
    images: Pictures,
    annotate: Annotated[
        Path | None, typer.Option(help="Write the picture with boxes and names here; a folder for several.")
    ] = None,
    fpir: Annotated[float | None, typer.Option(help="Share of strangers that may be taken for someone.")] = None,
    threshold: ThresholdOption = None,
    limit: Annotated[int, typer.Option(help="Candidates a face.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Say who of a collection is in the pictures. A picture of nobody enrolled is an answer, not a failure."""
    items: list[dict[str, object]] = []
    failed = 0
    with open_client() as client:
        for image in images:
            item, ok = _identify(client, collection, image, limit, threshold, fpir)
            items.append(item)
            failed += not ok
            if ok and "pending" not in item and annotate is not None:
                item["annotated"] = str(draw(image, item, annotate, "identified", several=len(images) > 1))
    if as_json:
        print_json({"items": items})
    else:
        _print_identified(items)
    if failed:
        raise typer.Exit(1)


def _identify(
    client: Client, collection: str, image: Path, limit: int, threshold: float | None, fpir: float | None
) -> tuple[dict[str, object], bool]:
    """The answer about one picture, or the refusal; what concerns all pictures alike is raised."""
    from api.client import ClientError

    try:
        answer = client.identify(collection, image, limit=limit, threshold=threshold, fpir=fpir)
    except ClientError as error:
        if error.code not in PICTURE_PROBLEMS:
            raise
        complain(f"{image}: {error}")
        return {"image": str(image), "error": {"code": error.code, "detail": error.detail}}, False
    return {"image": str(image), **answer}, True


PICTURE_PROBLEMS = frozenset(
    {
        "face_not_found",
        "unsupported_image",
        "image_too_large",
        "image_too_small",
        "undecodable_image",
        "request_too_large",
    }
)


def draw(image: Path, answer: dict[str, object], out: Path, how: str, *, several: bool) -> Path:
    """Write the picture with the answer drawn on it. how: what a file of its own is called after. Returns where."""
    from typing import cast

    from api.annotate import annotate

    folder = several or out.is_dir() or not out.suffix
    target = out / f"{image.stem}-{how}.png" if folder else out
    target.parent.mkdir(parents=True, exist_ok=True)
    annotate(image.read_bytes(), cast("IdentificationJson", answer)).save(target)
    return target


def _print_identified(items: Sequence[dict[str, object]]) -> None:
    from typing import cast

    rows: list[tuple[object, ...]] = []
    for item in items:
        if "error" in item:
            continue
        if "pending" in item:
            for held in cast("list[PendingJson]", item["pending"]):
                rows.append((item["image"], None, f"waits for two people: {held['id']}", None, None))
            continue
        answer = cast("IdentificationJson", item)
        for number, face in enumerate(answer["faces"], 1):
            if not face["candidates"]:
                rows.append((item["image"], number, "unknown", None, None))
            rows += [
                (item["image"], number, found["subject"], found["similarity"], _rate(found["fpir"]))
                for found in face["candidates"]
            ]
    print_table(("image", "face", "subject", "similarity", "fpir"), rows)
    for item in items:
        if "annotated" in item:
            print(f"annotated {item['annotated']}")
    answered = [cast("IdentificationJson", item) for item in items if not item.keys() & {"error", "pending"}]
    if answered:
        bar = answered[0]["threshold"]
        print(f"threshold {bar['similarity']:.3f} ({bar['source']}) for a gallery of {bar.get('gallery_size')}")


def _rate(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2g}"


def verify(
    collection: Collection,
    subject: Subject,
    image: Picture,
    threshold: ThresholdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a picture shows this subject, a person or a thing. Either answer is exit code 0."""
    with open_client() as client:
        answer = client.verify(collection, subject, image, threshold=threshold)
    _print_verified(answer, as_json)


def compare(image_a: Picture, image_b: Picture, threshold: ThresholdOption = None, as_json: JsonOption = False) -> None:
    """Say whether two pictures show the same face. Either answer is exit code 0."""
    with open_client() as client:
        answer = client.compare(image_a, image_b, threshold=threshold)
    _print_verified(answer, as_json)


def _print_verified(answer: VerificationJson, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    bar = answer["threshold"]
    print(
        f"{'match' if answer['match'] else 'no match'}: similarity {answer['similarity']:.3f}, "
        f"threshold {bar['similarity']:.3f} ({bar['source']}), false match rate {_rate(answer['fmr'])}"
    )


def erase(collection: Collection, subject: Subject, as_json: JsonOption = False) -> None:
    """Erase a subject for good, and print the signed receipt."""
    with open_client() as client:
        receipt = client.erase(collection, subject)
    if as_json:
        print_json(receipt)
    else:
        print_receipt(receipt)
    if receipt.get("ledger") == "pending":
        complain("erased, but not in the ledger yet: until it is, a restored backup would bring the subject back")
