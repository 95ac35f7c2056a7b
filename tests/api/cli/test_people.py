from __future__ import annotations

import unicodedata
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from api.commands.people import find_people
from lookalike.errors import InvalidInput


def touch(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def found(people) -> list[tuple[str, str]]:
    return [(picture.subject, picture.path.name) for picture in people.pictures]


def test_each_folder_is_a_subject_at_any_depth_and_loose_files_belong_to_nobody(tmp_path: Path) -> None:
    touch(tmp_path, "alice/1.jpg", "alice/2023/2.jpg", "bob/x.png", "loose.jpg", ".hidden/3.jpg", "bob/Thumbs.db")

    people = find_people([tmp_path])

    assert found(people) == [("alice", "1.jpg"), ("alice", "2.jpg"), ("bob", "x.png")]
    assert [path.name for path in people.misplaced] == ["loose.jpg"]


def test_a_folder_of_pictures_alone_is_one_subject(tmp_path: Path) -> None:
    touch(tmp_path, "carol/1.jpg", "carol/2.jpg")

    assert found(find_people([tmp_path / "carol"])) == [("carol", "1.jpg"), ("carol", "2.jpg")]


def test_folder_names_of_decomposed_letters_become_nfc(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Zoë Müller")
    touch(tmp_path, f"{decomposed}/1.jpg")

    assert found(find_people([tmp_path])) == [("Zoë Müller", "1.jpg")]


def test_a_manifest_names_paths_beside_it_and_keeps_other_columns_as_metadata(tmp_path: Path) -> None:
    manifest = tmp_path / "people.csv"
    manifest.write_text("﻿path,subject,site,floor\nphotos/a.jpg,alice,Łódź,\n/abs/b.jpg,alice,,3\n", "utf-8")

    people = find_people([manifest])

    assert [str(picture.path) for picture in people.pictures] == [str(tmp_path / "photos/a.jpg"), "/abs/b.jpg"]
    assert [picture.facts.metadata for picture in people.pictures] == [{"site": "Łódź", "floor": "3"}] * 2


@pytest.mark.parametrize(
    "text",
    ["name,file\na,b\n", "path,subject\n,alice\n", "path,subject\na.jpg\n", "path,subject\na.jpg,alice,extra\n", ""],
)
def test_a_manifest_that_cannot_be_meant_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    manifest = tmp_path / "people.csv"
    manifest.write_text(text)

    with pytest.raises(InvalidInput, match=r"people\.csv"):
        find_people([manifest])


def test_a_manifest_that_is_not_text_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "people.csv"
    manifest.write_bytes(b"\xff\xfe\x00\x01")

    with pytest.raises(InvalidInput, match="not a CSV file"):
        find_people([manifest])


def test_archives_are_read_beside_folders(tmp_path: Path) -> None:
    touch(tmp_path, "alice/1.jpg")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("bob/2.jpg", b"x")
    (tmp_path / "lines.ndjson").write_text('{"subject": "carol", "image": "eA=="}')

    with closing(find_people([tmp_path / "alice", tmp_path / "more.zip", tmp_path / "lines.ndjson"])) as people:
        found = [picture.load(10) for picture in people.pictures]

    assert [(one.subject, one.data) for one in found] == [("alice", b"x"), ("bob", b"x"), ("carol", b"x")]


def test_an_archive_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "more.zip")

    with pytest.raises(InvalidInput, match=r"more\.zip"):
        find_people([tmp_path / "more.zip"])


def test_a_single_picture_needs_to_be_told_whose_it_is(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")

    with pytest.raises(InvalidInput, match="--subject"):
        find_people([tmp_path / "a.jpg"])
    assert found(find_people([tmp_path / "a.jpg"], "alice")) == [("alice", "a.jpg")]
