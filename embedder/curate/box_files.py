"""Reads boxes drawn around things from LabelMe, LabelImg (Pascal VOC), YOLO and COCO files, none of them trusted.

What these formats say is checked before it is used: labels become names of folders and picture names are looked for,
so neither may lead elsewhere. XML is read without document types, hence without entities of any kind.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

from lookalike.errors import InvalidInput

MAX_FILE_BYTES = 300_000_000
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box of a picture. x, y, width, height: in pixels, or in shares of the picture where `relative`.

    picture: its path within the pictures' folder; without an ending (YOLO) it is looked for; source: what to blame.
    """

    picture: str
    label: str
    x: float
    y: float
    width: float
    height: float
    source: str
    relative: bool = False


def read_boxes(named: str) -> list[DrawnBox]:
    """FORMAT:PATH; a folder of files for all but COCO. Raises: InvalidInput, naming the file and what is wrong."""
    kind, _, where = named.partition(":")
    if kind not in FORMATS or not where:
        raise InvalidInput(f"boxes are given as FORMAT:PATH with one of {', '.join(FORMATS)}")
    path = Path(where)
    if not path.exists():
        raise InvalidInput("there are no boxes at the path given")
    boxes = list(FORMATS[kind](path))
    if not boxes:
        raise InvalidInput(f"no box was found; is this {kind}?")
    return boxes


def folder_name(label: str) -> str | None:
    """The label as a folder's name, None if it cannot be one."""
    name = label.strip()
    sound = 0 < len(name.encode("utf-8", "replace")) <= 200 and name.isprintable() and not name.startswith(".")
    return name if sound and "/" not in name and "\\" not in name else None


# ---------------------------------------------------------------------------------------------- formats


def _labelme(path: Path) -> Iterator[DrawnBox]:
    """A JSON file a picture: shapes of two corners, or polygons, of which the bounds count."""
    for file in _files(path, ".json"):
        document = _json(file)
        shapes = _listed(document, "shapes", file)
        # LabelMe notes the way from its own folder; the name alone says which picture is meant.
        picture = str(document.get("imagePath") or "").replace("\\", "/").rsplit("/", 1)[-1] or file.stem
        for shape in shapes:
            try:
                xs = [float(point[0]) for point in shape["points"]]
                ys = [float(point[1]) for point in shape["points"]]
                if shape.get("shape_type") == "circle":  # its centre and a point of its rim
                    reach = math.dist((xs[0], ys[0]), (xs[1], ys[1]))
                    xs, ys = [xs[0] - reach, xs[0] + reach], [ys[0] - reach, ys[0] + reach]
                label, width, height = str(shape["label"]), max(xs) - min(xs), max(ys) - min(ys)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise InvalidInput(f"{file.name}: a shape needs a label and points of two numbers") from error
            yield _checked(DrawnBox(picture, label, min(xs), min(ys), width, height, file.name))


def _voc(path: Path) -> Iterator[DrawnBox]:
    """An XML file a picture, as LabelImg and Pascal VOC have them."""
    for file in _files(path, ".xml"):
        fields = _xml_fields(file)
        picture = next((text for name, text in fields if name == "annotation/filename"), "") or file.stem
        corner: dict[str, float] = {}
        label = ""
        for name, text in fields:
            if name == "annotation/object/name":
                label = text
            elif name.startswith("annotation/object/bndbox/"):
                corner[name.rsplit("/", 1)[-1]] = _number(text, file)
            elif name == "annotation/object":  # its end
                try:
                    x, y, right, low = (corner[key] for key in ("xmin", "ymin", "xmax", "ymax"))
                except KeyError as error:
                    raise InvalidInput(f"{file.name}: an object needs xmin, ymin, xmax and ymax") from error
                yield _checked(DrawnBox(picture, label, x, y, right - x, low - y, file.name))
                corner, label = {}, ""


def _yolo(path: Path) -> Iterator[DrawnBox]:
    """A text file a picture: class number, centre and size in shares of it. Names: classes.txt or data.yaml."""
    names = _yolo_names(path)
    for file in _files(path, ".txt"):
        if file.name == "classes.txt":
            continue
        for number, line in enumerate(_text(file).splitlines(), 1):
            if not line.strip():
                continue
            where, parts = f"{file.name} line {number}", line.split()
            if len(parts) < 5 or not parts[0].isdecimal():
                raise InvalidInput(f"{where}: a class number and four shares of the picture are needed")
            if int(parts[0]) >= len(names):
                raise InvalidInput(f"{where}: class {parts[0]} has no name; there are {len(names)}")
            x, y, width, height = (_number(part, file) for part in parts[1:5])
            if not all(0 <= value <= 1 for value in (x, y, width, height)):
                raise InvalidInput(f"{where}: shares lie between 0 and 1")
            yield _checked(
                DrawnBox(file.stem, names[int(parts[0])], x - width / 2, y - height / 2, width, height, where, True)
            )


