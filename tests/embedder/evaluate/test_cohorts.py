from __future__ import annotations

from pathlib import Path

import pytest

from embedder.evaluate.cohorts import read_cohorts
from embedder.evaluate.protocol import Picture
from lookalike.errors import InvalidInput

PICTURES = [
    Picture(Path("/x/ann/1.jpg"), "ann"),
    Picture(Path("/x/ann/2.jpg"), "ann"),
    Picture(Path("/x/bob/1.jpg"), "bob"),
]


def written(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "cohorts.csv"
    path.write_text(text, encoding)
    return path


def test_a_persons_cohort_is_that_of_all_their_pictures(tmp_path: Path) -> None:
    found = read_cohorts(written(tmp_path, "person,age,site\nann,young,\nbob,old,west\ncat,old,east\n"))

    assert found.of("age", PICTURES) == ["young", "young", "old"]
    assert found.of("site", PICTURES) == ["", "", "west"]


def test_a_picture_is_named_by_person_and_file(tmp_path: Path) -> None:
    found = read_cohorts(written(tmp_path, "picture,light\nann/1.jpg,day\nann/2.jpg,night\n"))

    assert found.of("light", PICTURES) == ["day", "night", ""]


def test_a_file_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    found = read_cohorts(written(tmp_path, "person,age\r\nann, young\r\n\r\nbob,old\r\n", "utf-8-sig"))

    assert found.of("age", PICTURES) == ["young", "young", "old"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "header"),
        ("name,age\nzelda,1\n", "header"),
        ("person\nzelda\n", "header"),
        ("person,age,age\nzelda,1,2\n", "header"),
        ("person,age\nzelda\n", "row 2 of the cohorts file has 1 cells"),
        ("person,age\nzelda,1\nzelda,2\n", "row 3 of the cohorts file contradicts"),
        ("person,age\nzelda,1\nbob,1\n", "'age' has 1 cohorts"),
        ("person,age\n" + "".join(f"p{i},{i}\n" for i in range(21)), "'age' has 21 cohorts"),
        ('person,age\n"zelda,1\n', "as CSV"),
    ],
)
def test_a_file_that_is_wrong_is_refused_and_names_nobody(text: str, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=wrong) as refused:
        read_cohorts(written(tmp_path, text))

    assert "zelda" not in str(refused.value)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohorts.csv").write_bytes(b"\xff\xfe\x00person")

    with pytest.raises(InvalidInput, match="UTF-8"):
        read_cohorts(tmp_path / "cohorts.csv")
