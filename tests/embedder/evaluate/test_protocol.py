from __future__ import annotations

from pathlib import Path

import pytest

from embedder.evaluate.protocol import read_protocol
from lookalike.errors import InvalidInput


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Twenty people with two pictures each."""
    root = tmp_path / "pictures"
    for person in range(20):
        for number in (1, 2):
            file = root / f"P_{person:02d}" / f"P_{person:02d}_{number:04d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
    return root


def view_1(people: int = 20) -> str:
    same = [f"P_{i:02d}\t1\t2" for i in range(people)]
    different = [f"P_{i:02d}\t1\tP_{(i + 1) % people:02d}\t2" for i in range(people)]
    return "\n".join([str(people), *same, *different]) + "\n"


def test_a_folder_gives_its_people_in_order_and_passes_over_other_files(people: Path) -> None:
    (people / "notes.txt").write_text("x")
    (people / "P_00" / "Thumbs.db").write_bytes(b"x")

    protocol = read_protocol(people)

    assert len(protocol.pictures) == 40
    assert [picture.person for picture in protocol.pictures[:3]] == ["P_00", "P_00", "P_01"]
    assert protocol.pairs == ()
    assert not protocol.central


def test_one_block_of_pairs_is_cut_into_ten_balanced_folds(people: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(view_1())

    protocol = read_protocol(tmp_path / "pairs.txt")

    by_fold = [(sum(p.same for p in pairs), len(pairs)) for pairs in
               ([p for p in protocol.pairs if p.fold == fold] for fold in range(10))]  # fmt: skip
    assert by_fold == [(2, 4)] * 10
    assert protocol.central
    first = protocol.pairs[20]
    assert protocol.pictures[first.first].path.name == "P_00_0001.jpg"
    assert protocol.pictures[first.second].path.name == "P_01_0002.jpg"


def test_folds_of_the_file_are_kept_in_its_order(people: Path, tmp_path: Path) -> None:
    blocks = [f"P_0{i}\t1\t2\nP_0{i}\t1\tP_1{i}\t1\n" for i in range(5)]
    (tmp_path / "pairs.txt").write_text("5\t1\n" + "".join(blocks))

    protocol = read_protocol(tmp_path / "pairs.txt")

    assert [(pair.fold, pair.same) for pair in protocol.pairs] == [
        (i, same) for i in range(5) for same in (True, False)
    ]


def test_pairs_of_absent_pictures_are_left_out_and_named(people: Path, tmp_path: Path) -> None:
    (people / "P_03" / "P_03_0002.jpg").unlink()
    (tmp_path / "pairs.txt").write_text(view_1())

    protocol = read_protocol(tmp_path / "pairs.txt")

    assert protocol.absent == ("P_03_0002",)
    assert len(protocol.pairs) == 38


def test_pictures_may_lie_in_a_folder_that_is_named(people: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pairs.txt").write_text(view_1())

    assert len(read_protocol(elsewhere / "pairs.txt", people).pairs) == 40
    with pytest.raises(InvalidInput, match="not beside"):
        read_protocol(elsewhere / "pairs.txt")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "two\nP_00\t1\t2\n",
        "1\nP_00\t1\t2\n",
        "1\nP_00\tone\t2\nP_00\t1\tP_01\t1\n",
        "1\nP_00\t1\nP_00\t1\tP_01\t1\n",
        "1\nP_00\t1\tP_01\tx\t2\nP_00\t1\tP_01\t1\n",
        "-1\t-1\nP_00\t1\t2\nP_00\t1\tP_01\t1\n",
        "1\nP_00\t1\t2\nP_00\tx\tP_01\t1\n",
        "1\n../P_00\t1\t2\n../P_00\t1\tP_01\t1\n",
    ],
)
def test_a_file_that_is_not_in_the_format_is_refused(text: str, people: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(text)

    with pytest.raises(InvalidInput):
        read_protocol(tmp_path / "pairs.txt")


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").mkdir()

    for path in ("binary.txt", "empty", "absent"):
        with pytest.raises(InvalidInput):
            read_protocol(tmp_path / path)
