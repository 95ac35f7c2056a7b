"""Pictures come by class, no class is on both sides of a split, and what cannot be used is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embedder.images import encode_jpeg
from embedder.pipeline import FaceEmbedder
from embedder.preprocessing import Preprocessing
from embedder.train.config import Data
from embedder.train.pictures import (
    PictureSet,
    held_out_classes,
    list_pictures,
    load_pictures,
    picture_cutters,
    with_two_or_more,
)
from lookalike.errors import InvalidInput
from tests.embedder.train.drawing import draw_classes, stripes

PLAIN = Preprocessing(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
WHOLE = picture_cutters(Data(), Path())


@given(st.integers(2, 60), st.floats(0, 0.99), st.integers(0, 999))
def test_a_share_of_the_classes_is_held_out_and_two_stay_to_learn_from(count: int, share: float, seed: int) -> None:
    apart = held_out_classes(count, Data(held_out=share), seed)
    assert len(np.unique(apart)) == len(apart)
    assert set(apart.tolist()) <= set(range(count))
    assert len(apart) != 1
    assert count - len(apart) >= 2
    if count >= 20 and 0.1 <= share <= 0.9:
        assert len(apart) == max(2, round(share * count))
    assert np.array_equal(apart, held_out_classes(count, Data(held_out=share), seed))


@given(st.integers(4, 60), st.integers(2, 7), st.integers(0, 999))
def test_folds_hold_out_every_class_exactly_once(count: int, folds: int, seed: int) -> None:
    parts = [held_out_classes(count, Data(folds=folds, fold=fold), seed) for fold in range(folds)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(count))


def test_classes_of_one_name_in_two_folders_are_two_classes(tmp_path: Path) -> None:
    first, second = draw_classes(tmp_path / "a", 2, 3), draw_classes(tmp_path / "b", 2, 2)
    listed = list_pictures(Data(folders=(str(first), str(second)), crop=("whole", "face")))
    assert listed.names == ("a/c00", "a/c01", "b/c00", "b/c01")
    assert np.bincount(listed.labels).tolist() == [3, 3, 2, 2]
    assert listed.crop == ("whole",) * 6 + ("face",) * 4


def test_classes_with_too_few_pictures_and_other_files_are_left_out(tmp_path: Path) -> None:
    folder = draw_classes(tmp_path, 3, 4)
    (folder / "c00" / "notes.txt").write_text("not a picture")
    (folder / "c02" / "0.png").unlink()
    assert list_pictures(Data(folders=(str(folder),), least=4)).names == (f"{folder.name}/c00", f"{folder.name}/c01")
    assert np.bincount(list_pictures(Data(folders=(str(folder),), most=2)).labels).tolist() == [2, 2, 2]


def test_a_folder_that_is_not_there_or_holds_no_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no folder"):
        list_pictures(Data(folders=(str(tmp_path / "absent"),)))
    with pytest.raises(InvalidInput, match="at least two subfolders"):
        list_pictures(Data(folders=(str(draw_classes(tmp_path / "one", 1, 4)),)))


def test_pictures_are_fitted_into_the_square_in_their_order(tmp_path: Path) -> None:
    listed = list_pictures(Data(folders=(str(draw_classes(tmp_path, 2, 3, side=32)),)))
    told: list[tuple[int, int]] = []
    found, left_out = load_pictures(
        listed, np.array([4, 0]), PLAIN, 10, WHOLE, lambda done, total: told.append((done, total))
    )
    assert np.array_equal(found.squares, np.stack([stripes(1, 1, 32), stripes(0, 0, 32)]))
    assert found.labels.tolist() == [1, 0]
    assert [path.name for path in found.paths] == ["1.png", "0.png"]
    assert left_out == []
    assert told[-1] == (2, 2)


def test_broken_pictures_are_listed_and_the_others_are_kept(tmp_path: Path) -> None:
    folder = draw_classes(tmp_path, 2, 3)
    (folder / "c00" / "1.png").write_bytes(b"not a picture")
    Image.fromarray(stripes(0, 0)).save(folder / "c01" / "0.gif")
    (folder / "c01" / "0.gif").rename(folder / "c01" / "0.png")
    listed = list_pictures(Data(folders=(str(folder),)))
    found, left_out = load_pictures(listed, np.arange(6), PLAIN, 10, WHOLE)
    assert [(path.parent.name, path.name, reason) for path, reason in left_out] == [
        ("c00", "1.png", "unsupported_image"),
        ("c01", "0.png", "unsupported_image"),
    ]
    assert found.labels.tolist() == [0, 0, 1, 1]


def test_more_pictures_than_memory_is_allowed_for_are_refused_before_any_is_read(tmp_path: Path) -> None:
    listed = list_pictures(Data(folders=(str(draw_classes(tmp_path, 2, 3)),)))
    large = Preprocessing(1024, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    with pytest.raises(InvalidInput, match=r"data.memory_mb = 10; raise it"):
        load_pictures(listed, np.arange(6), large, 10, WHOLE)


def test_a_class_with_one_picture_left_is_no_class() -> None:
    pictures = PictureSet(np.zeros((5, 4, 4, 3), np.uint8), np.array([3, 5, 3, 7, 7]), tuple(map(Path, "abcde")))
    kept = with_two_or_more(pictures)
    assert kept.labels.tolist() == [3, 3, 7, 7]
    assert [str(path) for path in kept.paths] == ["a", "c", "d", "e"]
    assert repr(kept) == "PictureSet(4 pictures of 2 classes)"


def test_faces_are_cut_out_and_aligned_and_pictures_without_one_are_listed(
    tmp_path: Path, encoder: FaceEmbedder, model_cache: Path, face_photo: bytes
) -> None:
    folder = draw_classes(tmp_path, 2, 2, side=200)
    for kind in ("c00", "c01"):
        (folder / kind / "0.png").write_bytes(face_photo)
    data = Data(folders=(str(folder),), crop=("face",))
    crops = Preprocessing(112, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), fit="stretch")
    found, left_out = load_pictures(list_pictures(data), np.arange(4), crops, 10, picture_cutters(data, model_cache))
    assert len(found) == 2
    assert {reason for _, reason in left_out} == {"face_not_found"}
    served = encoder.encode(face_photo, largest_only=True)[0].vector
    assert encoder.encode_crops([encode_jpeg(found.squares[0])]).vectors[0] @ served > 0.95
