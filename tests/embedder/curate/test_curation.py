from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from embedder.curate.curation import NO_CALIBRATION, NO_FACES, curate
from embedder.pipeline import FaceEmbedder
from lookalike.calibration import Calibration
from lookalike.errors import InvalidInput
from tests.embedder.curate.drawings import curated, drawn, faults_of, jpeg


def test_nothing_is_found_in_a_clean_set_and_what_was_left_out_is_said(goods: Path) -> None:
    found = curated(goods)

    assert found.findings == ()
    assert (found.pictures, found.folders, found.notes) == (12, 3, (NO_FACES,))


def test_the_same_bytes_and_the_same_pixels_are_exact_duplicates_of_the_first(goods: Path) -> None:
    shutil.copy(goods / "c0" / "0.jpg", goods / "c0" / "again.jpg")
    with Image.open(goods / "c1" / "1.jpg") as picture:
        picture.save(goods / "c1" / "lossless.png")

    found = curated(goods)

    assert {(f.fault, f.path, f.other, f.action) for f in found.findings} == {
        ("exact_duplicate", "c0/again.jpg", "c0/0.jpg", "remove"),
        ("exact_duplicate", "c1/lossless.png", "c1/1.jpg", "remove"),
    }


TREATED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "compressed": lambda picture: picture,
    "smaller": lambda picture: picture.resize((80, 80)),
    "cropped": lambda picture: picture.crop((6, 4, 122, 121)),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "darker": lambda picture: picture.point(lambda value: int(value * 0.8)),
}


@pytest.mark.parametrize("treatment", TREATED)
def test_a_treated_copy_is_a_near_duplicate_and_the_larger_one_stays(treatment: str, goods: Path) -> None:
    (goods / "c2" / "x.jpg").write_bytes(jpeg(TREATED[treatment](drawn(22)), 50))

    (finding,) = curated(goods).findings

    assert (finding.fault, finding.path, finding.other) == ("near_duplicate", "c2/x.jpg", "c2/2.jpg")
    assert ("mirrored" in finding.reason) == (treatment == "mirrored")


def test_one_picture_in_two_folders_is_for_people_to_decide_where_nothing_else_can(goods: Path) -> None:
    (goods / "c2" / "x.jpg").write_bytes(jpeg(drawn(0), 60))

    (finding,) = curated(goods).findings

    assert (finding.fault, finding.action) == ("two_labels", "look")
    assert {finding.path, finding.other} == {"c0/0.jpg", "c2/x.jpg"}


def test_what_cannot_be_used_is_named_by_what_is_wrong_with_it(goods: Path) -> None:
    folder, whole = goods / "c0", jpeg(drawn(77))
    gif = io.BytesIO()
    drawn(78).quantize().save(gif, "GIF")
    for name, data in {
        "cut.jpg": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "notes.txt": b"not a picture",
        "moving.gif": gif.getvalue(),
        "wrong.png": whole,
        "small.jpg": jpeg(drawn(79).resize((20, 20))),
        "smaller.jpg": jpeg(drawn(79).resize((8, 8))),
        "dark.jpg": jpeg(drawn(80).point(lambda value: int(value * 0.12))),
        "bright.jpg": jpeg(drawn(81).point(lambda value: int(200 + value * 0.2))),
        "blurred.jpg": jpeg(drawn(82).filter(ImageFilter.GaussianBlur(6))),
    }.items():
        (folder / name).write_bytes(data)
    (goods / "stray.jpg").write_bytes(whole)
    (folder / "deeper").mkdir()

    assert faults_of(curated(goods)) == {
        ("broken", "c0/cut.jpg"),
        ("broken", "c0/empty.jpg"),
        ("unsupported", "c0/notes.txt"),
        ("unsupported", "c0/moving.gif"),
        ("misnamed", "c0/wrong.png"),
        ("tiny", "c0/small.jpg"),
        ("tiny", "c0/smaller.jpg"),
        ("dark", "c0/dark.jpg"),
        ("bright", "c0/bright.jpg"),
        ("blurred", "c0/blurred.jpg"),
        ("misplaced", "stray.jpg"),
        ("misplaced", "c0/deeper"),
    }


def test_a_folder_counts_only_the_pictures_that_it_keeps(goods: Path) -> None:
    for number in (1, 2, 3):
        (goods / "c1" / f"{number}.jpg").write_bytes(b"")

    found = curated(goods)

    assert ("few_pictures", "c1") in faults_of(found)
    assert ("few_pictures", "c0") not in faults_of(found)


