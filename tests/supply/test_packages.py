"""Wheel and source distribution are the same bytes wherever they are built; images are pinned by their digests."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.supply.conftest import ROOT, run


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The packages of one commit, built in two places, under two umasks and time zones."""
    if run("git", "-C", ROOT, "rev-parse", "HEAD").returncode:
        pytest.skip("left out: this is no checkout of the repository")
    folders = (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two"))
    for folder, umask, zone in zip(folders, (0o022, 0o077), ("UTC", "Asia/Tokyo"), strict=True):
        environment = os.environ | {"PYTHON": sys.executable, "TZ": zone}
        done = run(ROOT / "deploy/build-packages", folder, umask=umask, env=environment, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folders


def test_the_same_commit_gives_the_same_bytes(twice: tuple[Path, Path]) -> None:
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in twice)

    assert sorted(name.rpartition(".")[2] for name in one) == ["gz", "whl"]
    assert one == two


def test_the_packages_hold_the_product_and_no_test_key_or_picture(twice: tuple[Path, Path]) -> None:
    (wheel,) = twice[0].glob("*.whl")
    (source,) = twice[0].glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    with tarfile.open(source) as tar:
        entries = tar.getmembers()

    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if "dist-info" not in top} == {"api", "embedder", "index", "lookalike", "security"}
    assert "api/console/templates/frame.html" in names or any(
        name.startswith("api/console/templates/") for name in names
    )
    assert not [entry.name for entry in entries if "tests/" in entry.name or entry.name.endswith((".key", ".jpg"))]
    assert {entry.mode for entry in entries if entry.isfile()} <= {0o644, 0o755}
    assert len({entry.mtime for entry in entries}) == 1
    assert {(entry.uid, entry.uname) for entry in entries} == {(0, "")}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Copies of the two files that name images, and a registry's tool that knows a digest of each."""
    for name in ("docker-compose.yml", "Dockerfile"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "docker"
    tool.write_text(
        '#!/bin/sh\n[ "$2" = version ] && exit 0\n[ "$4" = "$REFUSED" ] && exit 1\n'
        'echo sha256:$(printf %s "$4$AGAIN" | sha256sum | cut -c1-64)\n'
    )
    tool.chmod(0o755)
    return tmp_path


def pin(images: Path, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    path = f"{images / 'bin'}:{os.environ['PATH']}"
    return run(ROOT / "deploy/pin-images", *options, env=os.environ | {"ROOT": str(images), "PATH": path} | more)


def named(images: Path) -> list[str]:
    text = "".join((images / name).read_text() for name in ("docker-compose.yml", "Dockerfile"))
    lines = [line.strip() for line in text.splitlines()]
    found = [line.partition(mark)[2] for line in lines for mark in ("image: ", "ARG BASE=") if line.startswith(mark)]
    return [image for image in found if not image.startswith("lookalike:")]


def test_every_published_image_gets_the_digest_of_its_tag_and_a_newer_one_later(images: Path) -> None:
    before = named(images)
    assert pin(images, "--check").returncode == 1

    assert pin(images).returncode == 0
    first = named(images)
    assert pin(images, AGAIN="yes").returncode == 0

    assert [image.partition("@")[0] for image in first] == before
    assert pin(images, "--check").returncode == 0
    assert all(old.partition("@")[0] == new.partition("@")[0] for old, new in zip(first, named(images), strict=True))
    assert not set(first) & set(named(images))


def test_one_image_without_an_answer_changes_nothing(images: Path) -> None:
    before = named(images)

    refused = pin(images, REFUSED="haproxy:2.6-bookworm")

    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    assert named(images) == before
