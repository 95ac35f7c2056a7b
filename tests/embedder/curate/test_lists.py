from __future__ import annotations

import csv
import re
import stat
from pathlib import Path

import pytest

from embedder.curate.curation import Curation
from embedder.curate.findings import Finding
from embedder.curate.lists import Decision, read_decisions, write_lists
from embedder.curate.page import draw_page
from lookalike.errors import InvalidInput
from tests.embedder.curate.drawings import curated, drawn, jpeg


def found_with(*findings: Finding, root: Path = Path("set")) -> Curation:
    return Curation(root, 9, 3, findings, ())


def test_the_lists_are_for_their_owner_only_and_read_back_as_decisions(tmp_path: Path) -> None:
    found = found_with(
        Finding("mislabelled", "a/1.jpg", 'Because, of "b".', 0.9, "move b", "b"),
        Finding("blurred", "a/ü 2.jpg", "Soft.", 0.7, "remove"),
    )

    files = write_lists(found, tmp_path)

    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    assert read_decisions(files[0]) == [Decision("a/1.jpg", "move b", 2), Decision("a/ü 2.jpg", "remove", 3)]


def test_a_path_that_a_spreadsheet_would_run_is_written_so_that_it_does_not(tmp_path: Path) -> None:
    table, _ = write_lists(found_with(Finding("tiny", "=cmd()/1.jpg", "Small.", 1.0, "remove")), tmp_path)

    with table.open(newline="") as file:
        assert not any(cell.startswith(("=", "+", "@")) for row in csv.reader(file) for cell in row)
    assert read_decisions(table)[0].path == "=cmd()/1.jpg"


@pytest.mark.parametrize("action", ["delete", "move", "remove it", "keep a"])
def test_an_unknown_action_is_refused_with_its_line(action: str, tmp_path: Path) -> None:
    (tmp_path / "findings.csv").write_text(f"path,action\na/1.jpg,keep\na/2.jpg,{action}\n")

    with pytest.raises(InvalidInput, match="line 3 of the list"):
        read_decisions(tmp_path / "findings.csv")


def test_applying_before_curating_says_what_to_do_first(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="curate without --apply first"):
        read_decisions(tmp_path / "findings.csv")


def test_the_page_shows_each_side_of_a_finding_and_loads_nothing(goods: Path) -> None:
    (goods / "c1" / "copy.jpg").write_bytes(jpeg(drawn(10), 60))
    (goods / "c1" / "broken.jpg").write_bytes(b"\xff\xd8\xff")

    page = draw_page(curated(goods))

    assert page.count('src="data:image/jpeg;base64,') == 2
    assert "cannot be shown" in page
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:image/jpeg|#)", page) and "<script" not in page


def test_a_folders_name_cannot_write_into_the_page() -> None:
    page = draw_page(found_with(Finding("few_pictures", "<img src=x>&\udcff", "Few.", 1.0, "look")))

    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;&amp;\\xff" in page
