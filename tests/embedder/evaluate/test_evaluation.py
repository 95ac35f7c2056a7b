from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from embedder.evaluate.evaluation import Wishes, evaluate
from embedder.evaluate.protocol import Picture, read_protocol
from embedder.evaluate.report import NO_PLOTS
from embedder.evaluate.vectors import embed
from embedder.pipeline import FaceEmbedder
from lookalike.calibration import Calibration
from lookalike.domain import Box, EncodedFace, Face, Quality, Space
from lookalike.errors import InvalidInput, UnsupportedImage

PNG_300 = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (300).to_bytes(4, "big") * 2
"""The header of a picture of 300×300 pixels."""


class TextEncoder:
    """A FaceEncoder of texts: "p1 0" is person p1's picture 0; people differ, pictures of one a little."""

    space = Space("text", 64, "none")
    runtime = "test"

    def encode(self, image: bytes, *, largest_only=False, enrolment=False, crops=False) -> list[EncodedFace]:
        if image.startswith(PNG_300):
            sizes = {"large": Box(0, 0, 100, 100), "central": Box(120, 120, 60, 60)}
            faces = [self._face(name.encode(), name, box) for name, box in sizes.items()]
            return faces[:1] if largest_only else faces
        text = image.decode()
        if text == "broken":
            raise UnsupportedImage("not a picture")
        return [] if text == "nobody" else [self._face(image, text.split()[0], Box(0, 0, 9, 9))]

    def _face(self, image: bytes, name: str, box: Box) -> EncodedFace:
        vector = self._direction(name.encode()) + 0.5 * self._direction(image)
        face = Face(box, ((0.0, 0.0),) * 5, 1.0, Quality(1.0))
        return EncodedFace(face, (vector / np.linalg.norm(vector)).astype(np.float32))

    def _direction(self, data: bytes) -> np.ndarray:
        raw = np.random.default_rng(int.from_bytes(hashlib.sha256(data).digest()[:4], "big")).normal(size=64)
        return raw / np.linalg.norm(raw)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Sixty people with three pictures, forty with one; one picture is broken, one shows nobody."""
    root = tmp_path / "<people>"
    for person in range(100):
        (root / f"p{person:02d}").mkdir(parents=True)
        for number in range(3 if person < 60 else 1):
            (root / f"p{person:02d}" / f"{number}.jpg").write_text(f"p{person:02d} {number}")
    (root / "p00" / "<b>.jpg").write_text("broken")
    (root / "p01" / "y.jpg").write_text("nobody")
    return root


def test_a_broken_and_a_faceless_picture_are_listed_and_the_rest_is_measured(people: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    report = evaluate(people, TextEncoder(), tmp_path / "out", lambda done, total: seen.append((done, total)))

    rows = {(row.group, row.measure): row for row in report.rows}
    assert {(Path(path).name, why) for path, why in report.left_out} == {
        ("<b>.jpg", "unsupported_image"),
        ("y.jpg", "face_not_found"),
    }
    assert rows["pictures", "with a face"].value == 220
    assert rows["open set", "rank-1"].value == 1.0
    assert rows["pairs", "accuracy, threshold from the other folds"].value > 0.95
    assert seen[-1] == (222, 222)


def test_what_the_pictures_are_too_few_for_is_not_stated(people: Path, tmp_path: Path) -> None:
    rows = {(row.group, row.measure): row for row in evaluate(people, TextEncoder(), tmp_path / "out").rows}

    # 220·219/2 − 180 = 23,910 pairs of two people: 24 lie beyond a FAR of 0.001, 2.4 beyond 0.0001.
    assert rows["all pairs", "TAR at FAR 0.001"].value is not None
    assert rows["all pairs", "TAR at FAR 0.0001"].shown == "n/a"
    # Of forty strangers four may be alarms at 10 %, and at 1 % not one.
    assert rows["open set", "FNIR at FPIR 10 %"].value is not None
    assert rows["open set", "FNIR at FPIR 1 %"].value is None


def test_the_page_stands_alone_and_escapes_what_others_named(people: Path, tmp_path: Path) -> None:
    evaluate(people, TextEncoder(), tmp_path / "out")

    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert not re.search(r"(?:src|href)=(?!\"data:image/png;base64,)", page)
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe", page)
    assert page.count("data:image/png;base64,") == 2
    assert "<b>.jpg" not in page
    assert "&lt;people&gt;" in page
    assert page.count("Share of searches for an enrolled person that miss them") == 1


def test_the_json_holds_every_figure_and_names_the_plots(people: Path, tmp_path: Path) -> None:
    report = evaluate(people, TextEncoder(), tmp_path / "out")

    document = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert document == json.loads(json.dumps(report.to_dict()))
    assert [Path(file).name for file in document["files"]] == ["report.html", "report.json", "roc.png", "det.png"]
    assert all(Path(file).stat().st_size > 1000 for file in document["files"])


def test_without_matplotlib_the_report_says_that_plots_are_missing_and_how_to_get_them(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    report = evaluate(people, TextEncoder(), tmp_path / "out")

    assert report.note == NO_PLOTS
    assert "pip install" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]


def test_nothing_but_the_report_is_left_on_disk(people: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))

    evaluate(people, TextEncoder(), tmp_path / "out")

    left = set(tmp_path.rglob("*")) - before
    assert {path.name for path in left} == {"out", "report.html", "report.json", "roc.png", "det.png"}


def test_of_several_faces_the_largest_or_the_central_one_is_taken_as_asked(tmp_path: Path) -> None:
    (tmp_path / "two.png").write_bytes(PNG_300)
    (tmp_path / "one.jpg").write_text("central")
    pictures = [Picture(tmp_path / "two.png", "a"), Picture(tmp_path / "one.jpg", "a")]

    central = embed(pictures, TextEncoder(), central=True)
    largest = embed(pictures, TextEncoder())

    assert central.probes[0] @ central.probes[1] > 0.99
    assert central.templates[0] @ central.templates[1] > 0.99
    assert largest.probes[0] @ largest.probes[1] < 0.8


class Vague(TextEncoder):
    """The same, but people are hard to tell apart, and it fails on one more picture."""

    space = Space("vague", 64, "none")

    def encode(self, image: bytes, **wishes: bool) -> list[EncodedFace]:
        if image == b"p05 1":
            return []
        found = super().encode(image, **wishes)
        return [replace(face, vector=self._blurred(face.vector, image)) for face in found]

    def _blurred(self, vector: np.ndarray, image: bytes) -> np.ndarray:
        raw = vector + 1.2 * self._direction(image[::-1])
        return (raw / np.linalg.norm(raw)).astype(np.float32)


def test_another_model_is_compared_on_the_pictures_that_both_can_read(people: Path, tmp_path: Path) -> None:
    report = evaluate(people, TextEncoder(), tmp_path / "out", wishes=Wishes(against=("vague", Vague())))

    (section,) = report.sections
    document = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["sections"][0]
    assert section.title == "text against vague"
    assert "text is better than vague" in section.intro
    assert "only one of them could read it: 1 of the pictures" in section.intro
    assert document["comparison"]["pictures"] == 219
    assert document["comparison"]["read_by_one_only"] == 1
    assert section.rows[0].low > 0
    assert (tmp_path / "out" / "against.png").stat().st_size > 1000


def test_cohorts_have_their_rates_at_one_threshold_and_small_ones_a_warning(people: Path, tmp_path: Path) -> None:
    cohorts = tmp_path / "cohorts.csv"
    cohorts.write_text("person,<site>\n" + "".join(f"p{i:02d},{'east' if i % 5 else 'west'}\n" for i in range(99)))

    report = evaluate(people, TextEncoder(), tmp_path / "out", wishes=Wishes(cohorts=cohorts))

    rows = {(row.group, row.measure): row for row in report.sections[0].rows}
    assert rows["<site>: east", "people"].value == 79
    assert "WARNING" not in rows["<site>: east", "people"].note
    assert rows["<site>: east", "FMR at the common threshold"].low > 0
    assert "WARNING" in rows["<site>: west", "FNMR at the common threshold"].note
    assert rows["<site>: largest ratio", "FMR, highest over lowest"].value is None
    assert "1 of 220 pictures are of no cohort" in report.sections[0].intro
    assert "&lt;site&gt;: east" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert (tmp_path / "out" / "cohorts-1.png").is_file()


def test_the_calibrations_promises_are_tried(people: Path, tmp_path: Path) -> None:
    calibration = Calibration.from_json((files("lookalike") / "calibrations" / "sface.json").read_text("utf-8"))

    report = evaluate(people, TextEncoder(), tmp_path / "out", wishes=Wishes(calibration=calibration))

    (section,) = report.sections
    document = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["sections"][0]
    assert {(each["size"], each["asked"]) for each in document["promises"]} == {(None, 0.01), (50, 0.1)}
    assert [row.value for row in section.rows] == [each["observed"]["value"] for each in document["promises"]]
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 1000


def test_whole_pictures_are_measured_by_search_among_classes(people: Path, tmp_path: Path) -> None:
    report = evaluate(people, TextEncoder(), tmp_path / "out", kind="image", wishes=Wishes(against=("vague", Vague())))

    rows = {(row.group, row.measure): row for row in report.rows}
    assert rows["pictures", "classes"].value == 100
    assert rows["search", "recall@1"].value > 0.95
    assert rows["search", "mAP@R"].low < rows["search", "mAP@R"].value
    assert rows["open set", "FNIR at FPIR 10 %"].value is not None
    assert report.sections[0].rows[0].measure == "mAP@R: gain"
    assert {path.name for path in report.files} >= {"recall.png", "det.png", "against.png"}


def test_cohorts_of_things_are_refused_before_anything_is_embedded(people: Path, tmp_path: Path) -> None:
    cohorts = tmp_path / "cohorts.csv"
    cohorts.write_text("person,site\np00,a\np01,b\n")

    with pytest.raises(InvalidInput, match="cohorts are of people"):
        evaluate(people, TextEncoder(), tmp_path / "out", kind="image", wishes=Wishes(cohorts=cohorts))

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("texts", [["nobody", "broken"], ["p0 1", "p0 2"]])
def test_pictures_that_allow_no_comparison_are_refused(texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "people" / "a").mkdir(parents=True)
    for number, text in enumerate(texts):
        (tmp_path / "people" / "a" / f"{number}.jpg").write_text(text)

    with pytest.raises(InvalidInput):
        evaluate(tmp_path / "people", TextEncoder(), tmp_path / "out")


def test_real_people_are_told_apart(shared: Path, encoder: FaceEmbedder, tmp_path: Path) -> None:
    root = shared / "faces" / "eval" / "lfw_dev"
    chosen = [folder for folder in sorted(root.iterdir()) if len(list(folder.iterdir())) in (2, 3)][:12]
    for folder in chosen:
        (tmp_path / "people" / folder.name).mkdir(parents=True)
        for picture in folder.iterdir():
            (tmp_path / "people" / folder.name / picture.name).write_bytes(picture.read_bytes())

    report = evaluate(tmp_path / "people", encoder, tmp_path / "out")

    rows = {(row.group, row.measure): row.value for row in report.rows}
    assert rows["pictures", "people"] == 12
    assert rows["all pairs", "equal error rate"] < 0.05
    assert rows["open set", "rank-1"] > 0.9
    assert report.model == f"{encoder.space.model} ({encoder.runtime})"
    assert read_protocol(tmp_path / "people").name == report.title
