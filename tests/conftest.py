"""Pictures that tests may use: those of ../shared, and portraits that pinned packages bring."""

from __future__ import annotations

import os
import signal
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LOOKALIKE_SHARED", ROOT.parent / "shared"))
PHOTOS = ROOT / ".cache" / "photos"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Run in the background of a shell, the tests and all that they start would be deaf to the interrupts they test.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared pictures; the test is left out, and says so, where there is none."""
    if not (SHARED / "faces").is_dir():
        pytest.skip("left out: the pictures of ../shared are not here (LOOKALIKE_SHARED names another folder)")
    return SHARED


@pytest.fixture(scope="session")
def portraits() -> dict[str, bytes]:
    """Public-domain portraits by file name: obama.jpg, obama2.jpg, obama3.jpg, biden.jpg, astronaut.png, …"""
    sources = sorted(PHOTOS.glob("face_recognition-*.tar.gz")), sorted(PHOTOS.glob("scikit_image-*.whl"))
    if not all(sources):
        pytest.skip("left out: the packages' portraits are not here (`make .cache/photos/complete` fetches them)")
    found: dict[str, bytes] = {}
    with tarfile.open(sources[0][0]) as archive:
        for member in archive.getmembers():
            if "/tests/test_images/" in member.name and member.isfile():
                found[Path(member.name).name] = archive.extractfile(member).read()
    with zipfile.ZipFile(sources[1][0]) as wheel:
        found["astronaut.png"] = wheel.read("skimage/data/astronaut.png")
    return found