def _coco(path: Path) -> Iterator[DrawnBox]:
    """One JSON file with images, categories and annotations."""
    document = _json(path)
    try:
        pictures = {each["id"]: str(each["file_name"]) for each in _listed(document, "images", path)}
        labels = {each["id"]: str(each["name"]) for each in _listed(document, "categories", path)}
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{path.name}: an image needs id and file_name, a category id and name") from error
    for place, each in enumerate(_listed(document, "annotations", path)):
        where = f"{path.name} annotation {place}"
        try:
            x, y, width, height = (float(value) for value in each["bbox"])
            picture, label = pictures.get(each["image_id"]), labels.get(each["category_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"{where}: image_id, category_id and a bbox of four numbers are needed") from error
        if picture is None or label is None:
            raise InvalidInput(f"{where}: its {'image' if picture is None else 'category'} id is not in the file")
        yield _checked(DrawnBox(picture, label, x, y, width, height, where))


FORMATS: dict[str, Callable[[Path], Iterator[DrawnBox]]] = {
    "labelme": _labelme,
    "voc": _voc,
    "yolo": _yolo,
    "coco": _coco,
}


# ---------------------------------------------------------------------------------------------- reading


def _checked(box: DrawnBox) -> DrawnBox:
    if not all(math.isfinite(value) for value in (box.x, box.y, box.width, box.height)):
        raise InvalidInput(f"{box.source}: a box has a side that is no number")
    return box


def _files(path: Path, suffix: str) -> list[Path]:
    return [path] if path.is_file() else sorted(path.glob(f"*{suffix}"))


def _bytes(file: Path) -> bytes:
    if file.is_dir() or file.stat().st_size > MAX_FILE_BYTES:
        raise InvalidInput(f"{file.name}: a file of at most {MAX_FILE_BYTES} bytes is needed")
    return file.read_bytes()


def _text(file: Path) -> str:
    try:
        return _bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file.name}: it is not text in UTF-8") from error


def _json(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{file.name}: it is not JSON") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{file.name}: a JSON object is needed")
    return document


def _listed(document: dict[str, Any], key: str, file: Path) -> list[Any]:
    found = document.get(key)
    if not isinstance(found, list):
        raise InvalidInput(f"{file.name}: the list {key!r} is missing")
    return found


def _number(text: str, file: Path) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(f"{file.name}: {text[:20]!r} is no number") from error


def _yolo_names(path: Path) -> list[str]:
    """From classes.txt or data.yaml in the folder or above it."""
    folder = path if path.is_dir() else path.parent
    for near in (folder, folder.parent):
        if (near / "classes.txt").is_file():
            return [line.strip() for line in _text(near / "classes.txt").splitlines() if line.strip()]
        if (near / "data.yaml").is_file():
            return _yaml_names(_text(near / "data.yaml"))
    raise InvalidInput("classes.txt or data.yaml with the names is needed beside the labels or one folder above")


def _yaml_names(text: str) -> list[str]:
    """The entry `names` in the three ways that YOLO's tools write it: [a, b], dashes, or numbers with colons."""
    _, found, rest = f"\n{text}".partition("\nnames:")
    if not found:
        raise InvalidInput("data.yaml: the entry names is missing")
    first, _, below = rest.partition("\n")
    first = first.partition(" #")[0].strip()
    if first.startswith("["):
        inside = rest.partition("[")[2].partition("]")[0]
        return [_unquoted(part) for part in inside.split(",") if part.strip()]
    names: list[str] = []
    for line in below.splitlines():
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        if entry.startswith("- "):
            names.append(_unquoted(entry[2:]))
            continue
        number, colon, name = entry.partition(":")
        if not line.startswith(" ") or not colon or number.strip() != str(len(names)):
            break
        names.append(_unquoted(name))
    return names


def _unquoted(value: str) -> str:
    return value.strip().strip("\"'").strip()


def _xml_fields(file: Path) -> list[tuple[str, str]]:
    """(path, text) of every element at its end, in the file's order. Refuses document types: no entity is expanded."""
    fields: list[tuple[str, str]] = []
    path: list[str] = []
    text: list[str] = []

    def refuse(*_: object) -> None:
        raise InvalidInput(f"{file.name}: a document type is not accepted")

    def start(name: str, _: object) -> None:
        if len(path) > 20:
            raise InvalidInput(f"{file.name}: its elements are nested too deep")
        path.append(name)
        text.clear()

    def end(_: str) -> None:
        fields.append(("/".join(path), "".join(text).strip()))
        path.pop()
        text.clear()

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    try:
        parser.Parse(_bytes(file), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InvalidInput(f"{file.name}: it is not XML") from error
    return fields
