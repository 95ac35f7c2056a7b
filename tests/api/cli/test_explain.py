from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest
from PIL import Image

from api import cli


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for all tests here, so that models are converted once."""
    return tmp_path_factory.mktemp("explain") / "data"


@pytest.fixture
def photos(portraits: dict[str, bytes], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg"):
        (tmp_path / name).write_bytes(portraits[name])
    Image.new("RGB", (200, 200), (90, 120, 90)).save(tmp_path / "meadow.png")
    (tmp_path / "letter.jpg").write_text("Dear all")
    monkeypatch.setenv("LOOKALIKE_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lookalike", "explain", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_match_is_explained_by_parts_and_drawn_for_the_owner_alone(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "report").mkdir()
    (photos / "report" / "explain.png").touch(0o644)

    code = run(monkeypatch, "obama.jpg", "obama2.jpg", "--out", "report", "--json")

    document = json.loads(capsys.readouterr().out)
    assert (code, document["match"], document["shares_of"]) == (0, True, "for")
    assert document["similarity"] > document["threshold"]["similarity"]
    for name in ("a", "b"):
        assert document["check"][name]["without_marked_fifth"] < document["check"][name]["without_random_fifth"]
        assert sum(part[name]["share"] for part in document["parts"]) == pytest.approx(1, abs=1e-4)
    files = [Path(file) for file in document["files"]]
    assert {file.name for file in files} == {"explain.png", "explain.html"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    with Image.open("report/explain.png") as drawn:
        assert drawn.width == 1120
    page = Path("report/explain.html").read_text("utf-8")
    assert "not evidence" in page
    assert "http" not in page


def test_of_two_people_it_says_what_is_against_the_match_and_writes_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(photos.rglob("*"))

    code = run(monkeypatch, "obama.jpg", "biden.jpg")

    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert out.startswith("no match: similarity ")
    assert "of what is against" in out
    assert "eyes and brows" in out
    assert sorted(photos.rglob("*")) == before


def test_a_picture_beside_itself_is_explained_with_a_note(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, "obama.jpg", "obama.jpg", "--json")

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["similarity"] == pytest.approx(1)
    assert "same picture" in document["notes"][0]


@pytest.mark.parametrize(("second", "code"), [("meadow.png", "face_not_found"), ("letter.jpg", "unsupported_image")])
def test_what_cannot_be_explained_is_refused_in_one_line_and_nothing_is_written(
    second: str, code: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run(monkeypatch, "obama.jpg", second, "--out", "report")

    out, err = capsys.readouterr()
    assert (ended, out, err.count("\n")) == (1, "", 1)
    assert f"({code})" in err
    assert not (photos / "report").exists()


def test_it_is_refused_where_the_data_folder_is_elsewhere(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_URL", "https://127.0.0.1:1")

    assert run(monkeypatch, "obama.jpg", "obama2.jpg") == 1
    assert "without LOOKALIKE_URL (bad_settings)" in capsys.readouterr().err
