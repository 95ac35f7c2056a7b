from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from embedder.curate.clean_copy import make_clean_copy
from embedder.curate.lists import Decision
from lookalike.errors import InvalidInput


@pytest.fixture
def small(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for relative in ("a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "b/2.jpg", "c/1.jpg"):
        (root / relative).parent.mkdir(parents=True, exist_ok=True)
        (root / relative).write_text(relative)
    return root


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def decided(**actions: str) -> list[Decision]:
    return [Decision(path, action, line) for line, (path, action) in enumerate(actions.items(), 2)]


def test_a_clean_copy_follows_the_list_and_leaves_the_set_as_it_was(small: Path, tmp_path: Path) -> None:
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in small.rglob("*.jpg")}
    actions = {
        "a/1.jpg": "remove",
        "a/2.jpg": "move b",
        "a/3.jpg": "look",
        "b/1.jpg": "move d/new.png",
        "b/2.jpg": "keep",
    }

    done = make_clean_copy(small, decided(**actions), tmp_path / "clean")

    assert (done.kept, done.moved, done.removed) == (3, 2, 1)
    assert contents(tmp_path / "clean") == {
        "a/3.jpg": "a/3.jpg",
        "b/2.jpg": "b/2.jpg",
        "b/a-2.jpg": "a/2.jpg",
        "c/1.jpg": "c/1.jpg",
        "d/new.png": "b/1.jpg",
    }
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in small.rglob("*.jpg")} == before


def test_a_folders_row_counts_for_its_pictures_that_have_none_of_their_own(small: Path, tmp_path: Path) -> None:
    actions = {"a": "move c", "a/2.jpg": "remove", "b": "remove"}

    make_clean_copy(small, decided(**actions), tmp_path / "clean")

    assert set(contents(tmp_path / "clean")) == {"c/1.jpg", "c/a-1.jpg", "c/3.jpg"}


def test_remove_wins_over_a_move_of_the_same_picture(small: Path, tmp_path: Path) -> None:
    twice = [Decision("a/1.jpg", "remove", 2), Decision("a/1.jpg", "move b", 3)]

    make_clean_copy(small, twice, tmp_path / "clean")

    assert "a/1.jpg" not in contents(tmp_path / "clean").values()


def test_links_share_the_files_of_the_set(small: Path, tmp_path: Path) -> None:
    make_clean_copy(small, [], tmp_path / "clean", hardlink=True)

    assert (tmp_path / "clean" / "a" / "1.jpg").samefile(small / "a" / "1.jpg")


@pytest.mark.parametrize("where", ["../x", "/etc", "b/../../x", "..", "b/", ".hidden", "b/c/d.jpg", "b\\c"])
def test_a_move_out_of_the_copy_is_refused_and_nothing_is_written(where: str, small: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="and nowhere else"):
        make_clean_copy(small, [Decision("a/1.jpg", f"move {where}", 2)], tmp_path / "clean")

    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ([Decision("a/9.jpg", "remove", 7)], "line 7"),
        ([Decision("a/1.jpg", "move b", 2), Decision("a/1.jpg", "move c", 3)], "line 3"),
    ],
)
def test_a_list_that_cannot_be_followed_is_refused_with_its_line(
    decisions: list[Decision], said: str, small: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=said):
        make_clean_copy(small, decisions, tmp_path / "clean")


def test_a_copy_never_lands_on_what_is_there_or_inside_the_set(small: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is there already"):
        make_clean_copy(small, [], tmp_path)
    with pytest.raises(InvalidInput, match="inside the set"):
        make_clean_copy(small, [], small / "clean")


def test_an_interrupted_copy_leaves_nothing_behind(small: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_clean_copy(small, [], tmp_path / "clean", on_progress=interrupt)

    assert [path.name for path in tmp_path.iterdir()] == ["set"]