def test_a_picture_shared_with_the_other_set_is_found_and_that_sets_own_faults_are_not(
    goods: Path, tmp_path: Path
) -> None:
    other = tmp_path / "test" / "c9"
    other.mkdir(parents=True)
    (other / "copy.jpg").write_bytes(jpeg(drawn(11), 60))
    (other / "twin-a.jpg").write_bytes(jpeg(drawn(90)))
    (other / "twin-b.jpg").write_bytes(jpeg(drawn(90)))

    (finding,) = curated(goods, against=tmp_path / "test").findings

    assert (finding.fault, finding.path, finding.other) == ("shared_picture", "c1/1.jpg", "against:c9/copy.jpg")


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg(drawn(1)))

    with pytest.raises(InvalidInput, match="subfolder of pictures per class"):
        curated(tmp_path)


def test_without_a_calibration_faces_are_found_but_labels_are_not_judged(
    portraits: dict[str, bytes], encoder: FaceEmbedder, tmp_path: Path
) -> None:
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg"):
        folder = tmp_path / "set" / name.rstrip("2.jpg")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(portraits[name])
    (tmp_path / "set" / "biden" / "thing.jpg").write_bytes(jpeg(drawn(5)))

    found = curate(tmp_path / "set", encoder=encoder, calibration=None)

    assert found.notes == (NO_CALIBRATION,)
    assert faults_of(found) >= {("no_face", "biden/thing.jpg")}
    assert not any(fault in ("mislabelled", "unlike_own") for fault, _ in faults_of(found))


@pytest.fixture
def people(shared: Path, tmp_path: Path) -> Path:
    """Six people of celeba300 with eight pictures each in which nothing is wrong."""
    root = tmp_path / "people"
    for name in ("7201", "7204", "7205", "7206", "7210", "7215", "7217", "7218"):
        source = shared / "faces" / "train" / "celeba300" / name
        if source.is_dir() and len(list(source.iterdir())) >= 8:
            shutil.copytree(source, root / name, copy_function=shutil.copyfile)
            (root / name).chmod(0o755)
            for extra in sorted((root / name).iterdir())[8:]:
                extra.unlink()
    return root


@pytest.mark.shared
def test_wrong_labels_are_found_and_where_a_face_belongs_is_said(
    people: Path, shared: Path, encoder: FaceEmbedder, calibration: Calibration
) -> None:
    before = faults_of(curate(people, encoder=encoder, calibration=calibration))
    first, second, third, *_ = sorted(people.iterdir())
    moved = sorted(first.iterdir())[2].rename(second / "moved.jpg")
    outsider = sorted((shared / "faces" / "train" / "celeba300" / "7301").iterdir())
    shutil.copyfile(outsider[0], third / "stranger.jpg")

    found = curate(people, encoder=encoder, calibration=calibration)

    new = {(f.fault, f.path, f.action) for f in found.findings if (f.fault, f.path) not in before}
    assert new == {
        ("mislabelled", f"{second.name}/{moved.name}", f"move {first.name}"),
        ("unlike_own", f"{third.name}/stranger.jpg", "look"),
    }


@pytest.mark.shared
def test_a_second_person_a_split_person_and_one_of_the_other_set_are_found(
    people: Path, shared: Path, tmp_path: Path, encoder: FaceEmbedder, calibration: Calibration
) -> None:
    first, second, third, *_ = sorted(people.iterdir())
    other = tmp_path / "test" / "somebody"
    other.mkdir(parents=True)
    for path in sorted(third.iterdir())[::2]:
        path.rename(other / path.name)
    half = people / f"{first.name}-also"
    half.mkdir()
    for path in sorted(first.iterdir())[:3]:
        path.rename(half / path.name)
    for number, path in enumerate(sorted((shared / "faces" / "train" / "celeba300" / "7301").iterdir())[:3]):
        shutil.copyfile(path, second / f"second-{number}.jpg")

    found = curate(people, encoder=encoder, calibration=calibration, against=tmp_path / "test")

    assert faults_of(found) >= {
        ("split_identity", half.name),
        ("shared_identity", third.name),
        *(("mixed_identities", f"{second.name}/second-{number}.jpg") for number in range(3)),
    }
