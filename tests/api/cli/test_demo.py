from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from api.demo import run_demo
from api.demo_pictures import cast_from_folder, cast_from_packages, choose_cast
from api.demo_sheet import Answered
from lookalike.errors import InvalidInput

PHOTOS = Path(__file__).resolve().parents[3] / ".cache" / "photos"


@pytest.fixture
def albums(tmp_path: Path) -> Path:
    """Forty people, every second one with two pictures."""
    for number in range(40):
        folder = tmp_path / "people" / f"Person_{number:02}"
        folder.mkdir(parents=True)
        for picture in range(1 + number % 2):
            (folder / f"{picture}.jpg").write_bytes(f"{number}/{picture}".encode())
    return tmp_path / "people"


def test_people_are_drawn_by_lot_and_nobody_is_both_enrolled_and_a_stranger(albums: Path) -> None:
    cast = cast_from_folder(albums, seed=1)

    mated = {probe.truth for probe in cast.probes if probe.truth}
    strangers = [probe for probe in cast.probes if probe.truth is None]
    enrolled_pictures = {picture for pictures in cast.enrolled.values() for picture in pictures}
    assert mated == set(cast.enrolled)
    assert len(cast.enrolled) == 20
    assert len(strangers) == 12
    assert not enrolled_pictures & {probe.image for probe in cast.probes}
    assert not {p.image.split(b"/")[0] for p in strangers} & {p.split(b"/")[0] for p in enrolled_pictures}


def test_the_seed_decides_who_is_drawn(albums: Path) -> None:
    drawn = [[probe.image for probe in cast_from_folder(albums, seed).probes] for seed in (1, 1, 2)]

    assert drawn[0] == drawn[1] != drawn[2]


def test_the_packages_photos_are_read_out_of_their_archives(portraits: dict[str, bytes]) -> None:
    cast = cast_from_packages(PHOTOS)

    assert cast.enrolled["Barack Obama"] == [portraits["obama.jpg"]]
    assert [probe.truth for probe in cast.probes].count(None) == 1


def test_without_any_pictures_it_says_how_to_get_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOKALIKE_SHARED", str(tmp_path / "nothing"))

    with pytest.raises(InvalidInput, match=r"requirements-photos\.lock"):
        choose_cast(None, None, 1)
    with pytest.raises(InvalidInput, match="two pictures"):
        choose_cast(tmp_path, None, 1)


@pytest.mark.parametrize(
    ("truth", "answer", "verdict"),
    [
        ("alice", "alice", "recognised"),
        (None, None, "stranger refused"),
        ("alice", None, "missed"),
        ("alice", "bob", "wrong person"),
        (None, "bob", "false alarm"),
    ],
)
def test_the_verdict_is_honest(truth: str | None, answer: str | None, verdict: str) -> None:
    from api.demo_pictures import Probe

    assert Answered(Probe("p", truth, b""), answer, None, None, 1.0, None).verdict == verdict


@pytest.mark.slow
def test_the_demo_shows_what_the_service_answered(
    portraits: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(None, PHOTOS, tmp_path, seed=1)

    out = capsys.readouterr().out
    assert "strangers refused 1/1" in out
    assert str(tmp_path / "demo.png") in out
    with Image.open(tmp_path / "demo.png") as sheet:
        assert min(sheet.size) > 500


@pytest.mark.slow
def test_the_demo_fails_when_nobody_can_be_recognised(
    portraits: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two "people" who are each two different persons: nothing in the demo knows the wanted answers."""
    for folder, names in (("One", ("obama.jpg", "biden.jpg")), ("Two", ("astronaut.png", "obama2.jpg"))):
        (tmp_path / "people" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "people" / folder / name).write_bytes(portraits[name])

    assert not run_demo(tmp_path / "people", None, tmp_path / "out", seed=1)
    assert "recognised" not in capsys.readouterr().out
    shutil.rmtree(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_no_service_and_no_folder(
    portraits: dict[str, bytes], tmp_path: Path, number: int
) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-P", "-m", "api.cli", "demo", "--photos", PHOTOS, "--out", tmp_path / "out"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in demo.stdout:
        if line.startswith("service: "):
            break
    demo.send_signal(number)
    demo.stdout.read()  # ends when the last process that holds it has ended, the service too
    demo.stdout.close()

    assert demo.wait(60) != 0
    assert list(tmp_path.glob("lookalike-demo-*")) == []
