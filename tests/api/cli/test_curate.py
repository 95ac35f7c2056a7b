from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from api import cli
from tests.embedder.curate.drawings import drawn, jpeg


@pytest.fixture
def goods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of three drawn pictures, one of them twice; the working folder is beside them."""
    pytest.importorskip("imagehash")
    root = tmp_path / "goods"
    for number in range(6):
        folder = root / f"c{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(jpeg(drawn(number)))
    (root / "c0" / "again.jpg").write_bytes(jpeg(drawn(0)))
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return root


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lookalike", "curate", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_findings_are_printed_written_and_shown_to_their_owner_only(
    goods: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, str(goods), "--kind", "image", "--json")

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["counts"] == {"exact_duplicate": 1}
    assert document["findings"][0]["other"] == "c0/0.jpg"
    assert {Path(file).name for file in document["files"]} == {"report.html", "findings.csv", "findings.json"}
    assert {stat.S_IMODE(Path(file).stat().st_mode) for file in document["files"]} == {0o600}
    assert stat.S_IMODE(Path("curation").stat().st_mode) == 0o700


def test_an_edited_list_is_followed_into_a_clean_copy(
    goods: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, str(goods), "--kind", "image")
    table = Path("curation") / "findings.csv"
    table.write_text(table.read_text().replace(",remove,", ",move c1,"))

    code = run(monkeypatch, str(goods), "--apply", "clean")

    assert code == 0
    assert "6 kept, 1 moved, 0 removed" in capsys.readouterr().out
    assert (Path("clean") / "c1" / "again.jpg").is_file()
    assert (goods / "c0" / "again.jpg").is_file()


def test_boxes_are_cropped_into_a_set_and_that_is_curated(
    goods: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = goods.parent / "labels"
    labels.mkdir()
    (labels / "classes.txt").write_text("left\nright\n")
    for number in (0, 2, 4):
        (labels / f"{number}.txt").write_text("0 0.3 0.5 0.5 0.9\n1 0.7 0.5 0.5 0.9\n")

    code = run(
        monkeypatch, str(goods / "c0"), "--boxes", f"yolo:{labels}", "--crops", "set", "--kind", "image", "--json"
    )

    out, err = capsys.readouterr()
    assert code == 0
    assert (json.loads(out)["pictures"], sorted(p.name for p in Path("set").iterdir())) == (6, ["left", "right"])
    assert "cropped 6 boxes of 3 pictures" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--apply", "clean"), 1, "invalid_input"),
        (("--kind", "image", "--model", "sface"), 1, "model_not_available"),
        (("--kind", "image", "--out", "goods/curation"), 1, "inside the set"),
        (("--kind", "sound"), 2, "face or image"),
        (("--boxes", "coco:x.json"), 2, "go together"),
        (("--boxes", "csv:x", "--crops", "set"), 1, "invalid_input"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line_and_leaves_nothing(
    arguments: tuple[str, ...],
    code: int,
    said: str,
    goods: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, str(goods), *arguments) == code

    assert said in capsys.readouterr().err
    assert not any(Path(name).exists() for name in ("curation", "clean", "set"))
