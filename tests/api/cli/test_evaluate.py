from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from api import cli, models
from lookalike.domain import Box, EncodedFace, Face, Kind, Quality, Space
from lookalike.errors import UnsupportedImage


class TextEncoder:
    """A FaceEncoder of files that hold a person's name and a number: the name decides most of the vector."""

    space = Space("text", 16, "none")
    runtime = "test"

    def encode(self, image: bytes, *, largest_only=False, enrolment=False, crops=False) -> list[EncodedFace]:
        name, _, _ = image.decode().partition(" ")
        if name == "broken":
            raise UnsupportedImage("not a picture")
        if name == "nobody":
            return []
        vector = self._direction(name) + 0.3 * self._direction(image.decode())
        face = Face(Box(0, 0, 9, 9), ((0.0, 0.0),) * 5, 1.0, Quality(1.0))
        return [EncodedFace(face, (vector / np.linalg.norm(vector)).astype(np.float32))]

    def _direction(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        raw = np.random.default_rng(seed).normal(size=16)
        return raw / np.linalg.norm(raw)


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve people, the last four with one picture; one picture is broken, one shows nobody."""
    for person in range(12):
        folder = tmp_path / "people" / f"p{person}"
        folder.mkdir(parents=True)
        for number in range(3 if person < 8 else 1):
            (folder / f"p{person}_{number + 1:04d}.jpg").write_text(f"p{person} {number}")
    (tmp_path / "people" / "p0" / "x.jpg").write_text("broken")
    (tmp_path / "people" / "p1" / "y.jpg").write_text("nobody")
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(models.LOADERS, Kind.FACE, lambda settings, name, decode: TextEncoder())
    monkeypatch.chdir(tmp_path)
    return tmp_path / "people"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lookalike", "evaluate", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_folder_of_people_is_measured_and_what_cannot_be_used_is_listed(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, str(people), "--out", "report", "--json")

    document = json.loads(capsys.readouterr().out)
    measures = {(row["group"], row["measure"]): row["value"] for row in document["rows"]}
    assert code == 0
    assert measures["pictures", "people"] == 12
    assert measures["pictures", "with a face"] == 28
    assert {(Path(each["picture"]).name, each["reason"]) for each in document["left_out"]} == {
        ("x.jpg", "unsupported_image"),
        ("y.jpg", "face_not_found"),
    }
    assert all(Path(file).is_file() for file in document["files"])
    assert {"report.html", "report.json"} <= {Path(file).name for file in document["files"]}


def test_without_json_the_table_and_the_files_are_printed_and_the_rest_is_on_stderr(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, str(people))

    out, err = capsys.readouterr()
    assert code == 0
    assert "rank-1" in out
    assert f"wrote {Path('evaluation') / 'report.html'}" in out
    assert "unsupported_image" in err


def test_a_pairs_file_takes_its_pictures_from_the_folder_named(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    same = "".join(f"p{i}\t1\t2\n" for i in range(8))
    different = "".join(f"p{i}\t1\tp{i + 1}\t1\n" for i in range(8))
    (tmp_path / "elsewhere").mkdir()
    pairs = tmp_path / "elsewhere" / "pairs.txt"
    pairs.write_text("8\n" + same + different)

    code = run(monkeypatch, str(pairs), "--images", str(people), "--json")

    rows = {row["measure"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    accuracy = next(row for measure, row in rows.items() if measure.startswith("accuracy"))
    assert code == 0
    assert accuracy["value"] > 0.8


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"3\nonly one line\n"])
def test_what_is_no_protocol_is_refused_in_one_line(
    content: bytes | None,
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "nothing"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)

    code = run(monkeypatch, str(path))

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "(invalid_input)" in err


def test_two_models_are_compared_and_the_verdict_is_printed(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, str(people), "--against", "sface", "--margin", "0.02", "--out", "report")

    printed = capsys.readouterr().out
    assert code == 0
    assert "text against sface" in printed
    assert "text and sface are the same within ±2 points" in printed


def test_whole_pictures_that_cannot_be_read_are_refused_in_one_line(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(people), "--kind", "image") == 1
    assert "no picture can be read" in capsys.readouterr().err


def test_a_wrong_cohorts_file_is_refused_in_one_line(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (people.parent / "cohorts.csv").write_text("name,age\n")

    assert run(monkeypatch, str(people), "--cohorts", "cohorts.csv") == 1
    assert "the cohorts file needs a header" in capsys.readouterr().err
