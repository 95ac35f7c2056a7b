from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedder.curate.box_files import DrawnBox, read_boxes
from embedder.curate.crops import crop_of, cut_crops
from embedder.headers import read_header
from lookalike.errors import InvalidInput
from tests.embedder.curate.drawings import drawn, jpeg

VOC = """<annotation><filename>p.jpg</filename><size><width>128</width></size>
<object><name>tin</name>
<part><name>lid</name></part>
<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>50</xmax><ymax>80</ymax></bndbox></object>
<object><name>jar &amp; lid</name>
<bndbox><xmin>60</xmin><ymin>20</ymin><xmax>120</xmax><ymax>100</ymax></bndbox></object>
</annotation>"""

COCO = {
    "images": [{"id": 5, "file_name": "p.jpg"}],
    "categories": [{"id": 1, "name": "tin"}, {"id": 9, "name": "jar & lid"}],
    "annotations": [
        {"image_id": 5, "category_id": 1, "bbox": [10, 20, 40, 60]},
        {"image_id": 5, "category_id": 9, "bbox": [60, 20, 60, 80]},
    ],
}

LABELME = {
    "imagePath": "..\\photos\\p.jpg",
    "shapes": [
        {"label": "tin", "points": [[50, 80], [10, 20]], "shape_type": "rectangle"},
        {"label": "jar & lid", "points": [[60, 20], [120, 50], [70, 100]], "shape_type": "polygon"},
    ],
}

YOLO = "0 0.234375 0.390625 0.3125 0.46875\n1 0.703125 0.46875 0.46875 0.625\n"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    (root / "p.jpg").write_bytes(jpeg(drawn(1)))
    return root


def written(tmp_path: Path, name: str, content: object) -> Path:
    path = tmp_path / "labels" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("kind", ["voc", "coco", "labelme", "yolo", "yolo with data.yaml"])
def test_every_format_gives_the_same_crops(kind: str, pictures: Path, tmp_path: Path) -> None:
    match kind:
        case "voc":
            path = written(tmp_path, "p.xml", VOC).parent
        case "coco":
            path = written(tmp_path, "all.json", COCO)
        case "labelme":
            path = written(tmp_path, "p.json", LABELME).parent
        case "yolo":
            written(tmp_path, "classes.txt", "tin\njar & lid\n")
            path = written(tmp_path, "p.txt", YOLO).parent
        case _:
            (tmp_path / "data.yaml").write_text("nc: 2\nnames:\n  0: tin\n  1: 'jar & lid'\ntrain: x\n")
            path = written(tmp_path, "p.txt", YOLO).parent

    made = cut_crops(pictures, read_boxes(f"{kind.split()[0]}:{path}"), tmp_path / "crops", padding=0)

    files = {file.parent.name: read_header(file.read_bytes()) for file in (tmp_path / "crops").rglob("*.jpg")}
    sizes = {label: (header.width, header.height) for label, header in files.items()}
    assert sizes == {"tin": (40, 60), "jar & lid": (60, 80)}
    assert (made.pictures, made.crops, made.refused) == (1, 2, ())


@pytest.mark.parametrize("names", ["names: [tin, 'jar']", 'names:\n- tin\n- "jar"\n', "names:\n  0: tin\n  1: jar\n"])
def test_the_ways_to_write_names_in_data_yaml_are_read(names: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"path: .\n{names}\n")
    path = written(tmp_path, "p.txt", "1 0.5 0.5 0.2 0.2\n")

    assert read_boxes(f"yolo:{path}")[0].label == "jar"


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation><filename>&a;</filename></annotation>'


@pytest.mark.parametrize(
    ("kind", "name", "content", "said"),
    [
        ("voc", "p.xml", BOMB, "document type"),
        ("voc", "p.xml", OUTSIDE, "document type"),
        ("voc", "p.xml", "<annotation><object>", "not XML"),
        ("voc", "p.xml", "<a>" * 1000 + "</a>" * 1000, "nested too deep"),
        ("voc", "p.xml", VOC.replace("<xmin>10</xmin>", ""), "needs xmin"),
        ("voc", "p.xml", VOC.replace(">10<", ">ten<"), "no number"),
        ("voc", "p.xml", VOC.replace(">10<", ">nan<"), "no number"),
        ("coco", "a.json", "[" * 100_000, "not JSON"),
        ("coco", "a.json", {"images": []}, "'categories' is missing"),
        ("coco", "a.json", {**COCO, "categories": []}, "category id is not in the file"),
        (
            "coco",
            "a.json",
            {**COCO, "annotations": [{"image_id": 5, "category_id": 1, "bbox": [1, 2]}]},
            "four numbers",
        ),
        ("labelme", "a.json", {"shapes": [{"label": "x", "points": [[1], [2]]}]}, "two numbers"),
        ("labelme", "a.json", "[]", "JSON object"),
        ("yolo", "p.txt", "7 0.5 0.5 0.1 0.1", "class 7 has no name"),
        ("yolo", "p.txt", "0 0.5 0.5 1.7 0.1", "between 0 and 1"),
        ("yolo", "p.txt", "0 0.5", "four shares"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_by_name(
    kind: str, name: str, content: object, said: str, tmp_path: Path
) -> None:
    path = written(tmp_path, name, content)
    written(tmp_path, "classes.txt", "tin\n")

    with pytest.raises(InvalidInput, match=said) as refused:
        read_boxes(f"{kind}:{path}")
    assert name in str(refused.value)


@pytest.mark.parametrize("named", ["voc", "csv:x", "coco:", "coco:/nowhere"])
def test_an_unknown_format_or_path_is_refused(named: str) -> None:
    with pytest.raises(InvalidInput):
        read_boxes(named)


def box(picture: str = "p.jpg", label: str = "tin", x: float = 10.0, width: float = 40.0) -> DrawnBox:
    return DrawnBox(picture, label, x, 20.0, width, 60.0, "here")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (box(picture="../secret.jpg"), "leads out"),
        (box(picture="/etc/passwd"), "leads out"),
        (box(picture="missing.jpg"), "is not in the folder"),
        (box(label="../up"), "name of a folder"),
        (box(label=""), "name of a folder"),
        (box(label=".hidden"), "name of a folder"),
        (box(x=500.0), "within the picture"),
        (box(width=-40.0), "within the picture"),
    ],
)
def test_a_box_that_cannot_be_cut_is_listed_and_the_rest_go_on(
    bad: DrawnBox, said: str, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.jpg").write_bytes(jpeg(drawn(2)))

    made = cut_crops(pictures, [bad, box()], tmp_path / "crops")

    assert [(source, said in why) for source, why in made.refused] == [("here", True)]
    assert len(list((tmp_path / "crops").rglob("*.jpg"))) == made.crops == 1


def test_where_not_one_box_can_be_cut_no_folder_is_left(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not one box"):
        cut_crops(pictures, [box(picture="missing.jpg")], tmp_path / "crops")

    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_padding_keeps_the_aspect_ratio_and_ends_at_the_edge() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)

    inner = crop_of(picture, DrawnBox("p", "x", 50, 20, 80, 40, "here"), 0.25)
    edge = crop_of(picture, DrawnBox("p", "x", 0, 0, 80, 40, "here"), 0.25)

    assert inner.shape == (60, 120, 3)
    assert edge.shape == (50, 100, 3)
